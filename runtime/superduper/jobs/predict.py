"""Predicting what is missing: found by the database, computed in batches, written back as they come.

A kill loses the batches in flight only. A row that fails keeps its error and is not tried again until asked. Results
whose inputs turn out unchanged are kept without calling the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from superduper.backends.base.compute import Batch, Outcome
from superduper.code import describe
from superduper.errors import ModelError, SuperduperError
from superduper.jobs import reading
from superduper.jobs.batches import BatchSize
from superduper.jobs.ledger import DONE, FAILED, OUTPUT, SOURCE, STALE, Ledger, chunks
from superduper.jobs.predictor import Predictor
from superduper.jobs.reading import Rows
from superduper.jobs.stores import Stores
from superduper.query.ast import EVERYTHING

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Inputs
    from superduper.artifacts.writer import Writer
    from superduper.rows import Row

SAMPLE = 16
"""Rows that are computed to find out what outputs are, where nobody said."""


@dataclass(slots=True)
class Report:
    """What a run did: rows computed, of these failed, and results kept because their inputs had not changed."""

    done: int = 0
    failed: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A listener, ready to run."""

    name: str
    rows: Rows
    inputs: Inputs
    key: str
    predictor: Predictor
    ledger: Ledger | None
    open_ledger: Callable[[list[Any]], Ledger]
    """Makes the ledger for outputs like these values, where there is none yet."""
    batch_size: int | None = None
    downstream: tuple[Ledger, ...] = ()
    """Results that are made from this task's."""
    progress: Callable[[Report], None] | None = None


def run(task: Task, stores: Stores, keys: Sequence[Any] | None = None) -> Report:
    """Compute what is missing, or (``keys``) what is missing of these rows. Raises ModelError if nothing can run."""
    report = Report()
    reading.check_files(stores, task.rows, task.inputs)
    size = BatchSize(task.batch_size)
    ledger = task.ledger if task.ledger is not None else _first(task, stores, report, keys)
    if ledger is None:
        return report
    pending = _missing(task, stores, ledger) if keys is None else _of_these(ledger, task, keys)
    hashes: dict[Any, str] = {}
    batches = _batches(task, stores, ledger, pending, size, hashes, report)
    outdated: list[Any] = []
    for done in stores.compute.map(task.predictor, batches):
        size.took(len(done.outcomes), done.seconds)
        outdated += _write(task, stores, ledger, done.outcomes, hashes, report)
    if outdated:
        # These rows changed while they were computed.
        again = run(replace(task, ledger=ledger), stores, outdated)
        report.done, report.failed, report.kept = (
            report.done + again.done,
            report.failed + again.failed,
            report.kept + again.kept,
        )
    return report


def _missing(task: Task, stores: Stores, ledger: Ledger) -> Iterator[list[Any]]:
    return stores.databackend.missing(task.rows.table, task.rows.filter, ledger.table, ledger.current(task.key))


def _of_these(ledger: Ledger, task: Task, keys: Sequence[Any]) -> Iterator[list[Any]]:
    for chunk in chunks(keys):
        known = (
            ledger.rows(chunk, (SOURCE,), ledger.current(task.key)) if len(keys) > 1 or not ledger.is_empty() else {}
        )
        yield [key for key in chunk if key not in known]


def _first(task: Task, stores: Stores, report: Report, keys: Sequence[Any] | None) -> Ledger | None:
    """Compute a few rows to see what outputs are, make the ledger for such, and write them down."""
    chosen = None if keys is None else task.rows.by_keys(keys[:SAMPLE])
    query = task.rows.select(task.inputs.fields, chosen, limit=SAMPLE)
    rows = [row for batch in stores.databackend.select(task.rows.table, query) for row in batch]
    if not rows:
        return None
    hashes: dict[Any, str] = {}
    batch, outcomes = _batch(task, stores, rows, hashes)
    for done in stores.compute.map(task.predictor, [batch] if batch.keys else []):
        outcomes += done.outcomes
    values = [outcome.value for outcome in outcomes if outcome.error is None]
    if not values:
        raise ModelError(
            f"model {task.name!r} failed on each of the first {len(rows)} rows, so what its outputs are is not known: "
            f"{outcomes[0].error}; mend the model, or declare predict.output"
        )
    ledger = task.open_ledger(values)
    _write(task, stores, ledger, outcomes, hashes, report)
    return ledger


