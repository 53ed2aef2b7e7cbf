"""The prediction ledger: one row per row of the source, beside it in the same database.

=============  ====================================================================================
``_source``    key of the row that it belongs to; the primary key
``output``     what the model gave
``_key``       which model, version, inputs and output type made it
``_inputs``    hash of what the model was given
``_state``     ``done``; ``failed``; ``stale``: the row changed; ``retry``: asked to be done again
``_error``     why it failed
=============  ====================================================================================

A result is current if ``_key`` is the task's and ``_state`` is ``done`` or ``failed``. What is missing is found by the
database, as rows of the source without a current result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superduper.components.listener import OUTPUTS
from superduper.components.schema import Schema
from superduper.query.ast import And, Compare, Exists, Filter, In, Select, Update
from superduper.query.tables import ColumnType, TableDef
from superduper.rows import Row, RowCodec

if TYPE_CHECKING:
    from superduper.backends.base.data_backend import DataBackend
    from superduper.components.datatype import DataType

SOURCE, OUTPUT = "_source", "output"
DONE, FAILED, STALE, RETRY = "done", "failed", "stale", "retry"
CHUNK = 4096


def schema(listener: str, key_type: ColumnType, output: DataType | str) -> Schema:
    """The schema of a listener's outputs."""
    fields: dict[str, DataType | str | type] = {
        SOURCE: key_type, OUTPUT: output, "_key": "str", "_inputs": "str", "_state": "str", "_error": "str",
    }  # fmt: skip
    return Schema(OUTPUTS + listener, fields)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The outputs of one listener."""

    backend: DataBackend
    table: TableDef
    codec: RowCodec

    def current(self, key: str) -> Filter:
        """Results that need not be computed again."""
        return And((Compare("_key", "eq", key), In("_state", (DONE, FAILED))))

    def done(self, key: str) -> Filter:
        """Results that can be read."""
        return And((Compare("_key", "eq", key), Compare("_state", "eq", DONE)))

    def failed(self, key: str) -> Filter:
        """Rows whose prediction failed."""
        return And((Compare("_key", "eq", key), Compare("_state", "eq", FAILED)))

    def is_empty(self) -> bool:
        """Whether nothing was ever computed."""
        found = self.backend.select(self.table, Select(self.table.name, fields=(SOURCE,), limit=1))
        return not any(batch for batch in found)

    def has(self, key: str) -> bool:
        """Whether any result was made by that key."""
        query = Select(self.table.name, Compare("_key", "eq", key), (SOURCE,), limit=1)
        return any(batch for batch in self.backend.select(self.table, query))

    def rows(
        self, keys: Sequence[Any], fields: tuple[str, ...] | None = None, where: Filter | None = None
    ) -> dict[Any, Row]:
        """The ledger's rows of these keys."""
        found: dict[Any, Row] = {}
        if fields is not None:
            fields = tuple(dict.fromkeys((SOURCE, *fields)))
        for chunk in chunks(keys):
            chosen: Filter = In(SOURCE, tuple(chunk))
            query = Select(self.table.name, chosen if where is None else And((chosen, where)), fields)
            for batch in self.backend.select(self.table, query):
                found.update((row[SOURCE], row) for row in batch)
        return found

    def mark(self, keys: Sequence[Any], state: str) -> None:
        """Set the state of these keys' results."""
        for chunk in chunks(keys):
            self.backend.update(self.table, In(SOURCE, tuple(chunk)), Update(set={"_state": state}), many=True)

    def retry_failed(self, key: str) -> int:
        """Mark all failed rows to be computed again; gives how many."""
        return len(self.backend.update(self.table, self.failed(key), Update(set={"_state": RETRY}), many=True))

    def forget(self, keys: Sequence[Any]) -> None:
        """Remove the results of rows that are gone."""
        for chunk in chunks(keys):
            self.backend.delete(self.table, In(SOURCE, tuple(chunk)), many=True)

    def errors(self, key: str) -> Iterator[Row]:
        """Key and error of each failed row."""
        query = Select(self.table.name, self.failed(key), (SOURCE, "_error"), sort=((SOURCE, 1),))
        for batch in self.backend.select(self.table, query):
            yield from batch

    def reusable(self, keys: Sequence[Any], key: str) -> dict[Any, str]:
        """Hash of the inputs of each stale result that is right if its inputs turn out to be the same."""
        rows = self.rows(
            keys,
            (SOURCE, "_inputs"),
            And((Compare("_key", "eq", key), Compare("_state", "eq", STALE), Exists("_error", False))),
        )
        return {source: str(row["_inputs"]) for source, row in rows.items()}


def chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The keys in lists that a database takes in one statement."""
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
