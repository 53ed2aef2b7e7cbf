"""Applying manifests in this process: each object in turn, each with its conditions kept as they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from superduper.api import references
from superduper.api import v1alpha1 as api
from superduper.api.v1alpha1 import Reason
from superduper.embedded import sources
from superduper.embedded.checks import check
from superduper.embedded.home import Home, connections
from superduper.embedded.models import bring_up
from superduper.embedded.observed import observe
from superduper.embedded.state import Record, next_record
from superduper.errors import SuperduperError
from superduper.manifests import Manifest
from superduper.reasons import reason
from superduper.uris import without_password

Did = Literal["created", "configured", "refreshed", "unchanged", "failed"]
"""``refreshed``: the object is the same, and what it reads is not, so that something was run."""


class Reporter(Protocol):
    """Who is told what happens."""

    def say(self, text: str) -> None:
        """One line."""

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        """How far a longer task is; it is at its end when another one or ``say`` follows."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one object."""

    record: Record
    did: Did
    note: str = ""
    """What was run for it; empty where nothing was."""

    @property
    def stalled(self) -> bool:
        """Whether it failed."""
        return self.record.status.condition("Stalled") is not None


class Apply:
    """One run of ``superduper apply``."""

    def __init__(self, home: Home, reporter: Reporter, *, full: bool = False) -> None:
        self.home, self.reporter, self.full = home, reporter, full
        self.failed: dict[tuple[str, str, str], str] = {}
        """What others cannot build on, by kind, datalayer and identifier: the object's name."""
        self.changed: set[tuple[str, str]] = set()
        """Tables, by datalayer and identifier, whose rows changed."""
        self.phase, self.kept = Reason.APPLYING, ""
        """What is being done to the object, and what of it stays if it fails."""

    def run(self, manifests: Sequence[Manifest]) -> list[Result]:
        """Apply in this order; then the models of the home that read tables which changed.

        Raises ManifestError before anything is done, where something is wrong that can be told beforehand.
        """
        check(self.home.state, manifests, run=True)
        results = [self._object(manifest) for manifest in manifests]
        done = {(result.record.kind, result.record.name) for result in results}
        for record in self.home.state.all():
            tables = {(record.datalayer, table) for table in _tables(record.object)}
            if (record.kind, record.name) not in done and tables & self.changed:
                results.append(self._settle(record, record, self._model))
        return results

    def again(self, record: Record) -> Result:
        """Bring an object that was applied before up to date."""
        work = self._model if record.kind == "Model" else self._table_status
        return self._settle(record, record, work)

    def _object(self, manifest: Manifest) -> Result:
        state = self.home.state
        found = manifest.resolved()
        previous = state.find(found.kind, found.metadata.name)
        record = next_record(previous, found, manifest.datalayer, manifest.identifier)
        if previous is None and isinstance(found, api.Model) and found.spec.compute and found.spec.compute.cluster_only:
            self.reporter.say(
                f"model/{record.name}: compute: {', '.join(found.spec.compute.cluster_only)} without effect outside a cluster"
            )
        works: dict[str, Callable[[Record], tuple[Record, str]]] = {
            "Datalayer": lambda record: self._datalayer(record, manifest, previous),
            "DataType": self._datatype,
            "Table": self._table,
            "Model": self._model,
        }
        return self._settle(record, previous, works[found.kind])

    def _settle(self, record: Record, previous: Record | None, work: Callable[[Record], tuple[Record, str]]) -> Result:
        """Do the work; whatever comes of it stands in the record's conditions."""
        blocked = self._blocked(record)
        note, did = "", _did(record, previous)
        if blocked is not None:
            record = observe(record, "Stalled", Reason.DEPENDENCY_NOT_READY, blocked)
        else:
            self.phase, self.kept = Reason.APPLYING, ""
            try:
                record, note = work(record)
            except SuperduperError as error:
                latest = self.home.state.find(record.kind, record.name) or record
                kept = replace(record, memo=latest.memo if latest.generation == record.generation else record.memo)
                record = observe(kept, "Stalled", reason(error, self.phase), f"{error}{self.kept}")
        self.home.state.put(record)
        result = Result(record, did, note)
        if result.stalled:
            self.failed[record.kind, record.datalayer, record.identifier] = record.name
            result = replace(result, did="failed")
        elif note and did == "unchanged":
            result = replace(result, did="refreshed")
        self._tell(result)
        return result

    def _tell(self, result: Result) -> None:
        record = result.record
        text = f"{record.kind.lower()}/{record.name} {result.did}"
        if result.stalled:
            condition = record.status.condition("Ready")
            assert condition is not None
            text += f": {condition.reason}: {condition.message}"
        elif result.note:
            text += f": {result.note}"
        self.reporter.say(text)

    def _blocked(self, record: Record) -> str | None:
        for reference in references.references(record.object):
            datalayer = reference.name if reference.kind == "Datalayer" else record.datalayer
            name = self.failed.get((reference.kind, datalayer, reference.name))
            if name is not None:
                return f"{reference.kind} {name!r} is not ready"
        return None

    def _enter(self, record: Record, phase: Reason, message: str = "", **fields: Any) -> Record:
        """Say, for whoever looks meanwhile, what is being done."""
        self.phase = phase
        record = observe(record, "Reconciling", phase, message, **fields)
        self.home.state.put(record)
        return record

    # The kinds

    def _datalayer(self, record: Record, manifest: Manifest, previous: Record | None) -> tuple[Record, str]:
        memo, notes = connections(manifest, self.home.path)
        if previous is not None and previous.memo and previous.object.spec == record.object.spec:
            # Relative paths stay where the first apply put them, whatever the current folder is now.
            memo = {**memo, **{key: previous.memo[key] for key in memo if _is_file(memo[key])}}
        record = replace(record, memo=memo)
        if previous is not None and dict(previous.memo) != memo:
            self.home.forget(record.name)
        for note in notes:
            if previous is None:
                self.reporter.say(f"datalayer/{record.name}: {note}")
        shown = {key: without_password(memo[key]) for key in ("databackend", "metadata", "artifact_store", "compute")}
        self.home.state.put(self._enter(record, Reason.APPLYING))
        self.home.datalayer(record.name)
        if getattr(record.object.spec, "suspend", False):
            return observe(record, "Ready", Reason.SUSPENDED, "spec.suspend is true: no model is run", **shown), ""
        return observe(record, "Ready", Reason.AVAILABLE, **shown), ""

    def _datatype(self, record: Record) -> tuple[Record, str]:
        db = self.home.datalayer(record.datalayer)
        made = db.apply(db.from_object(record.object))
        return observe(record, "Ready", Reason.AVAILABLE, version=made.version), ""

    def _table(self, record: Record) -> tuple[Record, str]:
        db = self.home.datalayer(record.datalayer)
        is_new = not db.metadata.versions("table", record.identifier)
        table = with_known_fields(db, db.from_object(record.object), is_new=is_new)
        db.apply(table)
        source, note = table.source, ""
        if source is not None:
            self.phase = Reason.INGESTING
            opened = sources.open_source(db, table, source)
            if is_new or self.full or record.memo.get("source") != opened.fingerprint:
                record, note = self._ingest(record, db, table, opened)
        return self._counted(record, db), note

    def _ingest(self, record: Record, db: Any, table: Any, opened: sources.Opened) -> tuple[Record, str]:
        record = self._enter(replace(record, memo={}), Reason.INGESTING)
        what = f"table/{record.name} reading rows"

        def advance(done: int, total: int | None) -> None:
            self.kept = f"; the {done:,} rows before are in the table"
            self.reporter.progress(what, done, total)

        self.reporter.progress(what, 0, opened.total)
        synced = sources.bring_in(db, table, opened, advance)
        self.kept = ""
        # A source that declares no fields has them inferred by now, and is known by them from here on.
        again = sources.open_source(db, db.load("table", table.identifier), table.source)
        changes = {"synced_at": datetime.now(UTC).replace(microsecond=0)}
        record = replace(record, memo={"source": again.fingerprint}, status=record.status.model_copy(update=changes))
        if synced.changed:
            self.changed.add((record.datalayer, record.identifier))
            return record, f"{synced.added:,} rows added, {synced.replaced:,} replaced, {synced.unchanged:,} unchanged"
        return record, "source read again, no row changed"

    def _table_status(self, record: Record) -> tuple[Record, str]:
        counted = self._counted(record, self.home.datalayer(record.datalayer))
        if not record.status.ready:
            # More rows do not mend what keeps it from being ready.
            changes = {"conditions": record.status.conditions}
            counted = replace(counted, status=counted.status.model_copy(update=changes))
        return counted, ""

    def _counted(self, record: Record, db: Any) -> Record:
        rows = db[record.identifier].count_documents({}).execute()
        version = db.load("table", record.identifier).version
        return observe(record, "Ready", Reason.AVAILABLE, f"{rows:,} rows", rows=rows, version=version)

    def _model(self, record: Record) -> tuple[Record, str]:
        db = self.home.datalayer(record.datalayer)
        home = self.home.state.find("Datalayer", record.datalayer)
        if home is not None and getattr(home.object.spec, "suspend", False):
            db.apply(db.from_object(record.object), run=False)
            return observe(record, "Ready", Reason.SUSPENDED, f"Datalayer {home.name!r} is suspended"), ""
        changed = {table for datalayer, table in self.changed if datalayer == record.datalayer}
        return bring_up(db, record, changed, self._enter, self.reporter)


def with_known_fields(db: Any, table: Any, *, is_new: bool) -> Any:
    """A table that declares no fields keeps those that were inferred."""
    from superduper.components.table import Table

    if table.schema.fields or is_new:
        return table
    known = db.load("table", table.identifier)
    return Table(
        table.identifier, known.schema, table.primary_id, source=table.source, deletion_policy=table.deletion_policy
    )


def _did(record: Record, previous: Record | None) -> Did:
    if previous is None:
        return "created"
    return "unchanged" if previous.generation == record.generation else "configured"


def _tables(found: Any) -> tuple[str, ...]:
    return found.spec.tables if isinstance(found, api.Model) else ()


def _is_file(uri: str) -> bool:
    return uri.startswith(("sqlite:", "duckdb:", "filesystem:"))
