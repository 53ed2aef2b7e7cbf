"""The work that the server does in the background: filling tables from their sources, running models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from superduper.api.v1alpha1 import Reason
from superduper.embedded import sources
from superduper.embedded.observed import observe
from superduper.embedded.state import Record
from superduper.errors import AccessDenied, CodeError, MissingExtra, StoreError, SuperduperError, Unreachable
from superduper.reasons import reason
from superduper.server.assess import BY_SERVER, Work
from superduper.server.background import Interrupted

if TYPE_CHECKING:
    from superduper.components.model import Model
    from superduper.datalayer import Datalayer
    from superduper.server.objects import Objects

PASSING = (Unreachable, AccessDenied, StoreError)
"""Errors that somebody mends outside: the same is tried again."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """``15m`` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def now() -> datetime:
    """The present moment, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


# Tables


def is_due(record: Record) -> bool:
    """Whether the table's source is to be read now: it never was to its end, or ``every`` has passed."""
    source = getattr(record.object.spec, "source", None)
    if source is None or "applied" not in record.memo:
        return False
    read = record.memo.get("read")
    if read is None or record.memo.get("source") is None:
        return True
    every: str | None = source.every
    return every is not None and now() - datetime.fromisoformat(read) >= timedelta(seconds=seconds(every))


def ingest(objects: Objects, db: Datalayer, name: str, check: Callable[[], None]) -> None:
    """Read the source of a table, unless it is read already and unchanged; what comes of it stands in its status."""
    record = objects.records(db).get("Table", name)
    kept = ""

    def advance(done: int, total: int | None) -> None:
        nonlocal kept
        kept = f"; the {done:,} rows before are in the table"
        of = f" of {total:,}" if total is not None else ""
        objects.change(db, record, lambda r: _reading(r, f"{done:,}{of} rows read"))
        check()

    try:
        with db.upkeep.runs.lock(f"ingest:{record.identifier}"):
            # Another replica may have read it while this one waited.
            record = objects.records(db).get("Table", name)
            if not is_due(record):
                return
            _read(objects, db, record, advance)
    except Interrupted:
        raise
    except SuperduperError as error:
        why, message = reason(error, Reason.INGESTING), f"{error}{kept}"
        objects.change(db, record, lambda r: observe(r, "Stalled", why, message))
        raise


def _read(objects: Objects, db: Datalayer, record: Record, advance: sources.Advance) -> None:
    table = db.load("table", record.identifier)
    source = table.source
    assert source is not None
    opened = sources.open_source(db, table, source)
    same = record.memo.get("source") == opened.fingerprint
    scheduled = record.memo.get("read") is not None
    # What code reads shows only when it is run: on schedule it is, and not because something else of the spec changed.
    if same and (source.rows is None or not scheduled):
        opened.release()
        objects.change(db, record, lambda r: _done(r, opened.fingerprint))
        return
    if record.memo.get("source") is None:
        objects.change(db, record, lambda r: _reading(r, ""))
    synced = sources.bring_in(db, table, opened, advance)
    # A source that declares no fields has them inferred by now, and is known by them from here on.
    again = sources.open_source(db, db.load("table", record.identifier), source)
    again.release()
    objects.change(db, record, lambda r: _done(r, again.fingerprint))
    if synced.changed:
        objects.written(db, record.identifier)


def _reading(record: Record, message: str) -> Record:
    """While it is read for the first time it is not ready; later it stays ready."""
    if record.memo.get("source") is not None and record.status.ready:
        return record
    return observe(record, "Reconciling", Reason.INGESTING, message)


def _done(record: Record, fingerprint: str) -> Record:
    record = replace(record, memo={**record.memo, "source": fingerprint, "read": now().isoformat()})
    return observe(record, "Ready", Reason.AVAILABLE, synced_at=now())


# Models


def run(objects: Objects, db: Datalayer, name: str, work: Work) -> None:
    """Train, predict and measure, as far as each is to be done. What comes of it stands in the record of jobs."""
    record = objects.records(db).get("Model", name)
    model: Model = db.load("model", record.identifier)
    if work.training:
        _attempt(objects, db, record, "train", lambda: db.upkeep.fitting.train(model))
    spec = model.predict_spec
    if spec is not None and (work.predicting or (work.training and spec.trigger == "OnChange")):
        _attempt(objects, db, record, "predict", lambda: db.run(record.identifier))
    if work.validating or (work.training and model.validation is not None):
        _attempt(objects, db, record, "validate", lambda: db.validate(record.identifier))


def _attempt(objects: Objects, db: Datalayer, record: Record, kind: Any, do: Callable[[], object]) -> None:
    model: Model = db.load("model", record.identifier)
    started = datetime.now(UTC)
    try:
        do()
    except (Interrupted, *PASSING):
        raise
    except SuperduperError as error:
        if isinstance(error, (CodeError, MissingExtra)) and objects.state.compute not in BY_SERVER:
            # The image of jobs may have what this one lacks.
            objects.change(db, record, lambda r: replace(r, memo={**r.memo, "job": model.version}))
            raise
        jobs = db.metadata.jobs(record.identifier, limit=5)
        if not any(job.kind == kind and job.phase == "Failed" and job.started >= started for job in jobs):
            db.upkeep.runs.failed(kind, model, error)
        rows = db.coverage(record.identifier).rows if model.predict_spec is not None else None
        objects.change(db, record, lambda r: replace(r, memo={**r.memo, "failedRows": rows}))
        raise
