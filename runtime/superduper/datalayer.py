"""``Datalayer``: a databackend, an artifact store, a metadata store and a compute backend, made one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from superduper.applying import Applying
from superduper.artifacts import Artifacts
from superduper.backends import registry
from superduper.catalog import HIDDEN, OWNERS, RETAINED, TYPES, Catalog
from superduper.components.component import Component
from superduper.components.listener import Listener
from superduper.components.model import Model
from superduper.components.table import Table
from superduper.errors import ConfigError, InUse, NotFound, StoreError, SuperduperError, nearest
from superduper.execution import Execution, Written
from superduper.jobs.stores import Stores
from superduper.query.builder import Collection
from superduper.query.tables import Column, TableDef
from superduper.removal import Removal
from superduper.retention import Retention
from superduper.syncing import Synced, Syncing
from superduper.upkeep import Upkeep

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Object
    from superduper.artifacts.gc import GcReport
    from superduper.artifacts.verify import Damage
    from superduper.backends.base.artifacts import ArtifactStore
    from superduper.backends.base.compute import ComputeBackend
    from superduper.backends.base.data_backend import DataBackend
    from superduper.backends.base.metadata import JobRecord, MetaDataStore
    from superduper.components.schema import Schema
    from superduper.config import Settings
    from superduper.jobs.predict import Coverage

C = TypeVar("C", bound=Component)


class Datalayer:
    """The point of entry: ``db['t'].find()``, ``db.apply(component)``, ``db.predict('m', x)``.

    Safe to use from several threads and after a fork. Use it as a context manager, or ``close`` it.
    With ``defer``, writes and ``apply`` mark results and run no model: somebody else does (``run`` and ``validate``
    still run what they are asked for).
    """

    def __init__(
        self,
        databackend: DataBackend,
        *,
        artifact_store: ArtifactStore,
        metadata: MetaDataStore,
        compute: ComputeBackend,
        settings: Settings,
        defer: bool = False,
    ) -> None:
        self.databackend, self.artifact_store, self.metadata, self.compute = (
            databackend,
            artifact_store,
            metadata,
            compute,
        )
        self.settings = settings
        self._closed = False
        self.artifacts = Artifacts(artifact_store, hash=settings.hash)
        files = Path(settings.home) / "files"
        compute.budget = int(settings.budget_bytes)
        self._stores = Stores(databackend, self.artifacts, metadata, compute, files, int(settings.budget_bytes))
        self._catalog = Catalog(self._stores, settings.fold_valid)
        self.upkeep = Upkeep(self._stores, self._catalog, defer=defer)
        self._retention = Retention(self._stores, self._catalog)
        self._applying = Applying(self._stores, self._catalog, self.upkeep, self._retention)
        self._removal = Removal(self._stores, self._catalog, self.upkeep, self._retention)
        self._execution = Execution(self._stores, self._catalog, self.upkeep, self)
        self._syncing = Syncing(self._stores, self._catalog, self.upkeep, self)

    # Queries

    def __getitem__(self, table: str) -> Collection:
        """A table; nothing is asked of the database before a query is executed."""
        return Collection(table, self)

    def execute(self, query: Any, *, schema: Schema | None = None) -> Any:
        """Run a query: a Cursor of Documents, a Document or None, a number, a list, or ``(ids, jobs)`` for writes.

        ``schema`` is that of the rows inserted, where their table has none.
        """
        self._fresh()
        return self._execution.execute(query, schema)

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> Written:
        """Add rows, all or none."""
        return self.execute(self[table].insert_many(rows))  # type: ignore[no-any-return]

    def sync(self, table: str, rows: Sequence[Mapping[str, Any]], places: Sequence[object] | None = None) -> Synced:
        """Make the table hold these rows, by their keys: new ones are added, changed ones replaced, all or none.

        Rows that are not given stay. No model is run: results of replaced rows are marked stale.
        ``places``: what each row is called in messages, as ``numbers.csv:7``; left out: its position.
        """
        self._fresh()
        return self._syncing.sync(table, rows, places)

    def native_names(self, table: str, /) -> AbstractSet[str]:
        """Methods and columns that the database's own client offers on the table."""
        self._fresh()
        try:
            definition = self._catalog.entry(table).table
        except NotFound:
            definition = TableDef(table, (Column("id", "str"),), "id")
        return self.databackend.native_names(definition)

    # Components

    @overload
    def apply(self, component: C, *, run: bool = True) -> C: ...
    @overload
    def apply(self, component: Object, *, run: bool = True) -> Component: ...
    @overload
    def apply(self, component: Sequence[Component | Object], *, run: bool = True) -> list[Component]: ...

    def apply(self, component: Component | Object | Sequence[Component | Object], *, run: bool = True) -> Any:
        """Bring a component (or several, or an object of the API) in, and do what follows from it.

        What is the same already is left alone. Gives back the component. ``run=False`` trains and predicts nothing.
        """
        if isinstance(component, Sequence) and not isinstance(component, (str, bytes)):
            return [self.apply(part, run=run) for part in component]
        self._fresh()
        made = component if isinstance(component, Component) else self.from_object(component)
        self._applying.apply(made, run=run)
        return made

    def add(self, component: C) -> C:
        """The same as ``apply``."""
        return self.apply(component)

    def replace(self, component: C, *, upsert: bool = False) -> C:
        """Put a component in the place of one of the same type and name. Raises NotFound unless ``upsert``."""
        if not upsert and not self.metadata.versions(component.type_id, component.identifier):
            known = [name for _, name in self.metadata.components(component.type_id)]
            raise NotFound(
                f"no {component.type_id} {component.identifier!r} to replace{nearest(component.identifier, known)}; "
                "use apply, or upsert=True"
            )
        return self.apply(component)

    def from_object(self, object: Object) -> Component:
        """The component that an object of the API (DataType, Table, Model) says."""
        from superduper.api import v1alpha1 as api
        from superduper.components.datatype import DataType

        if not isinstance(object, (api.DataType, api.Table, api.Model)):
            raise ConfigError(
                f"a {type(object).__name__} cannot be applied: give a component, or a DataType, Table or Model"
            )
        spec = object.spec.model_copy(update={"identifier": object.identifier})
        if isinstance(object, api.DataType):
            return DataType.from_spec(spec, fetch=self.artifacts.get)  # type: ignore[arg-type]
        if isinstance(object, api.Table):
            return Table.from_spec(spec, lookup=self._catalog.load)  # type: ignore[arg-type]
        model = Model.from_spec(spec, lookup=self._catalog.load, fetch=self.artifacts.get)  # type: ignore[arg-type]
        model.whole = True
        return model

    def show(self, type_id: str | None = None, identifier: str | None = None, version: int | None = None) -> Any:
        """All components; the identifiers of a type; the versions of one; or the record of a version.

        ``version=-1`` is the newest. Raises NotFound.
        """
        self._check_type(type_id)
        if identifier is None:
            found = [(type_, name) for type_, name in self.metadata.components(type_id) if type_ not in HIDDEN]
            return (
                [{"type_id": t, "identifier": name} for t, name in found] if type_id is None else [n for _, n in found]
            )
        if type_id is None:
            raise ConfigError("show: give type_id together with identifier")
        if version is None:
            versions = self.metadata.versions(type_id, identifier)
            if not versions:
                self.metadata.component(type_id, identifier)
            return versions
        record = self.metadata.component(type_id, identifier, None if version == -1 else version)
        spec = {key: value for key, value in record.spec.items() if not key.startswith("$")}
        return {"type_id": type_id, "identifier": identifier, "version": record.version, "spec": spec}

    def load(self, type_id: str, identifier: str, version: int | None = None) -> Any:
        """The component, the newest version by default. Raises NotFound."""
        self._fresh()
        self._check_type(type_id)
        return self._catalog.load(type_id, identifier, version)

    def _check_type(self, type_id: str | None) -> None:
        if type_id is not None and type_id not in TYPES:
            raise NotFound(f"no type of component {type_id!r}{nearest(type_id, TYPES)} (types: {', '.join(TYPES)})")

    def remove(self, type_id: str, identifier: str, version: int | None = None, *, force: bool = False) -> None:
        """Forget a component. Raises NotFound; raises InUse, naming what needs it, unless ``force`` removes that too.

        ``deletion_policy`` of a table and of a model says whether rows and outputs go with it.
        """
        self._fresh()
        self._removal.remove(type_id, identifier, version, force=force)

    # Models

    def predict(self, model: str | Model, *args: Any, **kwargs: Any) -> Any:
        """The output for one row's inputs, by a model of this datalayer."""
        return self._model(model).predict(*args, **kwargs)

    def validate(self, model: str | Model) -> dict[str, float]:
        """Measure a model by its ``validation``: the value of each metric, kept in the model's status too."""
        found = self._model(model)
        measured = self.upkeep.fitting.measured(found)
        result = self.upkeep.fitting.validate(found)
        validation = {**result, "version": found.version, "measured": measured}
        self.metadata.set_status("model", found.identifier, {"validation": validation})
        return dict(result["metrics"])

    def _model(self, model: str | Model) -> Model:
        self._fresh()
        found = self._catalog.load("model", model if isinstance(model, str) else model.identifier)
        assert isinstance(found, Model)
        return found

    def listener(self, identifier: str) -> Listener:
        """The listener of that name. Raises NotFound."""
        found = self.load("listener", identifier)
        assert isinstance(found, Listener)
        return found

    def run(self, listener: str, *, retry: bool = False, full: bool = False) -> list[JobRecord]:
        """Compute a listener's missing outputs, whatever its trigger.

        ``retry`` also tries failed rows again; ``full`` also finds rows that were written past superduper.
        """
        found = self.listener(listener)
        ledger = self.upkeep.ledger(found)
        if retry and ledger is not None:
            ledger.retry_failed(self.upkeep.key(found))
        if full:
            self.upkeep.refresh(found)
        return self.upkeep.run(found)

    def coverage(self, listener: str) -> Coverage:
        """Rows, results done, failed and pending."""
        return self.upkeep.coverage(self.listener(listener))

    def errors(self, listener: str) -> list[dict[str, Any]]:
        """``[{'row': key, 'error': text}, …]`` of the rows that failed."""
        found = self.listener(listener)
        ledger = self.upkeep.ledger(found)
        rows = ledger.errors(self.upkeep.key(found)) if ledger is not None else ()
        return [{"row": row["_source"], "error": row["_error"]} for row in rows]

    # Care

    def gc(self, *, window: float | None = None, dry_run: bool = False, also: Iterable[Datalayer] = ()) -> GcReport:
        """Remove artifacts that nothing needs and that are older than ``window`` seconds (default: the settings' day).

        Where several datalayers use the artifact store, ``also`` gives the others. Raises InUse where one is missing:
        what it needs would be taken for garbage.
        """
        together = [self, *also]
        self._refuse_without(together, "collect in")
        seconds = self.settings.gc_window_seconds if window is None else window

        def live() -> Iterator[str]:
            for one in together:
                yield from one.live()

        return self.artifacts.gc(live, window=seconds, dry_run=dry_run)

    def live(self) -> Iterator[str]:
        """Ids of all artifacts that a row or a component of this datalayer needs; may repeat."""
        self._catalog.fresh()
        yield from self._retention.live()

    def _refuse_without(self, together: list[Datalayer], what: str) -> None:
        here = {OWNERS + one._catalog.owner for one in together}
        others = [info.key for info in self.artifact_store.list(OWNERS) if info.key not in here]
        if others:
            whose = ", ".join(f"{self.artifact_store.get(key).decode()} ({key})" for key in others)
            raise InUse(
                f"cannot {what} {self.artifact_store.uri}: the datalayers with the metadata {whose} use it too; open them "
                "and give them with also=, or remove the named object from the store if such a datalayer is gone for good"
            )

    def needed(self) -> Iterator[str]:
        """Ids of all artifacts that any row or component needs; may repeat."""
        self._fresh()
        return self._retention.live()

    def verify(self, *, set_aside: bool = False) -> list[Damage]:
        """Read every artifact again and report what is damaged or missing, and which rows and components need it."""
        self._fresh()
        found = list(self.artifacts.verify(set_aside=set_aside))
        known = {damage.reference for damage in found}
        missing = self.artifacts.verify(set(self.live()))
        return self._retention.located(found + [damage for damage in missing if damage.reference not in known])

    def drop(self, *, force: bool = False) -> bool:
        """Remove all that superduper keeps here: tables, outputs, artifacts, components. Asks first unless ``force``.

        False, and nothing is changed, if the answer is not yes.
        """
        if not force and input(f"Drop all data of {self}? (yes/no) ").strip().lower() not in ("y", "yes"):
            return False
        for type_id, identifier in self.metadata.components():
            if type_id in ("table", RETAINED) or (type_id == "schema" and identifier.startswith("_outputs__")):
                self.databackend.drop_table(identifier)
        self.artifact_store.delete([OWNERS + self._catalog.owner])
        if next(iter(self.artifact_store.list(OWNERS)), None) is None:
            # Else others use it too, and their next collection takes what was this one's.
            self.artifact_store.drop()
        self.metadata.drop()
        self.metadata.prepare()
        self._fresh()
        return True

    def close(self) -> None:
        """Give back all connections. Using it afterwards is an error; closing it again is not."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            parts = (self.artifact_store, self.metadata, self.databackend, self.compute, self._stores.engines)
            for part in parts:
                stack.callback(part.close)

    def _fresh(self) -> None:
        """Before anything is done: see what other processes have changed."""
        if self._closed:
            raise StoreError(f"{self!r} was closed; connect again with superduper({self.databackend.uri!r})")
        self._catalog.fresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Datalayer(databackend={self.databackend.uri!r}, artifact_store={self.artifact_store.uri!r}, "
            f"metadata={self.metadata.uri!r}, compute={self.compute.uri!r})"
        )


def superduper(
    uri: str | None = None,
    *,
    metadata_store: str | MetaDataStore | None = None,
    artifact_store: str | ArtifactStore | None = None,
    compute: str | ComputeBackend | None = None,
    defer: bool = False,
    **settings: Any,
) -> Datalayer:
    """Connect. ``uri`` names the databackend, ``CFG.databackend`` by default.

    Left out, the metadata store and the artifact store are the databackend itself where it can be, else an SQLite
    file and a folder in ``CFG.home``. With ``defer`` writes run no model (see Datalayer). Further keywords are settings,
    as ``home=`` or ``hash=``.

    ``http://host:8000`` is a datalayer's server: its three stores are used through it, with ``token=``, and models are run
    there. With ``defer`` this process is one that runs models itself.
    Raises UriError, MissingExtra, Unreachable, AccessDenied or ConfigError.
    """
    from superduper.config import CFG, Settings

    chosen = Settings(**{**{key: getattr(CFG, key) for key in CFG.model_fields_set}, **settings}) if settings else CFG
    data_uri = uri or chosen.databackend
    opened: list[Any] = []

    def open_(given: Any, make: Any) -> Any:
        part = make(given) if isinstance(given, str) else given
        opened.append(part)
        return part

    try:
        databackend = open_(data_uri, partial(registry.data_backend, settings=chosen))
        metadata = open_(
            metadata_store or chosen.metadata or default_metadata(data_uri, chosen.home),
            partial(registry.metadata_store, settings=chosen),
        )
        store = open_(
            artifact_store or chosen.artifact_store or default_artifacts(data_uri, chosen.home),
            partial(registry.artifact_store, settings=chosen),
        )
        engine = open_(compute or chosen.compute, registry.compute_backend)
    except SuperduperError:
        for part in opened:
            part.close()
        raise
    parts = {"artifact_store": store, "metadata": metadata, "compute": engine, "settings": chosen}
    servers = {getattr(part, "server", None) for part in (databackend, metadata, store)}
    if not defer and len(servers) == 1 and None not in servers:
        from superduper.remote import RemoteDatalayer

        return RemoteDatalayer(databackend, **parts)
    return Datalayer(databackend, **parts, defer=defer)


def default_metadata(uri: str, home: str | Path) -> str:
    """The databackend itself where it can keep metadata; beside a DuckDB file a SQLite one; else one in ``home``."""
    scheme = registry.scheme(uri)
    if scheme in registry.METADATA:
        return uri
    path = uri.partition("://")[2]
    if scheme == "duckdb" and path.strip("/") not in ("", ":memory:"):
        return f"sqlite://{path.removesuffix('.duckdb').removesuffix('.db')}-metadata.db"
    return f"sqlite:///{Path(home) / 'metadata.db'}"


def default_artifacts(uri: str, home: str | Path) -> str:
    """The databackend itself where it can hold files, else a folder in ``home``."""
    return uri if registry.scheme(uri) in registry.ARTIFACTS else f"filesystem://{Path(home) / 'artifacts'}"
