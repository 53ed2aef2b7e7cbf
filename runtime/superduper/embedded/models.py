"""Bringing one model up: recorded, trained, its outputs computed, measured; each only where something is missing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from superduper.api.v1alpha1 import Reason
from superduper.embedded.observed import observe
from superduper.embedded.state import Record
from superduper.errors import NotFound

if TYPE_CHECKING:
    from superduper.components.model import Model
    from superduper.datalayer import Datalayer
    from superduper.jobs.predict import Coverage

Enter = Callable[..., Record]
"""Called with a record and the phase that begins; gives the record as it is kept meanwhile."""


class Reporter(Protocol):
    """Who is told how far it is."""

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        """Rows done, rows in all, rows failed."""


def bring_up(
    db: Datalayer, record: Record, changed: Collection[str], enter: Enter, reporter: Reporter
) -> tuple[Record, str]:
    """The record as it is afterwards, and what was run. ``changed``: tables whose rows just changed."""
    db.apply(db.from_object(record.object), run=False)
    model = _load(db, record)
    record = replace(record, status=record.status.model_copy(update={"version": model.version}))
    if model.suspend:
        return observe(record, "Ready", Reason.SUSPENDED, "spec.suspend is true: nothing is run"), ""
    did: list[str] = []
    if model.fitted is None and (model.training is not None or model.artifact is not None):
        if model.training is not None and not has_rows(db, model.training.table):
            message = f"waits for rows of table {model.training.table!r} to be trained on"
            return observe(record, "Reconciling", Reason.DEPENDENCY_NOT_READY, message), ""
        record = enter(record, Reason.TRAINING, version=model.version)
        word = "training" if model.training is not None else "fetching"
        reporter.progress(f"model/{record.name} {word}", 0, None)
        db.upkeep.fitting.train(model)
        model = _load(db, record)
        did.append("trained" if model.training is not None else "fetched")
    record, predicted = _predict(db, record, model, enter, reporter)
    did += predicted
    record, measured = _measure(db, record, model, changed, enter)
    did += measured
    return observed(db, record, model), "; ".join(did)


def refresh(db: Datalayer, record: Record) -> Record:
    """The record with its counts and conditions as they are now; nothing is run."""
    found = observed(db, record, _load(db, record))
    ready = record.status.condition("Ready")
    if ready is not None and ready.reason is Reason.SUSPENDED:
        return replace(found, status=found.status.model_copy(update={"conditions": record.status.conditions}))
    return found


def _load(db: Datalayer, record: Record) -> Model:
    found: Model = db.load("model", record.identifier)
    return found


def has_rows(db: Datalayer, table: str) -> bool:
    """Whether the table is there and not empty."""
    try:
        return db[table].find_one().execute() is not None
    except NotFound:
        return False


def _predict(db: Datalayer, record: Record, model: Model, enter: Enter, reporter: Reporter) -> tuple[Record, list[str]]:
    spec = model.predict_spec
    if spec is None or spec.trigger != "OnChange":
        return record, []
    listener = db.listener(record.identifier)
    before = db.upkeep.coverage(listener)
    if before.rows == 0 or db.upkeep.is_current(listener):
        return record, []
    record = enter(record, Reason.PREDICTING, f"{before.pending:,} rows to predict", version=model.version)
    what = f"model/{record.name} predicting"
    reporter.progress(what, 0, before.pending)
    outer, db.upkeep.progress = (
        db.upkeep.progress,
        lambda _, done, failed, total: reporter.progress(what, done, total, failed),
    )
    try:
        jobs = db.run(record.identifier)
    finally:
        db.upkeep.progress = outer
    done = [job for job in jobs if job.kind == "predict" and job.model == record.identifier]
    rows, failed = sum(job.rows for job in done), sum(job.failed for job in done)
    text = predicted(rows - failed, failed, record.name)
    return record, [text if rows else "results kept, their inputs had not changed"]


def _measure(
    db: Datalayer, record: Record, model: Model, changed: Collection[str], enter: Enter
) -> tuple[Record, list[str]]:
    """Validate where the model, what it is measured by, or the rows have changed."""
    spec = model.validation
    if spec is None:
        return replace(record, status=record.status.model_copy(update={"metrics": {}})), []
    rows = db[spec.table].count_documents(spec.filter or {}).execute()
    print_ = db.upkeep.fitting.measured(model)
    stale = spec.dataset is None and spec.table in changed
    if rows == 0 or (record.memo.get("validation") == print_ and not stale):
        return record, []
    record = enter(record, Reason.VALIDATING, version=model.version)
    metrics = db.validate(model)
    record = replace(
        record,
        memo={**record.memo, "validation": print_},
        status=record.status.model_copy(update={"metrics": metrics}),
    )
    return record, [shown(metrics)]


def shown(metrics: dict[str, float]) -> str:
    """``accuracy 0.9815, f1 0.9812``."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def observed(db: Datalayer, record: Record, model: Model) -> Record:
    """The record with the counts and conditions of a model for which nothing is being done."""
    fields: dict[str, Any] = {"version": model.version, "artifact": getattr(model.fitted, "identifier", None)}
    if model.predict_spec is None:
        return observe(record, "Ready", Reason.AVAILABLE, **fields)
    coverage = db.coverage(record.identifier)
    fields |= {
        "rows": coverage.rows,
        "predicted": coverage.done,
        "failed": coverage.failed,
        "pending": coverage.pending,
    }
    fields["coverage"] = f"{coverage.done}/{coverage.rows}"
    since = getattr(record.status, "pending_since", None) or datetime.now(UTC).replace(microsecond=0)
    fields["pending_since"] = since if coverage.pending else None
    text = covered(coverage)
    if coverage.failed and not coverage.done:
        first = db.errors(record.identifier)[0]
        message = f"{text}; row {first['row']!r}: {first['error']}"
        return observe(record, "Stalled", Reason.PREDICTION_FAILED, message, **fields)
    if coverage.failed:
        message = f"{text}; see superduper errors {record.name}"
        return observe(record, "Ready", Reason.PARTIAL, message, **fields)
    if coverage.pending and model.predict_spec.trigger == "Manual":
        text += f"; superduper rerun {record.name} computes them"
    return observe(record, "Ready", Reason.AVAILABLE, text, **fields)


def predicted(rows: int, failed: int, model: str) -> str:
    """``predicted 16 rows, failed 4 (see superduper errors NAME)``: what one run did."""
    text = f"predicted {rows:,} rows"
    return f"{text}, failed {failed:,} (see superduper errors {model})" if failed else text


def covered(coverage: Coverage) -> str:
    """``1,797 of 1,797 rows predicted``, with what failed and what is pending."""
    text = f"{coverage.done:,} of {coverage.rows:,} rows predicted"
    text += f", {coverage.failed:,} failed" if coverage.failed else ""
    return text + (f", {coverage.pending:,} pending" if coverage.pending else "")
