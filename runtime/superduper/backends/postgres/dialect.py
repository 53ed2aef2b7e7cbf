"""PostgreSQL's types and expressions. Texts compare by code point: they are declared COLLATE "C"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, ClassVar

import sqlalchemy as sa

from superduper.backends.base.checks import aware
from superduper.backends.sql.dialect import Clause, Convert, Declared, Scalar, SqlDialect, dump_json
from superduper.query.tables import ColumnType

_KINDS: dict[Scalar, tuple[str, str]] = {
    "number": ("number", "numeric"),
    "text": ("string", 'text COLLATE "C"'),
    "bool": ("boolean", "boolean"),
}

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = ANY(i.indkey), false)
FROM pg_attribute a
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


class PostgresDialect(SqlDialect):
    """PostgreSQL 12 or later."""

    declarations: ClassVar[Mapping[ColumnType, str]] = {
        "str": 'text COLLATE "C"',
        "int": "bigint",
        "float": "double precision",
        "bool": "boolean",
        "bytes": "bytea",
        "json": "jsonb",
        "datetime": "timestamp with time zone",
    }
    synonyms: ClassVar[Mapping[str, ColumnType]] = {"text": "str", "character varying": "str", "integer": "int"}
    writers: ClassVar[Mapping[ColumnType, Convert]] = {"json": dump_json, "datetime": aware}
    readers: ClassVar[Mapping[ColumnType, Convert]] = {"datetime": lambda value: value.astimezone(UTC), "bytes": bytes}
    nan = True
    row_locks = True

    def lock_schema(self, connection: sa.Connection) -> None:
        # IF NOT EXISTS does not wait for others that make the same table at this moment.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('superduper.tables'))")

    def columns(self, connection: sa.Connection, table: str) -> dict[str, tuple[str, bool]]:
        quoted = connection.dialect.identifier_preparer.quote_identifier(table).replace("%%", "%")
        rows = connection.exec_driver_sql(_COLUMNS, (quoted,))
        return {name: (declared, bool(key)) for name, declared, key in rows}

    def json_part(self, column: Clause, path: Sequence[str], kind: Scalar | None) -> Clause:
        value = self._inside(column, path)
        if kind is None:
            return value
        name, cast = _KINDS[kind]
        # CASE is the one construct that promises not to cast before the kind is known.
        text = value.op("#>>")(sa.literal_column("'{}'"))
        made: Clause = sa.type_coerce(sa.literal_column("NULL"), Declared(cast))
        bare = cast.partition(" ")[0]
        converted = sa.cast(text, Declared(bare))
        return sa.case((sa.func.jsonb_typeof(value) == sa.literal_column(f"'{name}'"), converted), else_=made)

    def json_value(self, column: Clause, path: Sequence[str]) -> Clause:
        return sa.cast(self._inside(column, path), Declared("text"))

    def regex(self, text: Clause, pattern: str, ignore_case: bool) -> Clause:
        # (?p): a dot does not match a line's end, as everywhere else.
        return text.op("~*" if ignore_case else "~", is_comparison=True)(sa.literal(f"(?p){pattern}", sa.String()))

    def one_of(self, column: Clause, values: Sequence[Any]) -> Clause:
        return column == sa.func.any(sa.literal(list(values), Declared("list")))

    def ordered(self, column: Clause, way: int) -> Sequence[Clause]:
        return (column.desc().nulls_last() if way < 0 else column.asc().nulls_first(),)

    def _inside(self, column: Clause, path: Sequence[str]) -> Clause:
        value: Clause = column
        if path:
            value = column.op("#>")(sa.literal(list(path), Declared("list")))
        return sa.func.nullif(value, sa.literal_column("'null'::jsonb"), type_=Declared("jsonb"))


DIALECT = PostgresDialect()
