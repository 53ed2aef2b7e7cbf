"""Rows in a MySQL or MariaDB database."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from superduper.backends.base.data_backend import Abilities, Row
from superduper.backends.mysql.database import DEADLOCK, MySQLDatabase, byte_length, code_of
from superduper.backends.mysql.dialect import KEY_LENGTH, MySQLDialect
from superduper.backends.mysql.expressions import Expressions
from superduper.backends.sql.data_backend import SqlDataBackend
from superduper.backends.sql.ddl import create_table
from superduper.backends.sql.dialect import sql_table
from superduper.backends.sql.native import native_names, run_native
from superduper.errors import StoreError
from superduper.query.ast import Filter, Plain, Update
from superduper.query.native import Step
from superduper.query.tables import TableDef

STATEMENT = 1_000_000
"""Bytes of an INSERT from which on another one is begun."""
TRIES = 8
"""How often a call is begun anew that the server gave up for another's sake."""

T = TypeVar("T")


class MySQLDataBackend(SqlDataBackend):
    """``mysql://user:password@host:port/database`` and ``mariadb://…``."""

    abilities = Abilities(native="ibis", nan=False, infinity=False, key_length=KEY_LENGTH)
    mark = "%s"
    database: MySQLDatabase

    def __init__(self, uri: str) -> None:
        database = MySQLDatabase(uri)
        super().__init__(database, MySQLDialect(database.collation))

    # Tables: the server commits at each such statement, so they have a connection of their own.

    def create_table(self, table: TableDef) -> None:
        with self.database.apart() as connection, _alone(connection, self.conn.url.database or ""):
            create_table(connection, sql_table(table, self._dialect), self._dialect)

    def drop_table(self, name: str) -> None:
        with self.database.apart() as connection:
            sa.Table(name, sa.MetaData()).drop(connection, checkfirst=True)

    def settle(self, tables: Sequence[str]) -> None:
        # The server ends what a killed client has sent: a lock that waits for writers waits for that too.
        for name in tables:
            with self.database.apart() as connection:
                quoted = connection.dialect.identifier_preparer.quote(name)
                connection.exec_driver_sql(f"LOCK TABLES {quoted} READ")
                connection.exec_driver_sql("UNLOCK TABLES")

    # Rows

    def insert(self, table: TableDef, rows: Sequence[Row]) -> None:
        self._again(lambda: super(MySQLDataBackend, self).insert(table, rows))

    def upsert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not rows:
            return
        values = self._driver_rows(table, rows)

        def write() -> None:
            with self.database.write() as connection:
                self._send(connection, table, values, self._replacing(connection, table))

        self._again(write)

    def update(self, table: TableDef, filter: Filter, update: Update, *, many: bool) -> list[Plain]:
        return self._again(lambda: super(MySQLDataBackend, self).update(table, filter, update, many=many))

    def replace(self, table: TableDef, filter: Filter, row: Row) -> list[Plain]:
        return self._again(lambda: super(MySQLDataBackend, self).replace(table, filter, row))

    def delete(self, table: TableDef, filter: Filter, *, many: bool) -> list[Plain]:
        return self._again(lambda: super(MySQLDataBackend, self).delete(table, filter, many=many))

    def insert_values(self, connection: sa.Connection, table: TableDef, values: list[tuple[Any, ...]]) -> None:
        self._send(connection, table, values, "")

    def _send(self, connection: sa.Connection, table: TableDef, values: list[tuple[Any, ...]], end: str) -> None:
        """INSERTs of many rows each: written here, since only so it is known how large a row becomes."""
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(quote(column.name) for column in table.columns)
        begin = f"INSERT INTO {quote(table.name)} ({names}) VALUES ".replace("%%", "%")
        end = end.replace("%%", "%")
        key = [column.name for column in table.columns].index(table.primary_key)
        driver: Any = connection.connection.driver_connection
        fixed = byte_length(begin) + byte_length(end) + 1
        most = min(STATEMENT, self.database.packet - 1)
        rows: list[str] = []
        size = fixed
        for row in values:
            text = f"({','.join(map(driver.escape, row))})"
            length = byte_length(text) + 1
            if rows and size + length > most:
                _run(connection, begin, rows, end)
                rows, size = [], fixed
            if fixed + length > most:
                self.database.fits(fixed + length, f"table {table.name!r}: row {row[key]!r}")
            rows.append(text)
            size += length
        _run(connection, begin, rows, end)

    def _replacing(self, connection: sa.Connection, table: TableDef) -> str:
        quote = connection.dialect.identifier_preparer.quote
        # Where there is nothing but the key, the key becomes what it is.
        others = [c for c in table.columns if c.name != table.primary_key] or table.columns
        sets = (f"{quote(column.name)} = VALUES({quote(column.name)})" for column in others)
        return f" ON DUPLICATE KEY UPDATE {', '.join(sets)}"

    def _again(self, call: Callable[[], T]) -> T:
        """Two writers may wait for each other; the server gives one up as a whole, which then begins anew."""
        for turn in range(1, TRIES):
            try:
                return call()
            except StoreError as error:
                if self.database.in_transaction or code_of(_driver_error(error)) != DEADLOCK:
                    raise
                time.sleep(random.uniform(0, 0.01 * 2**turn))
        return call()

    # Native expressions

    def native_names(self, table: TableDef) -> frozenset[str]:
        return native_names(table)

    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        return run_native(Expressions(self.database, self._dialect), table, steps, self.database)


def _run(connection: sa.Connection, begin: str, rows: list[str], end: str) -> None:
    connection.exec_driver_sql(begin + ",".join(rows) + end, None, {"no_parameters": True})


def _driver_error(error: BaseException) -> BaseException | None:
    cause = error.__cause__
    return cause.orig if isinstance(cause, sa.exc.DBAPIError) else cause


@contextmanager
def _alone(connection: sa.Connection, database: str) -> Iterator[None]:
    """Nobody else makes or changes tables of this database meanwhile."""
    name = "superduper." + hashlib.sha256(database.encode()).hexdigest()[:32]
    if connection.exec_driver_sql("SELECT GET_LOCK(%s, 60)", (name,)).scalar_one() != 1:
        raise StoreError(f"database {database!r}: another process has been making tables for a minute; try again")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (name,))
