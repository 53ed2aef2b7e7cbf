"""MySQL's and MariaDB's types and expressions.

JSON is text in a column whose comment says so: the server's own type would sort keys, drop repeated ones and make
floats of large integers. Datetimes are in UTC, without a zone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, ClassVar

import sqlalchemy as sa

from superduper.backends.base.checks import aware
from superduper.backends.mysql.database import NO_TABLE, code_of
from superduper.backends.sql.dialect import Clause, Convert, Declared, Scalar, SqlDialect, dump_json
from superduper.errors import QueryError
from superduper.query.ast import Plain
from superduper.query.tables import ColumnType

KEY_LENGTH = 768
"""Characters of a text key: InnoDB's indexes hold 3,072 bytes, and a character takes up to four."""

_JSON = "longtext comment 'json'"
_NUMBERS = ("INTEGER", "DOUBLE", "UNSIGNED INTEGER", "DECIMAL")
# The order of MongoDB: numbers, texts, documents, lists, truth values.
_RANKS = dict.fromkeys(_NUMBERS, 1) | {"STRING": 2, "OBJECT": 3, "ARRAY": 4, "BOOLEAN": 5}


class MySQLDialect(SqlDialect):
    """MariaDB 10.2 or later, MySQL 8 or later."""

    declarations: ClassVar[Mapping[ColumnType, str]] = {
        "str": "LONGTEXT",
        "int": "BIGINT",
        "float": "DOUBLE",
        "bool": "TINYINT(1)",
        "bytes": "LONGBLOB",
        "json": "LONGTEXT COMMENT 'json'",
        "datetime": "DATETIME(6)",
    }
    synonyms: ClassVar[Mapping[str, ColumnType]] = {
        "varchar": "str",
        "text": "str",
        "mediumtext": "str",
        "int": "int",
        "varbinary": "bytes",
    }
    writers: ClassVar[Mapping[ColumnType, Convert]] = {
        "json": dump_json,
        "datetime": lambda value: aware(value).replace(tzinfo=None),
    }
    readers: ClassVar[Mapping[ColumnType, Convert]] = {
        "bool": bool,
        "json": json.loads,
        "datetime": lambda value: value.replace(tzinfo=UTC),
    }
    nan = False
    row_locks = True
    returning = False

    def __init__(self, collation: str) -> None:
        self._collation = collation
        self.options = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation}

    def key_declaration(self, kind: ColumnType) -> str:
        if kind == "str":
            return f"VARCHAR({KEY_LENGTH})"
        return "VARBINARY(3072)" if kind == "bytes" else self.declarations[kind]

    def columns(self, connection: sa.Connection, table: str) -> dict[str, tuple[str, bool]]:
        quoted = connection.dialect.identifier_preparer.quote_identifier(table)
        try:
            found = connection.exec_driver_sql(f"SHOW FULL COLUMNS FROM {quoted}").all()
        except sa.exc.ProgrammingError as error:
            if code_of(error.orig) == NO_TABLE:
                return {}
            raise
        return {name: (self._declared(kind, how, note), key == "PRI") for name, kind, how, _, key, *_, note in found}

    def _declared(self, kind: str, collation: str | None, comment: str) -> str:
        if collation is not None and collation != self._collation:
            # Another order, or one in which case does not count: the same query would give other rows.
            return f"{kind} COLLATE {collation} (and not {self._collation})"
        bare = kind.partition("(")[0].lower()
        if bare == "longtext" and comment == "json":
            return _JSON
        # The width of a number is only for show, but for TINYINT(1), which is how a truth value is declared.
        return bare if bare in ("bigint", "int", "varchar", "varbinary") else kind

    def json_part(self, column: Clause, path: Sequence[str], kind: Scalar | None) -> Clause:
        value = _inside(column, path)
        found: Clause = sa.func.json_type(value)
        if kind is None:
            return value
        if kind == "number":
            return sa.case((_is(found, *_NUMBERS), _number(value)), else_=sa.null())
        if kind == "text":
            return sa.case((_is(found, "STRING"), self._text(value)), else_=sa.null())
        return sa.case((_is(found, "BOOLEAN"), self._text(value) == sa.literal_column("'true'")), else_=sa.null())

    def json_value(self, column: Clause, path: Sequence[str]) -> Clause:
        if not path:
            return sa.func.nullif(column, sa.literal_column("'null'"))
        value = _inside(column, path)
        return sa.case((_is(sa.func.json_type(value), "NULL"), sa.null()), else_=value)

    def json_ordered(self, column: Clause, path: Sequence[str], way: int) -> Sequence[Clause]:
        value = _inside(column, path)
        found: Clause = sa.func.json_type(value)
        rank = sa.case(*((_is(found, kind), sa.literal_column(str(rank))) for kind, rank in _RANKS.items()))
        number = sa.case((_is(found, *_NUMBERS), _number(value)), else_=sa.null())
        return [term for part in (rank, number, self._text(value)) for term in self.ordered(part, way)]

    def regex(self, text: Clause, pattern: str, ignore_case: bool) -> Clause:
        # Case counts by the collation; the pattern itself says where it does not.
        given = sa.literal(f"(?i){pattern}" if ignore_case else pattern, sa.String())
        return text.op("REGEXP", is_comparison=True)(given)

    def one_of(self, column: Clause, values: Sequence[Any]) -> Clause:
        # The driver itself writes a tuple as a list in parentheses.
        return column.op("IN", is_comparison=True)(sa.literal(tuple(values), Declared("list")))

    def ordered(self, column: Clause, way: int) -> Sequence[Clause]:
        return (column.desc() if way < 0 else column.asc(),)

    def to_driver(self, kind: ColumnType | None, value: Plain) -> Any:
        if isinstance(value, float) and math.isinf(value):
            raise QueryError("MySQL knows no infinity and cannot compare with it: leave that condition out")
        return super().to_driver(kind, value)

    def _text(self, value: Clause) -> Clause:
        return sa.collate(sa.func.json_unquote(value, type_=sa.String()), self._collation)


def _inside(column: Clause, path: Sequence[str]) -> Clause:
    return sa.func.json_extract(column, _path(path))


def _number(value: Clause) -> Clause:
    return value.op("+")(sa.literal_column("0e0"))


def _is(kind: Clause, *names: str) -> Clause:
    return kind.in_([sa.literal_column(f"'{name}'") for name in names])


def _path(path: Sequence[str]) -> sa.BindParameter[str]:
    def step(part: str) -> str:
        return f"[{part}]" if part.isdigit() else '."' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return sa.literal("$" + "".join(map(step, path)), sa.String())
