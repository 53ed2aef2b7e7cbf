"""``Listener``: a model run on the rows of a table, its outputs kept up to date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from superduper.components.component import Component, Lookup, alone
from superduper.components.schema import from_field_spec
from superduper.errors import ConfigError

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import ListenerSpec
    from superduper.api.v1alpha1.model import Inputs, Predict
    from superduper.components.datatype import DataType
    from superduper.components.model import Model
    from superduper.query.builder import Collection, Find, Query

Key = str | tuple[Any, ...] | list[Any] | Mapping[str, str] | None

OUTPUTS = "_outputs__"
"""What names of tables with outputs begin with."""


class Listener(Component):
    """``model`` run on what ``select`` finds, with ``key`` as its inputs.

    ``key`` is ``'x'``, ``('x', 'y')``, ``{'arg': 'x'}`` or ``(('x',), {'y': 'y'})``. The outputs are read with
    ``db['t'].find().outputs(identifier)`` and stored in the table ``outputs_table``.
    """

    type_id = "listener"

    def __init__(
        self,
        model: Model,
        key: Key = None,
        select: Query | Collection | None = None,
        identifier: str | None = None,
        *,
        trigger: Literal["OnChange", "Manual"] = "OnChange",
        batch_size: int | Literal["auto"] = "auto",
        predict: Predict | None = None,
        datatype: DataType | str | None = None,
    ) -> None:
        super().__init__(identifier or model.identifier)
        self.model, self.select = model, select
        self.datatype = model.datatype if datatype is None else datatype
        """What outputs are; None: inferred from the first ones."""
        if predict is None:
            if key is None or select is None:
                raise ConfigError(f"Listener {self.identifier!r}: key and select are required")
            predict = _predict(model, key, select, trigger, batch_size)
        self.predict = predict

    @property
    def key(self) -> Key:
        """The inputs, as specs have them."""
        return self.predict.inputs

    @property
    def inputs(self) -> Inputs:
        """The inputs by position and by name."""
        return self.predict.call

    @property
    def outputs_table(self) -> str:
        """Name of the table that holds the outputs."""
        return OUTPUTS + self.identifier

    @property
    def outputs_key(self) -> str:
        """Dotted path of the output in a row of ``outputs_select``."""
        return f"_outputs.{self.identifier}"

    @property
    def outputs_select(self) -> Find:
        """The rows with their outputs. Needs the ``select`` of a datalayer."""
        from superduper.query.builder import Collection, Find

        if not isinstance(self.select, (Collection, Find)):
            raise ConfigError(
                f"Listener {self.identifier!r} was not made with select; use db[table].find().outputs({self.identifier!r})"
            )
        return self.select.outputs(self.identifier)

    def children(self) -> list[Component]:
        return [self.model]

    def spec(self) -> ListenerSpec:
        from superduper.api.v1alpha1 import ListenerSpec

        return ListenerSpec(identifier=self.identifier, model=self.model.identifier, predict=self.predict)

    @classmethod
    def from_spec(cls, spec: ListenerSpec, *, model: Model | None = None, lookup: Lookup = alone) -> Listener:
        """The listener that the spec says; ``lookup`` gives the model, unless given, and the DataType that it names."""
        model = lookup("model", spec.model) if model is None else model  # type: ignore[assignment]
        assert model is not None
        output = spec.predict.output
        datatype = None if output is None else from_field_spec(output, lookup)
        return cls(model, identifier=spec.identifier, predict=spec.predict, datatype=datatype)


def _predict(
    model: Model, key: Key, select: Query | Collection, trigger: Literal["OnChange", "Manual"], batch: Any
) -> Predict:
    from superduper.api.v1alpha1.model import Predict

    table, chosen = selection(select)
    return Predict(
        table=table,
        inputs=inputs_of(key).to_spec(),
        filter=chosen,
        output=model.output_spec(),
        trigger=trigger,
        batch_size=batch,
        batched=model.batched,
    )


def inputs_of(key: Key) -> Inputs:
    """The four ways to write a key, in one form."""
    from superduper.api.v1alpha1 import Inputs

    if isinstance(key, str):
        return Inputs((key,), {})
    if isinstance(key, Mapping):
        return Inputs((), dict(key))
    if isinstance(key, (tuple, list)):
        if len(key) == 2 and isinstance(key[0], (tuple, list)) and isinstance(key[1], Mapping):
            return Inputs(tuple(key[0]), dict(key[1]))
        if key and all(isinstance(name, str) for name in key):
            return Inputs(tuple(key), {})
    raise ConfigError(f"key {key!r} is none of 'x', ('x', 'y'), {{'arg': 'x'}}, (('x',), {{'arg': 'y'}})")


def selection(select: Query | Collection) -> tuple[str, dict[str, Any] | None]:
    """Table and filter document of ``db[table]`` or its ``find``; a projection does not matter, a window is refused."""
    from superduper.query.builder import Collection, Find
    from superduper.query.unparse import to_document

    if isinstance(select, Collection):
        return select.name, None
    if not isinstance(select, Find):
        raise ConfigError(f"select must be db[table].find(…), not {select!r}")
    found = select.select
    if found.limit is not None or found.skip:
        raise ConfigError("select cannot have skip or limit: which rows they mean would change as rows come")
    return found.table, to_document(found.filter) or None
