"""Rows in a DuckDB file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from superduper.backends.base.checks import duplicates
from superduper.backends.base.data_backend import Abilities, Row
from superduper.backends.duckdb.database import DuckDBDatabase
from superduper.backends.duckdb.dialect import DIALECT
from superduper.backends.sql.data_backend import SqlDataBackend
from superduper.backends.sql.native import import_ibis, native_names, run_native
from superduper.errors import SchemaMismatch
from superduper.query.native import Step
from superduper.query.tables import Column, TableDef


class DuckDBDataBackend(SqlDataBackend):
    """``duckdb://name.duckdb``, ``duckdb:////absolute.duckdb``, or ``duckdb://`` for one in memory."""

    abilities = Abilities(native="ibis", case=False)
    mark = "?"
    database: DuckDBDatabase

    def __init__(self, uri: str) -> None:
        super().__init__(DuckDBDatabase(uri), DIALECT)
        if self.database.in_memory:
            self.abilities = Abilities(native="ibis", case=False, persistent=False)

    # Tables

    def create_table(self, table: TableDef) -> None:
        with self.database.write() as connection:
            same = (
                "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() "
                "AND table_catalog = current_database() AND lower(table_name) = lower($1) AND table_name <> $1"
            )
            other = connection.exec_driver_sql(same, (table.name,)).scalar()
            if other is not None:
                raise SchemaMismatch(
                    f"table {table.name!r}: DuckDB cannot tell it from the table {other!r}, which differs by case only; "
                    "choose another name"
                )
            # bytes.lower() folds as DuckDB does: ASCII alone.
            names = {name.encode().lower(): name for name in self._dialect.columns(connection, table.name)}
            for column in table.columns:
                if (before := names.setdefault(column.name.encode().lower(), column.name)) != column.name:
                    raise SchemaMismatch(
                        f"table {table.name!r}: DuckDB cannot tell the field {column.name!r} from {before!r}, which differs "
                        "by case only; rename one"
                    )
            super().create_table(table)

    def drop_table(self, name: str) -> None:
        with self.database.write() as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {self._quoted(name)}")

    def list_tables(self) -> list[str]:
        found = (
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() "
            "AND schema_name = current_schema() AND NOT temporary"
        )
        with self.database.read() as connection:
            return sorted(connection.exec_driver_sql(found).scalars())

    # Rows: the driver takes whole columns as lists; one statement for each row would take a millisecond each.

    def insert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not self.database.in_transaction:
            super().insert(table, rows)
            return
        # A refused key would end the transaction, which has no savepoints: it is looked for first.
        self.check(table, rows)
        if existing := self._duplicates(table, rows):
            raise duplicates(table, existing)
        super().insert(table, rows)

    def insert_values(self, connection: sa.Connection, table: TableDef, values: list[tuple[Any, ...]]) -> None:
        names = ", ".join(self._quoted(column.name) for column in table.columns)
        _with_columns(
            connection,
            f"INSERT INTO {self._quoted(table.name)} ({names}) {_given(table.columns)}",
            table.columns,
            values,
        )

    def upsert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not rows:
            return
        # Of rows with one key the last one counts, as where they are written one after another.
        last = list({row[table.primary_key]: row for row in rows}.values()) if len(rows) > 1 else rows
        values = self._driver_rows(table, last)
        names = ", ".join(self._quoted(column.name) for column in table.columns)
        others = [self._quoted(column.name) for column in table.columns if column.name != table.primary_key]
        sets = ", ".join(f"{name} = excluded.{name}" for name in others)
        action = f"UPDATE SET {sets}" if sets else "NOTHING"
        text = (
            f"INSERT INTO {self._quoted(table.name)} ({names}) {_given(table.columns)} "
            f"ON CONFLICT ({self._quoted(table.primary_key)}) DO {action}"
        )
        with self.database.write() as connection:
            _with_columns(connection, text, table.columns, values)

    def _write_back(
        self, connection: sa.Connection, table: TableDef, columns: Sequence[Column], rows: Sequence[Row]
    ) -> None:
        key = next(column for column in table.columns if column.name == table.primary_key)
        part = TableDef(table.name, (key, *columns), table.primary_key)
        aliases = [f"c{number}" for number in range(len(part.columns))]
        sets = ", ".join(f"{self._quoted(c.name)} = given.{a}" for c, a in zip(columns, aliases[1:], strict=True))
        target = self._quoted(table.name)
        text = (
            f"UPDATE {target} SET {sets} FROM ({_given(part.columns, aliases)}) AS given "
            f"WHERE {target}.{self._quoted(key.name)} = given.c0"
        )
        _with_columns(connection, text, part.columns, self._driver_rows(part, rows))

    def _quoted(self, name: str) -> str:
        return self.conn.dialect.identifier_preparer.quote(name)

    # Native expressions

    def native_names(self, table: TableDef) -> frozenset[str]:
        return native_names(table)

    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        ibis = import_ibis("DuckDB")
        # A connection of its own for each call: one that holds a result cannot serve another thread.
        with self.database.translated():
            backend = ibis.duckdb.from_connection(self.database.instance.cursor())
        try:
            return run_native(backend, table, steps, self.database)
        finally:
            backend.disconnect()


def _given(columns: Sequence[Column], aliases: Sequence[str] = ()) -> str:
    """The rows that are handed over as one list for each column."""
    parts = []
    for number, column in enumerate(columns, 1):
        listed, cast = _LISTED.get(column.type, (DIALECT.declarations[column.type], ""))
        part = f"unnest(${number}::{listed}[]){cast}"
        parts.append(f"{part} AS {aliases[number - 1]}" if aliases else part)
    return f"SELECT {', '.join(parts)}"


# JSON goes over as text: a text within a list of JSON would be written as a JSON text.
_LISTED = {"json": ("VARCHAR", "::JSON")}


def _with_columns(
    connection: sa.Connection, text: str, columns: Sequence[Column], values: Sequence[tuple[Any, ...]]
) -> None:
    lists = [list(column) for column in zip(*values, strict=True)]
    for number, column in enumerate(columns):
        if column.type == "float" and any(value != value for value in lists[number]):
            # The driver makes null of NaN; as a text it comes through, and a float's shortest text is exact.
            lists[number] = [None if value is None else repr(value) for value in lists[number]]
            text = text.replace(f"unnest(${number + 1}::DOUBLE[])", f"unnest(${number + 1}::VARCHAR[])::DOUBLE")
    connection.exec_driver_sql(text, tuple(lists))
