"""Rows that arrive as lines of JSON or as a form: brought in batch by batch, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from superduper.errors import NotFound, QueryError, SchemaMismatch, SuperduperError
from superduper.server.access import TooLarge
from superduper.server.forms import Form
from superduper.server.values import Reader, folder_of_uploads, shown

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer

BATCH_ROWS, BATCH_BYTES = 500, 8 << 20
"""Rows and bytes of a batch, at most: it is in memory, and written as one."""
IDS = 1_000_000
"""Keys that are answered at most."""


@dataclass(slots=True)
class Inserted:
    """What is durable: how many rows, and their keys (None where there are too many to tell)."""

    inserted: int = 0
    ids: list[Any] | None = field(default_factory=list)

    def add(self, keys: list[Any]) -> None:
        """Count a batch."""
        self.inserted += len(keys)
        if self.ids is not None:
            self.ids = self.ids + keys if self.inserted <= IDS else None

    @property
    def body(self) -> dict[str, Any]:
        """As it is answered."""
        return {"inserted": self.inserted, "ids": shown(self.ids), "jobs": []}


class BrokenInsert(Exception):
    """An insert that came to a batch that is refused. ``done`` is what is durable all the same."""

    def __init__(self, error: Exception, done: Inserted) -> None:
        super().__init__(str(error))
        self.error, self.done = error, done


class Inserter:
    """Inserts into one table. ``limit``: bytes of a row."""

    def __init__(self, db: Datalayer, table: str, limit: int, told: Callable[[int], None]) -> None:
        self.db, self.table, self.limit, self.told = db, table, limit, told

    def lines(self, body: Iterable[bytes]) -> Inserted:
        """Each line a row. Raises BrokenInsert where a batch is refused; the batches before it stay."""
        done = Inserted()
        try:
            for batch in self._batches(body):
                self._insert(batch, done)
        except (SuperduperError, TooLarge) as error:
            raise BrokenInsert(error, done) from error
        return done

    def form(self, body: Iterable[bytes], content_type: str) -> Inserted:
        """One row: part ``row`` has its plain fields as JSON, the other parts are files, by the names of their fields."""
        with folder_of_uploads(self.db) as folder, Reader(self.db, self._component(), self.limit) as reader:
            form = Form(content_type, folder, self.limit)
            for chunk in body:
                form.feed(chunk)
            form.end()
            row = reader.row(_parsed(form.texts.get("row", b"{}"), "part row"), "part row")
            unknown = set(form.texts) - {"row"}
            if unknown:
                raise QueryError(
                    f"part {min(unknown)!r} has no file name: plain fields stand in the part 'row', as JSON"
                )
            row |= {name: reader.payload(name, path, f"part {name!r}") for name, path in form.files.items()}
            done = Inserted()
            done.add(self.db.insert(self.table, [row]).ids)
            self.told(1)
        return done

    def _component(self) -> Any:
        try:
            return self.db.load("table", self.table)
        except NotFound:
            # The datalayer infers a schema for a table that it does not know.
            return None

    def _insert(self, batch: list[tuple[int, bytes]], done: Inserted) -> None:
        with Reader(self.db, self._component(), self.limit) as reader:
            rows = [reader.row(_parsed(line, f"line {number}"), f"line {number}") for number, line in batch]
            done.add(self.db.insert(self.table, rows).ids)
        self.told(len(rows))

    def _batches(self, body: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
        held: list[tuple[int, bytes]] = []
        size = 0
        for number, line in enumerate(self._split(body), 1):
            if not line.strip():
                continue
            held.append((number, line))
            size += len(line)
            if len(held) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield held
                held, size = [], 0
        if held:
            yield held

    def _split(self, body: Iterable[bytes]) -> Iterator[bytes]:
        # Base64 makes of three bytes four.
        longest = self.limit * 4 // 3 + (64 << 10)
        rest = bytearray()
        for chunk in body:
            start = len(rest)
            rest += chunk
            if b"\n" in chunk:
                *whole, last = bytes(rest).split(b"\n")
                yield from whole
                rest = bytearray(last)
            elif start + len(chunk) > longest:
                raise TooLarge(f"a row has at most {self.limit:,} bytes here; give larger payloads as files")
        if rest:
            yield bytes(rest)


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SchemaMismatch(f"{where}: not JSON: {error}") from error
