"""Bringing a table's source into the table, in batches whose memory is bounded."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superduper import code
from superduper.components.table import Table
from superduper.document import Encoded
from superduper.embedded.folders import open_folder
from superduper.embedded.formats import Reader
from superduper.errors import CodeError, SuperduperError
from superduper.syncing import Synced

if TYPE_CHECKING:
    from superduper.api.v1alpha1.table import Source
    from superduper.datalayer import Datalayer

Row = Mapping[str, Any]
Advance = Callable[[int, int | None], None]
"""Called with rows read so far, and rows in all where that is known."""

BATCH = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """A source, ready to read. ``fingerprint`` changes when reading it again may give something else.

    ``rows`` gives each document with the place where it stands: its file and line, or its position.
    """

    fingerprint: str
    rows: Callable[[], Iterator[tuple[object, Row]]]
    total: int | None
    release: Callable[[], None]


def open_source(db: Datalayer, table: Table, source: Source) -> Opened:
    """What the source says, looked at but not read.

    Files are told by their names, sizes and times; ``rows`` by its code: what that reads is not looked at.
    Raises what opening the folder raises, and CodeError.
    """
    facts: list[Any] = [source.model_dump(mode="json", exclude_none=True), table.schema.digest(), table.primary_id]
    if source.rows is not None:
        facts.append(code.digest(source.rows))
        function = source.rows
        return Opened(_hash(facts), lambda: _yielded(db, table, function), None, lambda: None)
    assert source.uri is not None
    assert source.format is not None
    reader = Reader(*open_folder(source.uri), source.format, table)
    facts.append(reader.entries)
    return Opened(_hash(facts), reader.rows, reader.total, reader.release)


def bring_in(db: Datalayer, table: Table, opened: Opened, advance: Advance) -> Synced:
    """Read it all: new rows are added, changed ones replaced. Rows that it no longer has stay."""
    found = Synced()
    try:
        for batch in _batches(opened.rows(), int(db.settings.budget_bytes) // 8):
            places, rows = zip(*batch, strict=True)
            found += db.sync(table.identifier, rows, places)
            opened.release()
            advance(found.changed + found.unchanged, opened.total)
    finally:
        opened.release()
    return found


def _hash(facts: list[Any]) -> str:
    return hashlib.sha1(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def _yielded(db: Datalayer, table: Table, rows: Any) -> Iterator[tuple[int, Row]]:
    where = f"Table {table.identifier!r} source.rows"
    function = code.load(rows, db.artifacts.get, where=where)
    with _told(where, function):
        found = iter(function())
    for position in itertools.count():
        with _told(where, function):
            try:
                row = next(found)
            except StopIteration:
                return
        if not isinstance(row, Mapping):
            raise CodeError(
                f"{where}: row {position} is a {type(row).__name__}; it must yield documents, as {{'id': 'a', 'x': 1}}"
            )
        yield position, row


@contextmanager
def _told(where: str, function: Any) -> Iterator[None]:
    """Whatever the user's code raises, as our error that names it."""
    try:
        yield
    except SuperduperError:
        raise
    except Exception as error:
        raise CodeError(f"it raised {code.describe(error)}", where=where, line=code.line_of(function, error)) from error


def _batches(rows: Iterable[tuple[object, Row]], budget: int) -> Iterator[list[tuple[object, Row]]]:
    """Rows in lists of at most ``BATCH`` whose payloads fit the budget, as far as they are known."""
    held: list[tuple[object, Row]] = []
    size = 0
    for place, row in rows:
        weight = sum(_weight(value) for value in row.values())
        if held and (len(held) >= BATCH or size + weight > budget):
            yield held
            held, size = [], 0
        held.append((place, row))
        size += weight
    if held:
        yield held


def _weight(value: Any) -> int:
    if isinstance(value, Encoded):
        return len(value.data)
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    return int(getattr(value, "nbytes", 0) or 0)
