"""Predicting what is missing: found by the database, computed in batches, written back as they come.

A kill loses the batches in flight only. A row that fails keeps its error and is not tried again until asked. Results
whose inputs turn out unchanged are kept without calling the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from superduper.backends.base.compute import Batch, Done
from superduper.code import describe
from superduper.errors import AccessDenied, ModelError, StoreError, SuperduperError, Unreachable
from superduper.jobs import reading
from superduper.jobs.batches import LARGEST, BatchSize
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


COMPARED = frozenset({"str", "int", "bool", "datetime", "bytes"})
"""Column types of which equal values have equal hashes; floats have two zeros."""
OF_STORES = (Unreachable, AccessDenied, StoreError)
"""What is no row's fault."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the model is given of the rows that are being computed, by key."""

    digests: dict[Any, str] = field(default_factory=dict)
    """The hash of it."""
    stored: dict[Any, Any] = field(default_factory=dict)
    """What is stored in the inputs' columns, where that can be compared instead."""

    def note(self, task: Task, rows: list[Row]) -> None:
        """Keep it until the rows' results are written."""
        keys = [row[task.rows.table.primary_key] for row in rows]
        self.digests.update(zip(keys, reading.digests(rows, task.inputs), strict=True))
        if (pick := task.picker) is not None:
            self.stored.update(zip(keys, map(pick, rows), strict=True))

    def add(self, other: Given) -> None:
        """Take in what is known of other rows."""
        self.digests.update(other.digests)
        self.stored.update(other.stored)

    def taken(self, keys: Iterable[Any]) -> Given:
        """That of some rows, which is let go here."""
        keys = list(keys)
        stored = dict(zip(keys, map(self.stored.pop, keys), strict=True)) if self.stored else {}
        return Given(dict(zip(keys, map(self.digests.pop, keys), strict=True)), stored)


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

    @property
    def picker(self) -> Callable[[Row], Any] | None:
        """Gives what is stored in the inputs' columns, if equal values there are the same to the model."""
        columns = [self.rows.table.column(name) for name in self.inputs.fields]
        if all(column is not None and column.type in COMPARED for column in columns):
            return itemgetter(*self.inputs.fields)
        return None


def run(
    task: Task, stores: Stores, keys: Sequence[Any] | None = None, *, pending: Iterable[list[Any]] | None = None
) -> Report:
    """Compute what is missing, or (``keys``) what is missing of these rows. Raises ModelError if nothing can run.

    ``pending``: what ``missing`` gave, where it was asked already and the ledger is the same.
    """
    report = Report()
    reading.check_files(stores, task.rows, task.inputs)
    size = BatchSize(task.batch_size)
    ledger = task.ledger if task.ledger is not None else _first(task, stores, report, keys)
    if ledger is None:
        return report
    if keys is not None:
        pending = _of_these(ledger, task, list(dict.fromkeys(keys)))
    elif pending is None or task.ledger is None:
        pending = missing(task.rows, ledger, task.key, stores)
    given, outdated = Given(), list[Any]()
    batches = _batches(task, stores, ledger, pending, size, given, report, outdated)
    for done in stores.compute.map(task.predictor, batches):
        size.took(len(done.keys), done.seconds)
        outdated += _write(task, stores, ledger, done, given, report)
    if outdated:
        # These rows changed while they were computed.
        again = run(replace(task, ledger=ledger), stores, outdated)
        report.done, report.failed, report.kept = (
            report.done + again.done,
            report.failed + again.failed,
            report.kept + again.kept,
        )
    return report


def missing(rows: Rows, ledger: Ledger, key: str, stores: Stores) -> Iterator[list[Any]]:
    """Keys of the rows without a current result, found by the database."""
    return stores.databackend.missing(rows.table, rows.filter, ledger.table, ledger.current(key), batch=LARGEST)


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
    given = Given()
    given.note(task, rows)
    batch, unreadable = _batch(task, stores, rows)
    parts = [unreadable, *stores.compute.map(task.predictor, [batch] if batch.keys else [])]
    values = [value for done in parts for at, value in enumerate(done.values) if at not in done.errors]
    if not values:
        first = next(error for done in parts for error in done.errors.values())
        raise ModelError(
            f"model {task.name!r} failed on each of the first {len(rows)} rows, so what its outputs are is not known: "
            f"{first}; mend the model, or declare predict.output"
        )
    ledger = task.open_ledger(values)
    for done in parts:
        _write(task, stores, ledger, done, given, report)
    return ledger


def _batches(
    task: Task,
    stores: Stores,
    ledger: Ledger,
    pending: Iterable[list[Any]],
    size: BatchSize,
    given: Given,
    report: Report,
    outdated: list[Any],
) -> Iterator[Batch]:
    """Batches for the model, read as they are asked for; results that are right after all are kept on the way.

    ``outdated`` is given the keys of rows that have changed since they were read.
    """
    fresh = ledger.is_empty()
    key_name = task.rows.table.primary_key
    for keys in _resized(pending, size):
        reusable = {} if fresh else ledger.reusable(keys, task.key)
        kept = Given()
        chosen = task.rows.by_keys(keys)
        for rows in reading.plain_rows(stores, task.rows, task.inputs.fields, chosen, at_once=len(keys)):
            todo = rows
            given.note(task, rows)
            if reusable:
                same = {key for row in rows if reusable.get(key := row[key_name]) == given.digests[key]}
                todo = [row for row in rows if row[key_name] not in same]
                kept.add(given.taken(same))
            if todo:
                batch, unreadable = _batch(task, stores, todo)
                if unreadable.keys:
                    outdated += _write(task, stores, ledger, unreadable, given, report)
                if batch.keys:
                    yield batch
        if kept.digests:
            ledger.mark(list(kept.digests), DONE)
            report.kept += len(kept.digests)
            # Whoever changed such a row meanwhile may have been told, by this mark, that nothing is to be done.
            outdated += _outdated(task, stores, ledger, kept)


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


