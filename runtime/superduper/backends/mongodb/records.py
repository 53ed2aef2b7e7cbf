"""Rows as MongoDB keeps them: the row's fields, then the envelope, then ``_id``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from superduper.backends.base.checks import aware, columns_of
from superduper.backends.base.data_backend import Row
from superduper.errors import SchemaMismatch
from superduper.query.ast import Select
from superduper.query.tables import Column, ColumnType, TableDef

ENVELOPE = ("_schema", "_builds", "_files", "_blobs")
_APART = frozenset((*ENVELOPE, "_fold", "_id"))


def records_of(table: TableDef, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Checked rows as records, in the order ``…fields, _fold, _schema, _builds, _files, _blobs, _id``."""
    from bson import ObjectId

    columns = columns_of(table, rows, nan=True, schemaless=True)
    records: list[dict[str, Any]] = []
    for row in rows:
        record: dict[str, Any] = {name: value for name, value in row.items() if name not in _APART}
        if "_fold" in row:
            record["_fold"] = row["_fold"]
        record["_schema"] = table.schema
        record["_builds"], record["_files"], record["_blobs"] = {}, {}, {}
        record["_id"] = row["_id"] if "_id" in row else ObjectId()
        records.append(record)
    for column, values in zip(table.columns, columns, strict=True):
        # Where values had to be made fit (a whole number in a float's place), the record takes what fits.
        for record, row, value in zip(records, rows, values, strict=True):
            if column.name in row and row[column.name] is not value:
                record[column.name] = value
        if column.type == "datetime":
            for record in records:
                if isinstance(record.get(column.name), datetime):
                    record[column.name] = aware(record[column.name])
    return records


_READERS: Mapping[ColumnType, Callable[[Any], Any]] = {
    "int": int,
    "bytes": bytes,
    "datetime": lambda value: aware(value).astimezone(UTC),
}


class RecordReader:
    """Makes rows of records."""

    def __init__(self, columns: Sequence[Column], query: Select) -> None:
        self._names = [column.name for column in columns]
        self._converts = [(c.name, _READERS[c.type]) for c in columns if c.type in _READERS]
        self._hidden = {*ENVELOPE, "_id", *query.exclude}
        self._whole = query.fields is None
        self._id = "_id" not in query.exclude and (query.fields is None or "_id" in query.fields)
        self._extra = [name for name in query.fields or () if name not in self._names and name != "_id"]

    def row(self, record: Mapping[str, Any]) -> Row:
        """Declared fields, null where absent; then undeclared ones; then ``_id``."""
        row: Row = {name: record.get(name) for name in self._names}
        for name, convert in self._converts:
            if (value := row[name]) is not None:
                row[name] = convert(value)
        if self._whole:
            if len(record) > len(row) or record.keys() - row.keys() - self._hidden:
                row |= {k: v for k, v in record.items() if k not in row and k not in self._hidden}
        else:
            row |= {name: record.get(name) for name in self._extra}
        if self._id and "_id" in record:
            row["_id"] = record["_id"]
        return row


def projection_of(query: Select) -> dict[str, int]:
    """MongoDB's projection for what a select asks for; the envelope is never sent."""
    if query.fields is None:
        return dict.fromkeys((*ENVELOPE, *query.exclude), 0)
    return {"_id": int("_id" in query.fields)} | {name: 1 for name in query.fields if name not in query.exclude}


def check_names(table: TableDef) -> None:
    """Raises SchemaMismatch for names that MongoDB reads as a path or an operator."""
    for column in table.columns:
        if "." in column.name or column.name.startswith("$") or "\0" in column.name:
            raise SchemaMismatch(
                f"table {table.name!r}: MongoDB cannot keep a field called {column.name!r}; leave out '.', '$' and NUL"
            )
    if not table.name or "$" in table.name or "\0" in table.name or table.name.startswith(("system.", ".")):
        raise SchemaMismatch(f"MongoDB cannot keep a collection called {table.name!r}; choose another name")
