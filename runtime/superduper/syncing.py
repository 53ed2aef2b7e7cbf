"""Making a table hold what a source gives: compared by key, so that what is the same already is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from superduper.catalog import Catalog, Entry
from superduper.components.schema import infer
from superduper.components.table import Table
from superduper.errors import SchemaMismatch
from superduper.jobs.ledger import chunks
from superduper.query.ast import In, Select
from superduper.upkeep import Upkeep

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.jobs.stores import Stores
    from superduper.rows import Row


@dataclass(frozen=True, slots=True)
class Synced:
    """How many rows were added, replaced, and left alone."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: Synced) -> Synced:
        return Synced(self.added + other.added, self.replaced + other.replaced, self.unchanged + other.unchanged)

    @property
    def changed(self) -> int:
        """Rows that were written."""
        return self.added + self.replaced


class Syncing:
    """Brings rows of a source into the tables of one datalayer."""

    def __init__(self, stores: Stores, catalog: Catalog, upkeep: Upkeep, owner: Datalayer) -> None:
        self.stores, self.catalog, self.upkeep, self._owner = stores, catalog, upkeep, owner

    def sync(
        self, table: str, documents: Sequence[Mapping[str, Any]], places: Sequence[object] | None = None
    ) -> Synced:
        """One batch. Of documents with the same key the last one counts. Raises SchemaMismatch, EncodeError.

        ``places``: what each document is called in messages; left out: its position.
        """
        places = range(len(documents)) if places is None else places
        entry = self._entry(table, documents)
        key = entry.table.primary_key
        for place, document in zip(places, documents, strict=True):
            if document.get(key) is None:
                raise SchemaMismatch(
                    f"table {table!r}: row {place} of the source has no {key!r}: rows of a source are told apart by "
                    "their primary key; add it, or name another field with primaryKey"
                )
        with self.stores.artifacts.writing() as writer:
            rows = {row[key]: row for row in entry.codec.encode(documents, writer, places)}
            known = self._known(entry, list(rows))
            changed = [row for found, row in rows.items() if found in known and self._differs(entry, row, known[found])]
            new = [row for found, row in rows.items() if found not in known]
            if changed or new:
                writer.flush()
                self._write(entry, [*changed, *new], [row[key] for row in changed])
        return Synced(len(new), len(changed), len(rows) - len(new) - len(changed))

    def _entry(self, table: str, documents: Sequence[Mapping[str, Any]]) -> Entry:
        """The table; its fields inferred from the first rows where it declares none."""
        entry = self.catalog.entry(table)
        known = entry.component
        if known is None or known.schema.fields:
            return entry
        schema = infer(known.schema.identifier, documents, known.primary_id)
        self._owner.apply(
            Table(table, schema, known.primary_id, source=known.source, deletion_policy=known.deletion_policy)
        )
        return self.catalog.entry(table)

    def _known(self, entry: Entry, keys: list[Any]) -> dict[Any, Row]:
        key = entry.table.primary_key
        found: dict[Any, Row] = {}
        for chunk in chunks(keys):
            query = Select(entry.table.name, In(key, tuple(chunk)))
            for batch in self.stores.databackend.select(entry.table, query):
                found.update((row[key], row) for row in batch)
        return found

    def _differs(self, entry: Entry, row: Row, known: Row) -> bool:
        names = {*row, *(column.name for column in entry.table.columns)}
        return any(not self._same(row.get(name), known.get(name)) for name in names)

    def _same(self, value: Any, stored: Any) -> bool:
        if isinstance(value, datetime) and isinstance(stored, datetime):
            # The database may keep milliseconds only.
            step = 10 ** (6 - self.stores.databackend.abilities.datetime_digits)
            value = value.replace(microsecond=value.microsecond // step * step)
        is_nan = isinstance(value, float) and value != value
        return bool(value == stored) or (is_nan and isinstance(stored, float) and stored != stored)

    def _write(self, entry: Entry, rows: list[Row], replaced: list[Any]) -> None:
        listeners = self.upkeep.concerned(entry.table.name)
        self.upkeep.mark(listeners, replaced)
        self.stores.databackend.upsert(entry.table, rows)
        # Marked again: somebody may have predicted from the old row between the first mark and the write.
        self.upkeep.mark(listeners, replaced)
