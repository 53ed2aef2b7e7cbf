"""Rows of the driver turned into ours, in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa

from superduper.backends.base.data_backend import Row
from superduper.backends.sql.database import SqlDatabase
from superduper.backends.sql.dialect import SqlDialect
from superduper.errors import Unsupported
from superduper.query.ast import Plain
from superduper.query.tables import Column


class Reader:
    """Makes rows of some columns; only columns whose values differ in the driver cost anything."""

    def __init__(self, columns: Sequence[Column], dialect: SqlDialect) -> None:
        self._names = tuple(column.name for column in columns)
        self._converts = [
            (column.name, dialect.readers[column.type]) for column in columns if column.type in dialect.readers
        ]

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Row]:
        """The driver's rows as dictionaries of our values."""
        names = self._names
        rows: list[Row] = [dict(zip(names, values, strict=False)) for values in found]
        for name, convert in self._converts:
            for row in rows:
                if (value := row[name]) is not None:
                    row[name] = convert(value)
        return rows

    def values(self, found: list[Any]) -> list[Plain]:
        """The driver's values of the one column as ours."""
        if self._converts:
            ((_, convert),) = self._converts
            return [convert(value) for value in found]
        return found


def fetch_batches(
    database: SqlDatabase, statement: sa.Select[Any], reader: Reader, batch: int, *, stream: bool
) -> Iterator[list[Row]]:
    """Run a select and yield its rows. The connection goes back when the iterator ends or is closed."""
    with database.read() as connection:
        if database.streams:
            held = stream and database.may_stream()
            result = connection.execute(statement, execution_options={"stream_results": held})
            with closing(result):
                if held:
                    # A server-side result reads ahead into SQLAlchemy's own buffer: past it, rows would be lost.
                    try:
                        for part in result.partitions(batch):
                            yield reader.rows(part)
                    except BaseException:
                        database.abandon(connection)
                        raise
                else:
                    cursor: Any = result.cursor
                    while found := cursor.fetchmany(batch):
                        yield reader.rows(found)
            return
        everything = connection.execute(statement).cursor.fetchall()
    for start in range(0, len(everything), batch):
        yield reader.rows(everything[start : start + batch])


def distinct_json(table: str, field: str, texts: Sequence[str | None]) -> list[Plain]:
    """Different values inside a json column, given as JSON texts. Raises Unsupported for documents and lists."""
    values = [json.loads(text) for text in texts if text is not None]
    if any(isinstance(value, (dict, list)) for value in values):
        raise Unsupported(f"table {table!r}: {field!r} holds documents or lists; distinct() is of single values")
    kinds = {bool: 2, str: 1}
    unique = {(kinds.get(type(value), 0), value): value for value in values}
    return [unique[key] for key in sorted(unique)]
