"""Rows in a PostgreSQL database."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from superduper.backends.base.data_backend import Abilities
from superduper.backends.postgres.database import PostgresDatabase
from superduper.backends.postgres.dialect import DIALECT
from superduper.backends.sql.data_backend import SqlDataBackend
from superduper.backends.sql.native import import_ibis, native_names, run_native
from superduper.query.native import Step
from superduper.query.tables import TableDef

COPY_FROM = 50
"""From so many rows on, COPY is faster than INSERT."""


class PostgresDataBackend(SqlDataBackend):
    """``postgresql://user:password@host:port/database``."""

    abilities = Abilities(native="ibis")
    mark = "%s"

    def __init__(self, uri: str) -> None:
        super().__init__(PostgresDatabase(uri), DIALECT)
        self._ibis: Any = None
        self._ibis_lock = threading.Lock()

    def insert_values(self, connection: sa.Connection, table: TableDef, values: list[tuple[Any, ...]]) -> None:
        if len(values) < COPY_FROM:
            super().insert_values(connection, table, values)
            return
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(quote(column.name) for column in table.columns)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {quote(table.name)} ({names}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)

    def settle(self, tables: Sequence[str]) -> None:
        # The server ends what a killed client has sent: a lock that waits for writers waits for that too.
        for name in tables:
            with self.database.write() as connection:
                quoted = connection.dialect.identifier_preparer.quote(name)
                connection.exec_driver_sql(f"LOCK TABLE {quoted} IN SHARE MODE")

    def native_names(self, table: TableDef) -> frozenset[str]:
        return native_names(table)

    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        # One connection of ibis's own, used by one thread at a time.
        with self._ibis_lock:
            return run_native(self._expressions(), table, steps, self.database)

    def _expressions(self) -> Any:
        if self._ibis is None or self._ibis.con.closed:
            ibis = import_ibis("PostgreSQL")
            url = self.conn.url
            with self.database.translated():
                self._ibis = ibis.postgres.connect(
                    host=url.host,
                    port=url.port or 5432,
                    user=url.username,
                    password=url.password,
                    database=url.database,
                )
                self._ibis.con.autocommit = True
        return self._ibis

    def close(self) -> None:
        if self._ibis is not None:
            self._ibis.disconnect()
        super().close()
