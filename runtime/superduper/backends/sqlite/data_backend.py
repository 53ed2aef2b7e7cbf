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
from superduper.errors import SchemaMismatch, Unsupported
from superduper.query.native import Step
from superduper.query.tables import TableDef


class SQLiteDataBackend(SqlDataBackend):
    """``sqlite://name.db``, ``sqlite:////absolute.db``, or ``sqlite://`` for one in memory."""

    abilities = Abilities(native="ibis", nan=False, case=False)
    mark = "?"
    database: SQLiteDatabase

    def __init__(self, uri: str) -> None:
        super().__init__(SQLiteDatabase(uri), DIALECT)
        if self.database.in_memory:
            self.abilities = Abilities(native="ibis", nan=False, case=False, persistent=False)
        self._ibis = threading.local()

    def create_table(self, table: TableDef) -> None:
        with self.database.write() as connection:
            same = "SELECT name FROM sqlite_schema WHERE name = ? COLLATE NOCASE AND name <> ? AND type IN ('table', 'view')"
            other = connection.exec_driver_sql(same, (table.name, table.name)).scalar()
            if other is not None:
                raise SchemaMismatch(
                    f"table {table.name!r}: SQLite cannot tell it from the table {other!r}, which differs by case only; "
                    "choose another name"
                )
            # bytes.lower() folds as SQLite does: ASCII alone.
            names = {name.encode().lower(): name for name in self._dialect.columns(connection, table.name)}
            for column in table.columns:
                if (before := names.setdefault(column.name.encode().lower(), column.name)) != column.name:
                    raise SchemaMismatch(
                        f"table {table.name!r}: SQLite cannot tell the field {column.name!r} from {before!r}, which differs "
                        "by case only; rename one"
                    )
            super().create_table(table)

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
