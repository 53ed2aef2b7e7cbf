"""Validation: a model's predictions on rows with known answers, measured; and rows pinned for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from superduper.backends.base.compute import Batch, Outcome
from superduper.errors import ModelError
from superduper.jobs import reading
from superduper.jobs.predictor import Predictor
from superduper.jobs.reading import Rows
from superduper.jobs.stores import Stores
from superduper.rows import Row

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Inputs

Score = Callable[[Sequence[Any], Sequence[Any]], float]


def validate(
    name: str,
    predictor: Predictor,
    stores: Stores,
    rows: Rows,
    inputs: Inputs,
    target: str,
    metrics: Mapping[str, Score],
    pinned: bytes | None = None,
) -> tuple[dict[str, float], int, int]:
    """The value of each metric, over how many rows, and how many more failed: these are left out of the measure.

    Targets and predictions are held together: a metric is a function of all of them. Raises ModelError where every
    row fails.
    """
    failures: list[Outcome] = []
    targets: dict[Any, Any] = {}
    predictions: dict[Any, Any] = {}
    fields = (*inputs.fields, target)
    reading.check_files(stores, rows, inputs)
    batches = (
        reading.plain_rows(stores, rows, fields) if pinned is None else _pinned(stores, rows, pinned, inputs.fields)
    )

    def given() -> Iterator[Batch]:
        for batch in batches:
            keys = [row[rows.table.primary_key] for row in batch]
            values = reading.values(stores, rows.codec, batch, fields)
            targets.update(zip(keys, values[target], strict=True))
            yield reading.batch(keys, values, inputs)

    for done in stores.compute.map(predictor, given()):
        for outcome in done.outcomes:
            if outcome.error is not None:
                failures.append(outcome)
            else:
                predictions[outcome.key] = outcome.value
    if not targets:
        raise ModelError(f"model {name!r}: no row of table {rows.table.name!r} passes the filter of validation")
    if not predictions:
        first = failures[0]
        raise ModelError(f"model {name!r}: validation failed on each row, as on {first.key!r}: {first.error}")
    # Outcomes come in any order: paired by key, in the order of the targets.
    measured = [key for key in targets if key in predictions]
    answers, given_back = [targets[key] for key in measured], [predictions[key] for key in measured]
    return {metric: score(answers, given_back) for metric, score in metrics.items()}, len(measured), len(failures)


def snapshot(stores: Stores, rows: Rows) -> tuple[bytes, list[str], int]:
    """All rows that pass, as they are stored: JSON lines, the artifacts that they name, and how many rows."""
    lines: list[str] = []
    ids: set[str] = set()
    query = rows.select([column.name for column in rows.table.columns])
    for batch in stores.databackend.select(rows.table, query):
        ids.update(rows.codec.references(batch))
        lines += [json.dumps(_as_json(rows, row), sort_keys=True, separators=(",", ":")) for row in batch]
    return "\n".join(lines).encode(), sorted(ids), len(lines)


def _pinned(stores: Stores, rows: Rows, data: bytes, fields: Sequence[str]) -> Iterator[list[Row]]:
    found = [_from_json(rows, json.loads(line)) for line in data.decode().splitlines()]
    referring = [name for name in rows.codec.reference_fields if name in fields]
    for start in range(0, len(found), 1000):
        yield from reading.bounded(stores, rows.codec, found[start : start + 1000], referring)


def _as_json(rows: Rows, row: Row) -> Row:
    """The declared columns; bytes as base64 and times as ISO 8601, by the column's type."""
    to: dict[str, Callable[[Any], Any]] = {
        "bytes": lambda value: base64.b64encode(value).decode(),
        "datetime": datetime.isoformat,
    }
    return _columns(rows, row, to)


def _from_json(rows: Rows, row: Row) -> Row:
    return _columns(rows, row, {"bytes": base64.b64decode, "datetime": datetime.fromisoformat})


def _columns(rows: Rows, row: Row, convert: Mapping[str, Callable[[Any], Any]]) -> Row:
    found = {}
    for column in rows.table.columns:
        value = row.get(column.name)
        change = convert.get(column.type)
        found[column.name] = change(value) if change is not None and value is not None else value
    return found
