"""The components that a datalayer knows: recorded in the metadata store, made again from it, cached while unchanged."""

from __future__ import annotations

import uuid
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superduper import code
from superduper.components.component import Component
from superduper.components.datatype import DataType
from superduper.components.listener import OUTPUTS, Listener
from superduper.components.metric import Metric
from superduper.components.model import Model
from superduper.components.schema import Schema, from_field_spec
from superduper.components.table import Table
from superduper.errors import NotFound, SuperduperError, nearest
from superduper.jobs.ledger import DONE
from superduper.jobs.reading import Rows
from superduper.query.ast import And, Compare
from superduper.query.parse import parse_filter
from superduper.query.tables import TableDef
from superduper.rows import RowCodec

if TYPE_CHECKING:
    from superduper.backends.base.metadata import ComponentKey, ComponentRecord
    from superduper.jobs.stores import Stores

FITTED, RETAINED, OWNER, OBJECT = "fitted", "retained", "owner", "object"
"""Records that are no components of the user's: fitted models, tables that were removed while their rows stay, the
name under which this datalayer stands in its artifact store, and the objects that its server was given."""
TYPES = ("dataset", "datatype", "listener", "metric", "model", "schema", "table")
"""Types of the user's components."""
HIDDEN = (FITTED, RETAINED, OWNER, OBJECT)
MAKES = "$makes"
"""Key of a model's record that holds ``Model.makes``."""
OWNERS = "owners/"
"""Where in an artifact store the datalayers that use it are named."""
BATCHED, OUTPUT = "$batched", "$output"
"""Keys of what a model says of itself where its spec has no ``predict`` to say it in."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A table that rows can be read from and written to."""

    table: TableDef
    codec: RowCodec
    component: Table | None


class _Known:
    """What was made from one state of the metadata. A newer state gets another, so that nothing old is left in it."""

    def __init__(self, state: Hashable) -> None:
        self.state = state
        self.components: dict[tuple[str, str], Component] = {}
        self.entries: dict[str, Entry] = {}
        self.listeners: dict[str, list[Listener]] | None = None


