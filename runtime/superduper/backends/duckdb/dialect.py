"""DuckDB's types and expressions.

Datetimes are in UTC, without a zone: with one, DuckDB's client needs a further package to read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, ClassVar

import sqlalchemy as sa

from superduper.backends.base.checks import aware
from superduper.backends.sql.dialect import Clause, Convert, Declared, Scalar, SqlDialect, dump_json
from superduper.query.ast import Plain
from superduper.query.tables import ColumnType

_NUMBERS = ("UBIGINT", "BIGINT", "DOUBLE", "HUGEINT", "UHUGEINT")
_KINDS: dict[Scalar, tuple[tuple[str, ...], str]] = {
    "number": (_NUMBERS, "DOUBLE"),
    "text": (("VARCHAR",), "VARCHAR"),
    "bool": (("BOOLEAN",), "BOOLEAN"),
}
# The order of MongoDB: numbers, texts, documents, lists, truth values.
_RANKS = dict.fromkeys(_NUMBERS, 1) | {"VARCHAR": 2, "OBJECT": 3, "ARRAY": 4, "BOOLEAN": 5}

_COLUMNS = """
SELECT c.column_name, c.data_type, coalesce(list_contains(k.constraint_column_names, c.column_name), false)
FROM duckdb_columns() c
LEFT JOIN duckdb_constraints() k ON k.table_oid = c.table_oid AND k.database_oid = c.database_oid
    AND k.constraint_type = 'PRIMARY KEY'
WHERE c.database_name = current_database() AND c.schema_name = current_schema() AND c.table_name = $1
ORDER BY c.column_index
"""


class DuckDBDialect(SqlDialect):
    """DuckDB 1.2 or later."""

    declarations: ClassVar[Mapping[ColumnType, str]] = {
        "str": "VARCHAR",
        "int": "BIGINT",
        "float": "DOUBLE",
        "bool": "BOOLEAN",
        "bytes": "BLOB",
        "json": "JSON",
        "datetime": "TIMESTAMP",
    }
    synonyms: ClassVar[Mapping[str, ColumnType]] = {"integer": "int", "smallint": "int"}
    writers: ClassVar[Mapping[ColumnType, Convert]] = {
        "json": dump_json,
        "datetime": lambda value: aware(value).replace(tzinfo=None),
    }
    readers: ClassVar[Mapping[ColumnType, Convert]] = {
        "json": json.loads,
        "datetime": lambda value: value.replace(tzinfo=UTC),
    }
    nan = True
    row_locks = False

    def columns(self, connection: sa.Connection, table: str) -> dict[str, tuple[str, bool]]:
        rows = connection.exec_driver_sql(_COLUMNS, (table,))
        return {name: (declared, bool(key)) for name, declared, key in rows}

    def to_driver(self, kind: ColumnType | None, value: Plain) -> Any:
        # The driver makes null of NaN; DuckDB reads the text as what it means.
        return "nan" if isinstance(value, float) and math.isnan(value) else super().to_driver(kind, value)

    def json_part(self, column: Clause, path: Sequence[str], kind: Scalar | None) -> Clause:
        if kind is None:
            return sa.cast(_inside(column, path), Declared("VARCHAR"))
        names, type_ = _KINDS[kind]
        return sa.case((_is(_kind(column, path), *names), _as(column, path, type_)), else_=sa.null())

    def json_value(self, column: Clause, path: Sequence[str]) -> Clause:
        return sa.func.nullif(sa.cast(_inside(column, path), Declared("VARCHAR")), sa.literal_column("'null'"))

    def json_ordered(self, column: Clause, path: Sequence[str], way: int) -> Sequence[Clause]:
        found = _kind(column, path)
        rank = sa.case(*((_is(found, kind), sa.literal_column(str(rank))) for kind, rank in _RANKS.items()))
        number = sa.case((_is(found, *_NUMBERS), _as(column, path, "DOUBLE")), else_=sa.null())
        return [term for part in (rank, number, _text(column, path)) for term in self.ordered(part, way)]

    def regex(self, text: Clause, pattern: str, ignore_case: bool) -> Clause:
        given = sa.literal(f"(?i){pattern}" if ignore_case else pattern, sa.String())
        matches: Clause = sa.func.regexp_matches(text, given, type_=sa.Boolean())
        return matches

    def one_of(self, column: Clause, values: Sequence[Any]) -> Clause:
        return column == sa.func.any(sa.literal(list(values), Declared("list")))

    def ordered(self, column: Clause, way: int) -> Sequence[Clause]:
        return (column.desc().nulls_last() if way < 0 else column.asc().nulls_first(),)


def _inside(column: Clause, path: Sequence[str]) -> Clause:
    found: Clause = sa.func.json_extract(column, _path(path))
    return found


def _kind(column: Clause, path: Sequence[str]) -> Clause:
    kind: Clause = sa.func.json_type(column, _path(path))
    return kind


def _text(column: Clause, path: Sequence[str]) -> Clause:
    text: Clause = sa.func.json_extract_string(column, _path(path), type_=Declared("VARCHAR"))
    return text


def _as(column: Clause, path: Sequence[str], type_: str) -> Clause:
    text = _text(column, path)
    return text if type_ == "VARCHAR" else sa.try_cast(text, Declared(type_))


def _is(kind: Clause, *names: str) -> Clause:
    return kind.in_([sa.literal_column(f"'{name}'") for name in names])


def _path(path: Sequence[str]) -> sa.BindParameter[str]:
    """A JSON pointer, in which no character of a key has a meaning; ``$`` is the whole."""
    steps = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return sa.literal(steps or "$", sa.String())


DIALECT = DuckDBDialect()
