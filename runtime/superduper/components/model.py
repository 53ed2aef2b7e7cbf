"""``Model``: a function over columns, fitted or not, with outputs that are kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from superduper import code as _code
from superduper.components import parts
from superduper.components.component import Component, Lookup, alone
from superduper.components.datatype import DataType
from superduper.components.listener import Listener
from superduper.components.schema import field_spec, from_field_spec
from superduper.errors import ConfigError, ModelError, SuperduperError

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Code, ModelSpec
    from superduper.api.v1alpha1.compute import Compute
    from superduper.api.v1alpha1.model import Artifact, Predict, Training, Validation
    from superduper.components.listener import Key
    from superduper.query.builder import Collection, Query


_MAKERS = ("object", "training.object")
"""Code that decides what outputs are."""


class Model(Component):
    """A callable, a kept artifact or a training; what it is run on (``predict``) and measured on (``validation``).

    ``object`` is called once per row with the values of the inputs (or, ``batched``, with a list per input). With
    ``training`` or ``artifact`` it is given the fitted model as its first argument; without an ``object`` the fitted
    model's own ``predict`` is used (lists in, a list out), or the fitted model itself is called.
    ``datatype`` says what outputs are: a plain type's name or a DataType; left out, it is inferred.
    ``training``, ``predict``, ``validation`` and ``artifact`` are what YAML has under these names, as dicts or as the
    API's types; where YAML has code, a dict may hold the callable itself, and ``metrics`` may hold a ``Metric``.
    """

    type_id = "model"

    def __init__(
        self,
        identifier: str,
        object: Callable[..., Any] | Code | None = None,
        datatype: DataType | str | None = None,
        *,
        artifact: Artifact | Mapping[str, Any] | None = None,
        training: Training | Mapping[str, Any] | None = None,
        predict: Predict | Mapping[str, Any] | None = None,
        validation: Validation | Mapping[str, Any] | None = None,
        batched: bool | None = None,
        compute: str | Compute | Mapping[str, Any] | None = None,
        suspend: bool = False,
        deletion_policy: Literal["Retain", "Delete"] = "Retain",
        fetch: _code.Fetch | None = None,
    ) -> None:
        super().__init__(identifier)
        if object is None and artifact is None and training is None:
            raise ConfigError(f"Model {identifier!r}: give at least one of object, artifact and training")
        self.object, self.datatype = object, datatype
        self.artifact = parts.artifact(artifact)
        self.training = parts.training(training, self._code)
        self.validation = parts.validation(validation, self._code)
        predict = parts.predict(predict)
        self.predict_spec, self.batched = predict, bool(batched)
        if predict is not None:
            self.batched = predict.batched if batched is None else batched
            self.datatype = datatype if datatype is not None else _declared(identifier, predict)
            self.predict_spec = predict.model_copy(update={"output": self.output_spec(), "batched": self.batched})
        self.compute_spec = parts.compute(compute)
        self.compute = None if self.compute_spec is None else self.compute_spec.uri
        """Where it runs in this process, by the name that a Datalayer's compute has; None: as the Datalayer says."""
        self.suspend, self.deletion_policy = suspend, deletion_policy
        self._fetch = fetch
        self.fitted: Any = None
        """The fitted model, or a handle of it, where the datalayer has one."""
        self.whole = False
        """It says all that there is to say, as a manifest does: without ``predict`` it has no listener of its name."""
        self._makes: tuple[dict[str, Any], str] | None = None
        self._function: Callable[..., Any] | None = None

    # What it computes

    def function(self, batched: bool | None = None) -> tuple[Callable[..., Any], bool]:
        """The callable over inputs, and whether it takes lists. Raises CodeError or ModelError.

        ``batched``: as the listener says that runs it; left out, as the model itself does.
        """
        from functools import partial

        batched = self.batched if batched is None else batched
        if self.object is not None:
            if self._function is None:
                self._function = self._load_object()
            needs = self.training is not None or self.artifact is not None
            return (partial(self._function, self._need_fitted()) if needs else self._function), batched
        fitted = self._need_fitted()
        if hasattr(fitted, "predict"):
            return partial(_predict_lists, fitted.predict), True
        if callable(fitted):
            return fitted, batched
        raise ModelError(
            f"model {self.identifier!r}: what training gave ({type(fitted).__name__}) can neither predict nor be called"
        )

    def _load_object(self) -> Callable[..., Any]:
        from superduper.api.v1alpha1 import Code

        if isinstance(self.object, Code):
            return _code.load(self.object, self._fetch or self._nothing, where=f"Model {self.identifier!r} object")  # type: ignore[no-any-return]
        assert self.object is not None
        return self.object

    def _need_fitted(self) -> Any:
        if self.fitted is None:
            raise ModelError(f"model {self.identifier!r} is not trained yet; apply it once its table has rows")
        return self.fitted.load()

    def _nothing(self, identifier: str) -> bytes:
        raise ModelError(f"the code {identifier} is in an artifact store; load the model through its datalayer")

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """The output for one row's inputs. Raises ModelError, naming the line of the model's code that failed."""
        function, batched = self.function()
        if not batched:
            return self._called(function, "", *args, **kwargs)
        columns = {name: [value] for name, value in kwargs.items()}
        return self._listed(self._called(function, "", *([value] for value in args), **columns), 1)[0]

    def predict_batches(self, rows: Iterable[Any]) -> list[Any]:
        """Outputs for many rows; each row is a value, or a tuple of positional inputs. Raises ModelError."""
        given = [row if isinstance(row, tuple) else (row,) for row in rows]
        function, batched = self.function()
        if not batched:
            return [self._called(function, f", row {place}", *row) for place, row in enumerate(given)]
        if not given:
            return []
        columns = [list(column) for column in zip(*given, strict=True)]
        return self._listed(self._called(function, "", *columns), len(given))

    def _called(self, function: Callable[..., Any], where: str, *args: Any, **kwargs: Any) -> Any:
        """What the user's code gives; what it raises is the model's error."""
        try:
            return function(*args, **kwargs)
        except SuperduperError:
            # A handle that cannot be read, say: that is no fault of the model's.
            raise
        except (Exception, SystemExit) as error:
            text = f"model {self.identifier!r}{where}: {_code.explain(error)}"
            raise ModelError(text + _code.misfit(function, args, kwargs)) from error

    def _listed(self, outputs: Any, rows: int) -> list[Any]:
        try:
            found = list(outputs)
        except TypeError as error:
            raise ModelError(
                f"model {self.identifier!r} gave a {type(outputs).__name__}; batched, it must return a list"
            ) from error
        if len(found) != rows:
            text = (
                f"model {self.identifier!r} gave {len(found)} outputs for {rows} rows; batched, it must give one a row"
            )
            raise ModelError(text)
        return found

    # What it is run on

    def listener(self) -> Listener | None:
        """The listener that ``predict`` in a spec amounts to."""
        if self.predict_spec is None:
            return None
        return Listener(model=self, predict=self.predict_spec)

    def to_listener(
        self, select: Query | Collection | None = None, key: Key = None, identifier: str | None = None, **options: Any
    ) -> Listener:
        """This model, run on what ``select`` finds; ``key`` names the inputs."""
        return Listener(model=self, key=key, select=select, identifier=identifier, **options)

    def output_spec(self) -> Any:
        """``{type: …}``, ``{dataType: …}`` or None."""
        return None if self.datatype is None else field_spec(self.datatype)

    # Spec

    def children(self) -> list[Component]:
        return [self.datatype] if isinstance(self.datatype, DataType) else []

    def spec(self) -> ModelSpec:
        from superduper.api.v1alpha1 import ModelSpec

        return ModelSpec(
            identifier=self.identifier,
            object=None if self.object is None else self._code("object", self.object),
            artifact=self.artifact,
            training=self.training,
            predict=self.predict_spec,
            validation=self.validation,
            compute=self.compute_spec,
            suspend=self.suspend,
            deletion_policy=self.deletion_policy,
        )

    def makes(self) -> str:
        """Hash of what decides its outputs: code, training and artifact, as against where and when it is run."""
        content = self._content()
        if self._makes is not None and self._makes[0] == content:
            return self._makes[1]
        return self._hash(content, _MAKERS)

    def _content(self) -> dict[str, Any]:
        spec = self._plain_spec()
        kept: dict[str, Any] = {
            key: spec[key] for key in ("identifier", "object", "artifact", "training") if key in spec
        }
        return {**kept, "batched": self.batched}

    def recorded(self, digest: str, makes: str | None = None) -> None:
        super().recorded(digest)
        self._makes = None if makes is None else (self._content(), makes)

    @classmethod
    def from_spec(cls, spec: ModelSpec, *, lookup: Lookup = alone, fetch: _code.Fetch | None = None) -> Model:
        """The model that the spec says; ``lookup`` gives the DataType that it names."""
        output = spec.predict.output if spec.predict is not None else None
        return cls(
            spec.identifier or "",
            object=spec.object,
            datatype=None if output is None else from_field_spec(output, lookup),
            artifact=spec.artifact,
            training=spec.training,
            predict=spec.predict,
            validation=spec.validation,
            compute=spec.compute,
            suspend=spec.suspend,
            deletion_policy=spec.deletion_policy,
            fetch=fetch,
        )


class ObjectModel(Model):
    """A model that is a plain Python callable: ``ObjectModel('m', object=f)``."""


def _declared(model: str, predict: Predict) -> str | None:
    """The plain type of the outputs that a spec declares."""
    if predict.output is None:
        return None
    if predict.output.data_type is not None:
        raise ConfigError(f"Model {model!r}: predict.output names a DataType; give it as datatype=DataType(…) too")
    return predict.output.type


def _predict_lists(predict: Callable[[Any], Any], *columns: list[Any]) -> list[Any]:
    """Scikit-learn's convention: one list of samples in, one sequence out."""
    rows = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    found = predict(rows)
    return list(found.tolist() if hasattr(found, "tolist") else found)
