"""Rows in a SQLite file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from superduper.backends.base.data_backend import Abilities
from superduper.backends.sql.data_backend import SqlDataBackend
from superduper.backends.sql.native import import_ibis, native_names, run_native
from superduper.backends.sqlite.database import SQLiteDatabase
from superduper.backends.sqlite.dialect import DIALECT
from superduper.errors import Unsupported
from superduper.query.native import Step
from superduper.query.tables import TableDef


class SQLiteDataBackend(SqlDataBackend):
    """``sqlite://name.db``, ``sqlite:////absolute.db``, or ``sqlite://`` for one in memory."""

    abilities = Abilities(native="ibis", nan=False)
    mark = "?"
    database: SQLiteDatabase

    def __init__(self, uri: str) -> None:
        super().__init__(SQLiteDatabase(uri), DIALECT)
        if self.database.in_memory:
            self.abilities = Abilities(native="ibis", nan=False, persistent=False)
        self._ibis = threading.local()

    def settle(self, tables: Sequence[str]) -> None:
        # A process that is killed while its commit is forced to the disk leaves it in the log, not yet visible; the
        # next recovery would bring it back, the next commit overwrites it. This one changes nothing else.
        with self.database.write() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")

    def native_names(self, table: TableDef) -> frozenset[str]:
        return native_names(table)

    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        return run_native(self._expressions(), table, steps, self.database)

    def _expressions(self) -> Any:
        ibis = import_ibis("sqlite")
        if self.database.in_memory:
            raise Unsupported(f"{self.uri}: native expressions need a database in a file, such as sqlite://name.db")
        # SQLite's connections belong to one thread; ibis opens one without asking for more.
        if getattr(self._ibis, "backend", None) is None:
            types = {DIALECT.declarations["json"].lower(): "json"}
            self._ibis.backend = ibis.sqlite.connect(self.database.path, type_map=types)
        return self._ibis.backend