def _batches(
    task: Task,
    stores: Stores,
    ledger: Ledger,
    pending: Iterable[list[Any]],
    size: BatchSize,
    hashes: dict[Any, str],
    report: Report,
) -> Iterator[Batch]:
    """Batches for the model, read as they are asked for; results that are right after all are kept on the way."""
    fresh = ledger.is_empty()
    fields = task.inputs.fields
    for keys in _resized(pending, size):
        reusable = {} if fresh else ledger.reusable(keys, task.key)
        kept: list[Any] = []
        for rows in reading.plain_rows(stores, task.rows, fields, task.rows.by_keys(keys)):
            todo = []
            for row in rows:
                key = row[task.rows.table.primary_key]
                hashes[key] = reading.digest(row, task.inputs)
                (kept.append(key) if reusable.get(key) == hashes[key] else todo.append(row))
            if todo:
                batch, unreadable = _batch(task, stores, todo, hashes)
                if unreadable:
                    _write(task, stores, ledger, unreadable, hashes, report)
                if batch.keys:
                    yield batch
        if kept:
            ledger.mark(kept, DONE)
            report.kept += len(kept)


def _resized(pending: Iterable[list[Any]], size: BatchSize) -> Iterator[list[Any]]:
    """The same keys in lists of the size that is right at the moment."""
    held: list[Any] = []
    for keys in pending:
        held += keys
        while len(held) >= size.rows:
            cut = size.rows
            yield held[:cut]
            held = held[cut:]
    while held:
        cut = size.rows
        yield held[:cut]
        held = held[cut:]


def _batch(task: Task, stores: Stores, rows: list[Row], hashes: dict[Any, str]) -> tuple[Batch, list[Outcome]]:
    """What the model is given, and the failures of rows that cannot be read."""
    keys = [row[task.rows.table.primary_key] for row in rows]
    for key, row in zip(keys, rows, strict=True):
        if key not in hashes:
            hashes[key] = reading.digest(row, task.inputs)
    try:
        return Batch(keys, _arguments(task, stores, rows)), []
    except SuperduperError:
        return _one_by_one(task, stores, keys, rows)


def _arguments(task: Task, stores: Stores, rows: list[Row]) -> list[reading.Arguments]:
    documents = task.rows.codec.decode([dict(row) for row in rows], stores.inputs)
    return [reading.arguments(document, task.inputs) for document in documents]


def _one_by_one(task: Task, stores: Stores, keys: list[Any], rows: list[Row]) -> tuple[Batch, list[Outcome]]:
    """One damaged payload keeps its own row from being predicted, no other."""
    readable: list[Any] = []
    arguments: list[reading.Arguments] = []
    failed: list[Outcome] = []
    for key, row in zip(keys, rows, strict=True):
        try:
            arguments += _arguments(task, stores, [row])
            readable.append(key)
        except SuperduperError as error:
            failed.append(Outcome(key, error=describe(error)))
    return Batch(readable, arguments), failed


def _write(
    task: Task, stores: Stores, ledger: Ledger, outcomes: list[Outcome], hashes: dict[Any, str], report: Report
) -> list[Any]:
    """Write the outcomes down. Gives the keys of rows that are no longer what was computed from."""
    with stores.artifacts.writing() as writer:
        rows = [_result(task, ledger, outcome, hashes.pop(outcome.key, ""), writer) for outcome in outcomes]
        writer.flush()
        keys = [row[SOURCE] for row in rows]
        # Before, so that a kill leaves a mark too many; after, since somebody may have read the old results in between.
        _mark(task.downstream, keys)
        stores.databackend.upsert(ledger.table, rows)
        _mark(task.downstream, keys)
    report.done += len(rows)
    report.failed += sum(row["_state"] == FAILED for row in rows)
    if task.progress is not None:
        task.progress(report)
    return _outdated(task, stores, ledger, {row[SOURCE]: str(row["_inputs"]) for row in rows})