def _batch(task: Task, stores: Stores, rows: list[Row]) -> tuple[Batch, Done]:
    """What the model is given, and the failures of rows that cannot be read."""
    keys = [row[task.rows.table.primary_key] for row in rows]
    try:
        return _of_rows(task, stores, keys, rows), Done((), (), {}, 0.0)
    except OF_STORES:
        raise
    except SuperduperError:
        return _one_by_one(task, stores, keys, rows)


def _of_rows(task: Task, stores: Stores, keys: list[Any], rows: list[Row]) -> Batch:
    return reading.batch(keys, reading.values(stores, task.rows.codec, rows, task.inputs.fields), task.inputs)


def _one_by_one(task: Task, stores: Stores, keys: list[Any], rows: list[Row]) -> tuple[Batch, Done]:
    """One damaged payload keeps its own row from being predicted, no other."""
    readable: list[Any] = []
    failed: list[Any] = []
    errors: dict[int, str] = {}
    values: dict[str, list[Any]] = {name: [] for name in task.inputs.fields}
    for key, row in zip(keys, rows, strict=True):
        try:
            found = reading.values(stores, task.rows.codec, [row], task.inputs.fields)
        except OF_STORES:
            raise
        except SuperduperError as error:
            errors[len(failed)] = describe(error)
            failed.append(key)
            continue
        readable.append(key)
        for name, column in found.items():
            values[name] += column
    return reading.batch(readable, values, task.inputs), Done(failed, [None] * len(failed), errors, 0.0)


def _write(task: Task, stores: Stores, ledger: Ledger, done: Done, given: Given, report: Report) -> list[Any]:
    """Write the outcomes down. Gives the keys of rows that are no longer what was computed from."""
    if not done.keys:
        return []
    made = given.taken(done.keys)
    with stores.artifacts.writing() as writer:
        values, errors = _stored(ledger, done, writer)
        same = {"_key": task.key, "_state": DONE, "_error": None, "_fold": None}
        rows = [
            {SOURCE: key, OUTPUT: value, "_inputs": digest, **same}
            for (key, digest), value in zip(made.digests.items(), values, strict=True)
        ]
        for at, error in errors.items():
            rows[at] |= {OUTPUT: None, "_state": FAILED, "_error": error}
        writer.flush()
        keys = list(made.digests)
        # Before, so that a kill leaves a mark too many; after, since somebody may have read the old results in between.
        _mark(task.downstream, keys)
        stores.databackend.upsert(ledger.table, rows)
        _mark(task.downstream, keys)
    report.done += len(rows)
    report.failed += len(errors)
    if task.progress is not None:
        task.progress(report)
    return _outdated(task, stores, ledger, made)


def _stored(ledger: Ledger, done: Done, writer: Writer) -> tuple[list[Any], dict[int, str]]:
    """Values as they are stored, and errors, those of values that cannot be stored among them."""
    try:
        return ledger.codec.column(OUTPUT, done.values, writer), dict(done.errors)
    except OF_STORES:
        raise
    except SuperduperError:
        pass
    values, errors = list(done.values), dict(done.errors)
    for at, value in enumerate(values):
        if at not in errors:
            try:
                values[at] = ledger.codec.value(OUTPUT, value, writer)
            except OF_STORES:
                raise
            except SuperduperError as wrong:
                errors[at] = f"the output cannot be stored: {wrong}; declare predict.output to match"
    return values, errors


def _mark(downstream: tuple[Ledger, ...], keys: list[Any]) -> None:
    for ledger in downstream:
        ledger.mark(keys, STALE)


def _outdated(task: Task, stores: Stores, ledger: Ledger, given: Given) -> list[Any]:
    """Whoever changes a row marks its result stale before and after: this finds what was written after the second."""
    whole = Rows(task.rows.table, task.rows.codec, EVERYTHING)
    query = whole.select(task.inputs.fields, whole.by_keys(list(given.digests)))
    key_name, pick = task.rows.table.primary_key, task.picker
    changed: list[Any] = []
    gone = set(given.digests)
    for batch in stores.databackend.select(task.rows.table, query, batch=LARGEST):
        gone.difference_update([row[key_name] for row in batch])
        suspects = batch if pick is None else [row for row in batch if given.stored[row[key_name]] != pick(row)]
        if suspects:
            now = reading.digests(suspects, task.inputs)
            changed += [
                row[key_name]
                for row, digest in zip(suspects, now, strict=True)
                if digest != given.digests[row[key_name]]
            ]
    # A result that somebody has made of the new row already is made once more: rather a mark too many than one too few.
    ledger.mark(changed, STALE)
    ledger.forget(list(gone))
    return changed


def refresh(task: Task, stores: Stores) -> int:
    """Find results that writes past the API made wrong: mark them stale, forget those without a row. Gives how many."""
    ledger = task.ledger
    if ledger is None:
        return 0
    found = 0
    whole = Rows(task.rows.table, task.rows.codec, EVERYTHING)
    query = whole.select(task.inputs.fields)
    for batch in stores.databackend.select(task.rows.table, query):
        keys = [row[task.rows.table.primary_key] for row in batch]
        now = dict(zip(keys, reading.digests(batch, task.inputs), strict=True))
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
