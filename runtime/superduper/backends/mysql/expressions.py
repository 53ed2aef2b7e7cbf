"""ibis expressions on MySQL, run by PyMySQL.

ibis's own MySQL backend wants mysqlclient, which has to be compiled beside MySQL's C library. Its compiler does not:
here it writes the SQL, and the databackend's own connections run it.
"""

from __future__ import annotations

from typing import Any

from superduper.backends.mysql.database import MySQLDatabase
from superduper.backends.sql.dialect import SqlDialect
from superduper.backends.sql.native import import_ibis
from superduper.errors import NotFound, QueryError
from superduper.query.tables import ColumnType

_TYPES: dict[ColumnType, str] = {
    "str": "string",
    "int": "int64",
    "float": "float64",
    "bool": "boolean",
    "bytes": "binary",
    "json": "json",
    "datetime": "timestamp('UTC')",
}


class Expressions:
    """What of an ibis backend is needed: tables, SQL from an expression, and its rows."""

    def __init__(self, database: MySQLDatabase, dialect: SqlDialect) -> None:
        self._database, self._dialect = database, dialect
        self._ibis = import_ibis("MySQL")

    def table(self, name: str) -> Any:
        """The table as an expression. Raises NotFound."""
        from ibis.backends.sql.compilers.mysql import compiler  # type: ignore[import-untyped,unused-ignore]

        with self._database.read() as connection:
            columns = self._dialect.columns(connection, name)
        if not columns:
            raise NotFound(f"{self._database.uri}: there is no table {name!r}")
        known = {declared.lower(): kind for kind, declared in self._dialect.declarations.items()}
        known |= self._dialect.synonyms
        schema = {}
        for column, (declared, _) in columns.items():
            kind = known.get(declared.lower())
            # Columns of types that are none of ours are ibis's to understand.
            bare = declared.partition(" COLLATE ")[0]
            schema[column] = _TYPES[kind] if kind else compiler.type_mapper.from_string(bare)
        return self._ibis.table(schema, name=name)

    def compile(self, expression: Any) -> str:
        """Its SQL. Raises QueryError for tables in this process's memory."""
        from ibis.backends.sql.compilers.mysql import compiler  # type: ignore[import-untyped,unused-ignore]
        from ibis.expr import operations  # type: ignore[import-untyped,unused-ignore]

        if expression.op().find(operations.InMemoryTable):
            raise QueryError("ibis.memtable is not for MySQL's native expressions: insert the rows into a table first")
        return str(compiler.to_sqlglot(expression).sql(dialect="mysql"))

    def raw_sql(self, text: str) -> _Rows:
        """Run it and fetch its rows."""
        with self._database.read() as connection:
            found = connection.exec_driver_sql(text, None, {"no_parameters": True})
            return _Rows([tuple(row) for row in found])


class _Rows:
    """A result that was fetched, as cursors show theirs."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def close(self) -> None:
        self._rows = []
