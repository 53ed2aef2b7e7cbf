"""Rows to look at: plain values as they are, large ones as what they are, how large and by which hash; nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superduper.artifacts import reference
from superduper.components.datatype import DataType
from superduper.errors import ArtifactError, QueryError, nearest
from superduper.jobs.ledger import OUTPUT
from superduper.query.ast import Select
from superduper.query.parse import parse_filter, parse_sort

if TYPE_CHECKING:
    from superduper.catalog import Entry
    from superduper.datalayer import Datalayer
    from superduper.rows import Row

OUTPUTS = "_outputs"


@dataclass(frozen=True, slots=True)
class Handle:
    """A value that is not loaded: its DataType, bytes, and id where it is in the artifact store."""

    type: str
    size: int | None
    id: str | None = None

    def __str__(self) -> str:
        size = "missing" if self.size is None else size_text(self.size)
        return f"<{self.type} {size}{' ' + self.id[:8] if self.id else ''}>"


def size_text(size: float) -> str:
    """Bytes in the largest unit that gives a number of at least 1: ``264 B``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def peek(
    db: Datalayer,
    table: str,
    filter: Any = None,
    *,
    fields: Sequence[str] = (),
    sort: Any = None,
    limit: int | None = None,
    skip: int = 0,
    outputs: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Rows with ``Handle`` in the place of payloads; outputs of listeners under ``_outputs``.

    Raises NotFound, QueryError.
    """
    entry = db.upkeep.catalog.entry(table)
    key = entry.table.primary_key
    known = [column.name for column in entry.table.columns]
    for name in fields:
        if name not in known and not db.databackend.abilities.schemaless:
            raise QueryError(
                f"table {table!r} has no field {name!r}{nearest(name, known)} (fields: {', '.join(known)})"
            )
    chosen = tuple(dict.fromkeys((key, *fields))) if fields else None
    query = Select(
        entry.table.name,
        parse_filter(filter or {}),
        chosen,
        sort=parse_sort(sort) if sort else (),
        skip=skip,
        limit=limit,
    )
    for batch in db.databackend.select(entry.table, query, batch=200):
        keys = [row[key] for row in batch]
        joined = {name: _outputs(db, name, keys) for name in outputs}
        sizes = _sizes(db, entry, batch)
        for row in batch:
            shown = {n: _shown(db, entry, n, value, sizes) for n, value in row.items() if n in known or chosen}
            if outputs:
                shown[OUTPUTS] = {name: found.get(row[key]) for name, found in joined.items()}
            yield shown


def _outputs(db: Datalayer, listener: str, keys: Sequence[Any]) -> dict[Any, Any]:
    found = db.listener(listener)
    ledger = db.upkeep.ledger(found)
    if ledger is None:
        return {}
    rows = ledger.rows(keys, (OUTPUT,), ledger.done(db.upkeep.key(found)))
    entry = db.upkeep.catalog.entry(found.outputs_table)
    sizes = _sizes(db, entry, rows.values())
    return {key: _shown(db, entry, OUTPUT, row[OUTPUT], sizes) for key, row in rows.items()}


def _sizes(db: Datalayer, entry: Entry, rows: Iterable[Row]) -> dict[str, int]:
    """Bytes of the payloads that the rows name, by id."""
    return db.artifacts.sizes(entry.codec.references(rows, files=False))


def _shown(db: Datalayer, entry: Entry, name: str, value: Any, sizes: Mapping[str, int]) -> Any:
    kind = entry.codec.schema.fields.get(name)
    if value is None:
        return None
    if not isinstance(kind, DataType):
        return Handle("bytes", len(value)) if isinstance(value, bytes) else value
    if kind.is_artifact or kind.is_file:
        found = reference.parse(value).id
        return Handle(kind.identifier, _file_size(db, found) if kind.is_file else sizes.get(found), found)
    if isinstance(value, bytes):
        return Handle(kind.identifier, len(value))
    return value


def _file_size(db: Datalayer, id: str) -> int | None:
    try:
        return db.artifacts.tree(id).size
    except ArtifactError:
        return None