def _mark(downstream: tuple[Ledger, ...], keys: list[Any]) -> None:
    for ledger in downstream:
        ledger.mark(keys, STALE)


def _outdated(task: Task, stores: Stores, ledger: Ledger, given: dict[Any, str]) -> list[Any]:
    """Whoever changes a row marks its result stale before and after: this finds what was written after the second."""
    whole = Rows(task.rows.table, task.rows.codec, EVERYTHING)
    query = whole.select(task.inputs.fields, whole.by_keys(list(given)))
    changed: list[Any] = []
    gone = set(given)
    for batch in stores.databackend.select(task.rows.table, query):
        for row in batch:
            key = row[task.rows.table.primary_key]
            gone.discard(key)
            if reading.digest(row, task.inputs) != given[key]:
                changed.append(key)
    for key in changed:
        ledger.mark_made_from(key, given[key])
    ledger.forget(list(gone))
    return changed


def _result(task: Task, ledger: Ledger, outcome: Outcome, inputs: str, writer: Writer) -> Row:
    value, error = None, outcome.error
    if error is None:
        try:
            value = ledger.codec.value(OUTPUT, outcome.value, writer)
        except SuperduperError as wrong:
            error = f"the output cannot be stored: {wrong}; declare predict.output to match"
    return {
        SOURCE: outcome.key,
        OUTPUT: value,
        "_key": task.key,
        "_inputs": inputs,
        "_state": DONE if error is None else FAILED,
        "_error": error,
        "_fold": None,
    }


def refresh(task: Task, stores: Stores) -> int:
    """Find results that writes past the API made wrong: mark them stale, forget those without a row. Gives how many."""
    ledger = task.ledger
    if ledger is None:
        return 0
    found = 0
    whole = Rows(task.rows.table, task.rows.codec, EVERYTHING)
    query = whole.select(task.inputs.fields)
    for batch in stores.databackend.select(task.rows.table, query):
        now = {row[task.rows.table.primary_key]: reading.digest(row, task.inputs) for row in batch}
        known = ledger.rows(list(now), (SOURCE, "_inputs"), ledger.current(task.key))
        wrong = [key for key, row in known.items() if row["_inputs"] != now[key]]
        ledger.mark(wrong, STALE)
        found += len(wrong)
    return found + prune(task, stores)


def prune(task: Task, stores: Stores) -> int:
    """Forget results whose row is gone or no longer passes the filter. Gives how many."""
    if task.ledger is None:
        return 0
    found = 0
    gone = stores.databackend.missing(task.ledger.table, EVERYTHING, task.rows.table, task.rows.filter)
    for keys in gone:
        task.ledger.forget(keys)
        found += len(keys)
    return found


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a listener is: rows that pass its filter, results done and failed, rows still pending."""

    rows: int
    done: int
    failed: int

    @property
    def pending(self) -> int:
        """Rows without a current result."""
        return max(0, self.rows - self.done - self.failed)


def coverage(rows: Rows, ledger: Ledger | None, key: str, stores: Stores) -> Coverage:
    """Counted by the database."""
    total = stores.databackend.count(rows.table, rows.filter)
    if ledger is None:
        return Coverage(total, 0, 0)
    count = stores.databackend.count
    return Coverage(total, count(ledger.table, ledger.done(key)), count(ledger.table, ledger.failed(key)))


__all__ = ["Coverage", "Report", "Task", "coverage", "prune", "refresh", "run"]
