"""SQLite's types and expressions.

Datetimes are texts of fixed width in UTC, so that they sort; JSON is text, in a type whose affinity leaves texts
such as ``'5.0'`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa

from superduper.backends.base.checks import aware
from superduper.backends.sql.dialect import Clause, Convert, Scalar, SqlDialect, dump_json
from superduper.query.tables import ColumnType

_KINDS: dict[Scalar, tuple[str, ...]] = {"number": ("integer", "real"), "text": ("text",), "bool": ("true", "false")}


class SQLiteDialect(SqlDialect):
    """SQLite 3.35 or later."""

    declarations: ClassVar[Mapping[ColumnType, str]] = {
        "str": "TEXT",
        "int": "BIGINT",
        "float": "DOUBLE",
        "bool": "BOOLEAN",
        "bytes": "BLOB",
        "json": "JSON_TEXT",
        "datetime": "TIMESTAMP",
    }
    synonyms: ClassVar[Mapping[str, ColumnType]] = {
        "varchar": "str",
        "integer": "int",
        "int": "int",
        "real": "float",
        "float": "float",
        "json": "json",
        "datetime": "datetime",
    }
    writers: ClassVar[Mapping[ColumnType, Convert]] = {
        "json": dump_json,
        "datetime": lambda value: aware(value).isoformat(timespec="microseconds"),
    }
    readers: ClassVar[Mapping[ColumnType, Convert]] = {
        "json": json.loads,
        "datetime": lambda value: aware(datetime.fromisoformat(value)),
        "bool": bool,
    }
    nan = False
    row_locks = False

    def key_declaration(self, kind: ColumnType) -> str:
        # Exactly this word makes the key the row's own number: no second tree to keep.
        return "INTEGER" if kind == "int" else self.declarations[kind]

    def columns(self, connection: sa.Connection, table: str) -> dict[str, tuple[str, bool]]:
        rows = connection.exec_driver_sql("SELECT name, type, pk FROM pragma_table_info(?)", (table,))
        return {name: (declared, bool(key)) for name, declared, key in rows}

    def json_part(self, column: Clause, path: Sequence[str], kind: Scalar | None) -> Clause:
        value: Clause = sa.func.json_extract(column, _path(path))
        if kind is None:
            return value
        is_kind = sa.func.json_type(column, _path(path)).in_([sa.literal_column(f"'{name}'") for name in _KINDS[kind]])
        return sa.case((is_kind, value), else_=sa.null())

    def json_value(self, column: Clause, path: Sequence[str]) -> Clause:
        kind: Clause = sa.func.json_type(column, _path(path))
        # json_quote makes JSON of what json_extract unpacked, but for truth values, which it unpacks to numbers.
        quoted: Clause = sa.func.json_quote(sa.func.json_extract(column, _path(path)))
        absent = sa.or_(kind.is_(None), kind == "null")
        return sa.case((absent, sa.null()), (kind.in_(["true", "false"]), kind), else_=quoted)

    def regex(self, text: Clause, pattern: str, ignore_case: bool) -> Clause:
        return text.op("REGEXP", is_comparison=True)(
            sa.literal(f"(?i){pattern}" if ignore_case else pattern, sa.String())
        )

    def one_of(self, column: Clause, values: Sequence[Any]) -> Clause:
        compared = column
        if values and isinstance(values[0], bytes):
            # JSON has no bytes; their hexadecimal digits say the same.
            values, compared = [value.hex().upper() for value in values], sa.func.hex(column)
        listed = json.dumps(values)
        each = sa.func.json_each(sa.literal(listed, sa.String())).table_valued("value")
        return compared.in_(sa.select(each.c.value))

    def ordered(self, column: Clause, way: int) -> Sequence[Clause]:
        return (column.desc() if way < 0 else column.asc(),)


def _path(path: Sequence[str]) -> sa.BindParameter[str]:
    steps = "".join(f"[{part}]" if part.isdigit() else '."' + part.replace('"', '\\"') + '"' for part in path)
    return sa.literal("$" + steps, sa.String())


DIALECT = SQLiteDialect()