class Catalog:
    """Components by type and identifier."""

    def __init__(self, stores: Stores, valid: float) -> None:
        self.stores, self.valid = stores, valid
        self._known = _Known(None)
        self._registered = False

    def fresh(self) -> None:
        """Forget what is cached if any process has changed the metadata since."""
        now = self.stores.metadata.state()
        if now != self._known.state:
            self._known = _Known(now)

    def load(self, type_id: str, identifier: str, version: int | None = None) -> Component:
        """The component, made from its record. Raises NotFound, naming the nearest."""
        cache = self._known.components
        known = cache.get((type_id, identifier)) if version is None else None
        if known is not None:
            return known
        record = self.stores.metadata.component(type_id, identifier, version)
        made = self._make(record)
        if version is None:
            cache[type_id, identifier] = made
        return made

    def _make(self, record: ComponentRecord) -> Component:
        """A component of its record, which knows its version and digest."""
        spec = dict(record.spec)
        makes, batched, output = (spec.pop(key, None) for key in (MAKES, BATCHED, OUTPUT))
        made = self._from_spec(record.type_id, spec)
        made.version = record.version
        if isinstance(made, Model):
            if made.predict_spec is None:
                made.batched, made.datatype = bool(batched), self._field(output)
            made.recorded(record.digest, makes)
            return self._with_fitted(made, record)
        made.recorded(record.digest)
        return made

    def _field(self, spec: Any) -> DataType | str | None:
        from superduper.api.v1alpha1 import FieldType

        return None if spec is None else from_field_spec(FieldType.model_validate(spec), self.load)

    def _from_spec(self, type_id: str, spec: dict[str, Any]) -> Component:
        from superduper.api import v1alpha1 as api
        from superduper.components.dataset import Dataset

        fetch = self.stores.artifacts.get
        match type_id:
            case "datatype":
                return DataType.from_spec(api.DataTypeSpec.model_validate(spec), fetch=fetch)
            case "schema":
                return Schema.from_spec(api.SchemaSpec.model_construct(**_schema(spec)), lookup=self.load)
            case "table":
                return Table.from_spec(api.TableSpec.model_validate(spec), lookup=self.load)
            case "model":
                return Model.from_spec(api.ModelSpec.model_validate(spec), lookup=self.load, fetch=fetch)
            case "listener":
                found = api.ListenerSpec.model_validate(spec)
                model = self.load("model", found.model)
                assert isinstance(model, Model)
                return Listener.from_spec(found, model=model, lookup=self.load)
            case "metric":
                return Metric.from_spec(api.MetricSpec.model_validate(spec), fetch=fetch)
            case "dataset":
                return Dataset.from_spec(api.DatasetSpec.model_validate(spec))
        raise SuperduperError(f"component {spec.get('identifier')!r} is of an unknown type {type_id!r}")

    def _with_fitted(self, model: Model, record: ComponentRecord) -> Model:
        if model.training is not None or model.artifact is not None:
            identifier = self.fitted_id(record.identifier, model.makes())
            if identifier is not None:
                model.fitted = Fitted(self.stores.artifacts.get, identifier, record.identifier)
        return model

    def fitted_id(self, model: str, made_by: str) -> str | None:
        """Artifact id of the model that was fitted by exactly this code and training, or None."""
        try:
            record = self.stores.metadata.component(FITTED, model)
        except NotFound:
            return None
        return record.artifacts[0] if record.spec["makes"] == made_by else None

    def record(self, component: Component, children: list[ComponentKey] | None = None) -> tuple[ComponentRecord, bool]:
        """Store what the component needs, then its record; a new version if its digest is new."""
        self._register()
        payloads = component.payloads()
        digest = component.digest()
        spec = component.spec().model_dump(mode="json", by_alias=True, exclude_none=True)
        if isinstance(component, Model):
            spec |= _of_model(component)
        with self.stores.artifacts.writing() as writer:
            artifacts = [writer.put(data) for data in payloads.values()]
            artifacts += [snapshot] if (snapshot := getattr(component, "snapshot", None)) else []
            writer.flush()
            record, new = self.stores.metadata.add_component(
                component.type_id,
                component.identifier,
                digest=digest,
                spec=spec,
                artifacts=artifacts,
                children=children or [],
            )
        component.version = record.version
        if new:
            self._known.components.pop((component.type_id, component.identifier), None)
        return record, new

    def _register(self) -> None:
        """Before anything is stored, say in the artifact store who uses it: nobody then takes it for garbage."""
        if not self._registered:
            key = OWNERS + self.owner
            if self.stores.artifacts.store.head(key) is None:
                self.stores.artifacts.store.put(key, self.stores.metadata.uri.encode())
            self._registered = True

    @property
    def owner(self) -> str:
        """The name under which this datalayer stands in its artifact store, kept in its metadata."""
        name = uuid.uuid4().hex
        return str(self.stores.metadata.add_component(OWNER, OWNER, digest=OWNER, spec={"name": name})[0].spec["name"])

    # Tables

    def entry(self, name: str) -> Entry:
        """The table of that name, or (``outputs.m``, ``_outputs__m``) the outputs of a listener. Raises NotFound."""
        entries = self._known.entries
        made = entries.get(name)
        if made is None:
            made = self._outputs(name) if name.startswith(("outputs.", OUTPUTS)) else self._table(name)
            entries[name] = made
        return made

    def has(self, name: str) -> bool:
        """Whether there is a table, or outputs, of that name."""
        try:
            self.entry(name)
        except NotFound:
            return False
        return True

    def _table(self, name: str) -> Entry:
        try:
            component = self.load("table", name)
        except NotFound as error:
            known = [identifier for _, identifier in self.stores.metadata.components("table")]
            there = name in self.stores.databackend.list_tables()
            hint = " (the database has one of that name: apply a Table with its fields first)" if there else ""
            raise NotFound(f"no table {name!r}{nearest(name, known)}{hint}") from error
        assert isinstance(component, Table)
        return self.of_table(component)

    def of_table(self, table: Table) -> Entry:
        """What is read and written as that version of the table has it."""
        return self._with_codec(table.definition, table.schema, table, self._before(table))

    def _before(self, table: Table) -> dict[str, DataType]:
        """Data types of older versions, of fields that have changed between a payload and a file since."""
        mixed = {
            name: kind
            for name, kind in table.schema.fields.items()
            if isinstance(kind, DataType) and (kind.is_artifact or kind.is_file)
        }
        found: dict[str, DataType] = {}
        for version in self.stores.metadata.versions("table", table.identifier)[:-1] if mixed else ():
            older: Any = self.load("table", table.identifier, version)
            for name, kind in mixed.items():
                was = older.schema.fields.get(name)
                if (
                    isinstance(was, DataType)
                    and {was.is_file, kind.is_file} == {True, False}
                    and (was.is_file or was.is_artifact)
                ):
                    found[name] = was
        return found

    def of_outputs(self, schema: Schema) -> Entry:
        """What is read and written as that version of a listener's outputs has it."""
        return self._with_codec(schema.table(schema.identifier, "_source"), schema, None)

    def _outputs(self, name: str) -> Entry:
        listener = name.removeprefix("outputs.").removeprefix(OUTPUTS)
        try:
            schema = self.load("schema", OUTPUTS + listener)
        except NotFound as error:
            known = [identifier for _, identifier in self.stores.metadata.components("listener")]
            raise NotFound(
                f"{listener!r} has no outputs yet{nearest(listener, [k for k in known if k != listener])}"
            ) from error
        assert isinstance(schema, Schema)
        return self.of_outputs(schema)

    def rows(self, table: str, filter: Any) -> Rows:
        """The rows of a table that pass a filter document; of another model's outputs those that can be read."""
        entry = self.entry(table)
        chosen = parse_filter(filter)
        if entry.component is None:
            chosen = And((Compare("_state", "eq", DONE), chosen))
        return Rows(entry.table, entry.codec, chosen)

    def _with_codec(
        self, table: TableDef, schema: Schema, component: Table | None, before: dict[str, DataType] | None = None
    ) -> Entry:
        schemaless = self.stores.databackend.abilities.schemaless and component is not None
        codec = RowCodec(table, schema, schemaless=schemaless, valid=self.valid, before=before)
        return Entry(table, codec, component)

    # Listeners

    def listeners(self, table: str) -> list[Listener]:
        """Listeners on that table's rows."""
        now = self._known
        known = now.listeners
        if known is None:
            found: dict[str, list[Listener]] = {}
            for _, identifier in self.stores.metadata.components("listener"):
                listener = self.load("listener", identifier)
                assert isinstance(listener, Listener)
                found.setdefault(self._named(listener.predict.table), []).append(listener)
            now.listeners = known = found
        return known.get(self._named(table), [])

    def listeners_of(self, model: str) -> list[Listener]:
        """Listeners that run the model."""
        self.listeners("")
        return [
            each for table in (self._known.listeners or {}).values() for each in table if each.model.identifier == model
        ]

    def _named(self, table: str) -> str:
        """``outputs.m`` by the name of the table that it is."""
        return OUTPUTS + table.removeprefix("outputs.") if table.startswith("outputs.") else table


class Fitted:
    """A fitted model that is loaded when it is first needed; then it stands for the model itself."""

    def __init__(self, fetch: code.Fetch, identifier: str, model: str) -> None:
        self._fetch, self.identifier, self._model = fetch, identifier, model
        self._value: Any = None

    def load(self) -> Any:
        """The fitted model. Raises ArtifactCorrupt, or CodeError where it does not unpickle."""
        if self._value is None:
            self._value = code.unpickle(self.identifier, self._fetch, f"Model {self._model!r} training")
        return self._value


def _of_model(model: Model) -> dict[str, Any]:
    """What is kept of a model beside its spec."""
    kept: dict[str, Any] = {MAKES: model.makes()}
    if model.predict_spec is None:
        output = model.output_spec()
        kept[BATCHED] = model.batched
        kept[OUTPUT] = None if output is None else output.model_dump(mode="json", by_alias=True, exclude_none=True)
    return kept


def _schema(spec: dict[str, Any]) -> dict[str, Any]:
    """A schema's record as its spec takes it: outputs have fields that a user's schema may not have."""
    from superduper.api.v1alpha1 import FieldType

    return {
        "identifier": spec["identifier"],
        "fields": {k: FieldType.model_validate(v) for k, v in spec["fields"].items()},
    }
