"""How an object is: its status as the embedded apply has it, and what is to be done for a model, and by whom."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from superduper.api.v1alpha1 import Model as ModelObject
from superduper.api.v1alpha1 import Reason
from superduper.embedded.models import has_rows, observed
from superduper.embedded.observed import observe
from superduper.embedded.state import Record
from superduper.errors import NotFound
from superduper.reasons import recorded

if TYPE_CHECKING:
    from superduper.backends.base.metadata import JobKind, JobRecord
    from superduper.components.model import Model
    from superduper.datalayer import Datalayer

CHEAP_SECONDS = 5.0
"""The server does by itself what earlier runs say will not take longer."""
BY_SERVER = ("local", "dask")
"""Compute that the server drives itself; for all other an operator starts jobs."""
INTERRUPTED = "interrupted"
"""What a message says of work that was broken off and goes on by itself."""
JOBS = 20


class Work(BaseModel):
    """What is to be done for a model."""

    key: str = Field(description="16 hexadecimal digits; others when it is other work.")
    training: bool
    predicting: int = Field(description="Rows that wait for their output.")
    validating: bool
    by: Literal["server", "job"]


def table(db: Datalayer, record: Record) -> Record:
    """A table's record with its rows counted; one that is not ready stays so."""
    rows = db[record.identifier].count_documents({}).execute()
    version = db.load("table", record.identifier).version
    if record.status.ready:
        return observe(record, "Ready", Reason.AVAILABLE, f"{rows:,} rows", rows=rows, version=version)
    return replace(record, status=record.status.model_copy(update={"rows": rows, "version": version}))


def model(db: Datalayer, record: Record, compute: str) -> tuple[Record, Work | None]:
    """A model's record with its counts and conditions, and what is to be done. ``compute``: the server's setting."""
    found: Model = db.load("model", record.identifier)
    if found.suspend:
        record = observed(db, record, found)
        return observe(record, "Ready", Reason.SUSPENDED, "spec.suspend is true: nothing is run"), None
    training = found.fitted is None and (found.training is not None or found.artifact is not None)
    if training and found.training is not None and not has_rows(db, found.training.table):
        message = f"waits for rows of table {found.training.table!r} to be trained on"
        return observe(record, "Reconciling", Reason.DEPENDENCY_NOT_READY, message, version=found.version), None
    record = observed(db, record, found)
    trigger = found.predict_spec is not None and found.predict_spec.trigger == "OnChange"
    pending: int = getattr(record.status, "pending", None) or 0
    asked = bool(record.memo.get("asked"))
    predicting = pending if trigger or asked else 0
    validating = _outdated(db, record, found)
    record = _measured(db, record, found)
    jobs = db.metadata.jobs(record.identifier, limit=JOBS)
    if not training and not predicting and not validating:
        return _remember(record, busy=False, asked=False), None
    record = _remember(record, busy=True)
    work = Work(
        key=_key(record, found),
        training=training,
        predicting=predicting,
        validating=validating,
        by=_by(record, found, jobs, compute, training=training, predicting=predicting),
    )
    return _told(record, found, work, jobs), work


def _remember(record: Record, *, busy: bool, asked: bool | None = None) -> Record:
    """Count the times that there came to be something to do: each is other work."""
    memo = dict(record.memo)
    if busy and not memo.get("busy"):
        memo["episode"] = memo.get("episode", 0) + 1
    memo["busy"] = busy
    if asked is not None:
        memo.pop("asked", None)
    return replace(record, memo=memo)


def _key(record: Record, found: Model) -> str:
    """Not of the fitted artifact: whoever trains goes on with predicting, and that is one piece of work."""
    facts = [
        record.identifier,
        found.version,
        found.makes(),
        record.memo.get("episode", 0),
        record.memo.get("attempt", 0),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _by(
    record: Record, found: Model, jobs: list[JobRecord], compute: str, *, training: bool, predicting: int
) -> Literal["server", "job"]:
    spec = record.object.spec
    own = spec.compute if isinstance(record.object, ModelObject) and spec.compute is not None else None  # type: ignore[union-attr]
    engine = own.engine if own is not None and own.engine != "auto" else compute.partition("://")[0]
    if engine in BY_SERVER:
        return "server"
    if training or record.memo.get("job") == found.version:
        return "job"
    kind: JobKind = "predict" if predicting else "validate"
    seconds = _seconds_per_row(jobs, kind, found.version or 0)
    if seconds is None:
        return "job"
    rows = predicting or max(job.rows for job in jobs if job.kind == kind)
    return "server" if rows * seconds <= CHEAP_SECONDS else "job"


def _seconds_per_row(jobs: list[JobRecord], kind: JobKind, version: int) -> float | None:
    """As the newest run of this version measured it that did anything."""
    for job in jobs:
        if job.kind == kind and job.version == version and job.phase == "Succeeded" and job.rows and job.finished:
            return max((job.finished - job.started).total_seconds(), 0.0) / job.rows
    return None


_STEPS: tuple[tuple[str, JobKind, Reason], ...] = (
    ("training", "train", Reason.TRAINING),
    ("predicting", "predict", Reason.PREDICTING),
    ("validating", "validate", Reason.VALIDATING),
)


def failure(record: Record, work: Work, jobs: list[JobRecord], version: int) -> tuple[Reason, str] | None:
    """Why the last attempt at what is to be done first came to nothing; None while it may still succeed."""
    since = record.memo.get("since")
    for name, kind, phase in _STEPS:
        if getattr(work, name):
            last = next((job for job in jobs if job.kind == kind and job.version == version), None)
            if last is None or last.phase != "Failed" or INTERRUPTED in last.message[:60].lower():
                return None
            if since is not None and last.started < datetime.fromisoformat(since):
                return None
            return recorded(last.message, phase), last.message
    return None


def _told(record: Record, found: Model, work: Work, jobs: list[JobRecord]) -> Record:
    """What is being done, or why it came to nothing."""
    failed = failure(record, work, jobs, found.version or 0)
    if failed is not None:
        return observe(record, "Stalled", *failed)
    reason = next(doing for name, _, doing in _STEPS if getattr(work, name))
    messages = {
        Reason.TRAINING: "" if found.training is not None else "the fitted model is fetched",
        Reason.PREDICTING: f"{work.predicting:,} rows to predict",
    }
    return observe(record, "Reconciling", reason, messages.get(reason, ""))


def _outdated(db: Datalayer, record: Record, found: Model) -> bool:
    """Whether the model should be measured (again)."""
    spec = found.validation
    if spec is None:
        return False
    try:
        if spec.dataset is None and not has_rows(db, spec.table):
            return False
        measured = db.upkeep.fitting.measured(found)
    except NotFound:
        return False
    known = _validation(db, record)
    return bool(known.get("measured") != measured)


def _validation(db: Datalayer, record: Record) -> dict[str, Any]:
    return dict(db.metadata.status("model", record.identifier).get("validation") or {})


def _measured(db: Datalayer, record: Record, found: Model) -> Record:
    """With the metrics of the last validation, as long as there is one to be done."""
    metrics = _validation(db, record).get("metrics", {}) if found.validation is not None else {}
    return replace(record, status=record.status.model_copy(update={"metrics": metrics}))
