"""What the server itself would take, or refuse in words of its own: fields that nobody has, updates that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from superduper.backends.base.changes import changed
from superduper.backends.base.checks import INT_MAX, INT_MIN
from superduper.backends.mongodb.filters import Document
from superduper.errors import QueryError, SchemaMismatch, nearest
from superduper.query.ast import Update
from superduper.query.tables import READ_ALONG, TableDef


def refuse_misspelt(collection: Any, table: TableDef, names: Iterable[str]) -> None:
    """Raises QueryError for a field that is nearly a declared one and that no row has.

    Rows may have fields that are not declared; so any other name may be one that is written later.
    """
    for name in dict.fromkeys(name.partition(".")[0] for name in names):
        if table.column(name) is not None or name in READ_ALONG:
            continue
        hint = nearest(name, [column.name for column in table.columns])
        if hint and collection.find_one({name: {"$exists": True}}, {"_id": 1}) is None:
            raise QueryError(f"table {table.name!r} has no field {name!r}{hint} (if not, declare it in the schema)")


def refuse_unfit(collection: Any, table: TableDef, chosen: Document, update: Update) -> None:
    """Raises SchemaMismatch where a chosen row holds what the update cannot be done to."""
    for name, by in update.inc.items():
        column = table.column(name)
        if column is None or column.type != "int":
            continue
        bound = {"$gt": INT_MAX - by} if by > 0 else {"$lt": INT_MIN - by}
        if collection.find_one({"$and": [chosen, {name: bound}]}) is not None:
            raise SchemaMismatch(f"table {table.name!r}, field {name!r}: $inc by {by} would go beyond 64 bits")
    for path, kind in dict.fromkeys(_needed(table, update)):
        other: Document = {path: {"$not": {"$type": kind}}}
        if kind != "array":
            # Of a list the server looks at what is in it, too.
            other = {"$or": [other, {path: {"$type": "array"}}]}
        found = collection.find_one({"$and": [chosen, {path: {"$ne": None}}, other]}, {path: 1, "_id": 0})
        if found is not None:
            changed(found, update)


def _needed(table: TableDef, update: Update) -> Iterator[tuple[str, str]]:
    """Which paths must hold what, where they hold anything."""
    for name in (*update.set, *update.inc, *update.push):
        parts = name.split(".") if table.column(name) is None else [name]
        yield from ((".".join(parts[:length]), "object") for length in range(1, len(parts)))
    for names, kind in ((update.inc, "number"), (update.push, "array")):
        for name in names:
            column = table.column(name)
            if column is None or column.type == "json":
                yield name, kind
