"""What differs between SQL systems in statements and values; each system derives its own in its folder."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from superduper.errors import SchemaMismatch
from superduper.query.ast import Plain
from superduper.query.tables import ColumnType, TableDef

Scalar = Literal["number", "text", "bool"]
Convert = Callable[[Any], Any]
Clause = sa.ColumnElement[Any]


class Declared(UserDefinedType[Any]):
    """A column type by its name in DDL. Values pass through untouched: we convert whole columns ourselves."""

    cache_ok = True

    def __init__(self, declaration: str) -> None:
        self.declaration = declaration

    def get_col_spec(self, **_: object) -> str:
        return self.declaration


class SqlDialect(ABC):
    """Types, expressions and conversions of one system."""

    declarations: ClassVar[Mapping[ColumnType, str]]
    """How we declare each type."""
    synonyms: ClassVar[Mapping[str, ColumnType]]
    """Further declarations, in lower case, under which tables made by others are understood."""
    writers: ClassVar[Mapping[ColumnType, Convert]]
    """What turns our values, other than None, into the driver's."""
    readers: ClassVar[Mapping[ColumnType, Convert]]
    """What turns the driver's values, other than None, into ours."""
    nan: ClassVar[bool]
    row_locks: ClassVar[bool]
    """Rows that are read to be changed must be locked one by one."""
    returning: ClassVar[bool] = True
    """Updates and deletes tell the keys that they concerned."""
    options: Mapping[str, Any] = MappingProxyType({})
    """SQLAlchemy's arguments for a table that is made."""

    def key_declaration(self, kind: ColumnType) -> str:
        """How the primary key's type is declared."""
        return self.declarations[kind]

    def lock_schema(self, connection: sa.Connection) -> None:
        """Let nobody else make or change tables until the transaction ends. SQLite's writers are alone anyway."""
        return

    @abstractmethod
    def columns(self, connection: sa.Connection, table: str) -> dict[str, tuple[str, bool]]:
        """Declared type and membership in the primary key, per column of an existing table; {} for none."""

    @abstractmethod
    def json_part(self, column: Clause, path: Sequence[str], kind: Scalar | None) -> Clause:
        """A value inside a JSON column, null where it is absent or of another kind; sortable if kind is None."""

    @abstractmethod
    def json_value(self, column: Clause, path: Sequence[str]) -> Clause:
        """A value inside a JSON column as JSON text, null where it is absent or null."""

    @abstractmethod
    def regex(self, text: Clause, pattern: str, ignore_case: bool) -> Clause:
        """Whether the pattern is found in the text."""

    @abstractmethod
    def one_of(self, column: Clause, values: Sequence[Any]) -> Clause:
        """Whether the column is one of very many (already converted) values."""

    @abstractmethod
    def ordered(self, column: Clause, way: int) -> Sequence[Clause]:
        """ORDER BY terms that put nulls before every value."""

    def json_ordered(self, column: Clause, path: Sequence[str], way: int) -> Sequence[Clause]:
        """ORDER BY terms for a value inside a JSON column, nulls before every value."""
        return self.ordered(self.json_part(column, path, None), way)

    def to_column(self, kind: ColumnType, values: Sequence[Plain]) -> Sequence[Any]:
        """A column's values for the driver."""
        convert = self.writers.get(kind)
        return values if convert is None else [None if value is None else convert(value) for value in values]

    def to_driver(self, kind: ColumnType | None, value: Plain) -> Any:
        """One value for the driver."""
        convert = None if kind is None else self.writers.get(kind)
        return value if convert is None or value is None else convert(value)


def dump_json(value: object) -> str:
    """JSON text of a value. Raises SchemaMismatch for what JSON cannot hold, NaN among it."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaMismatch(f"a json field cannot hold this: {error}") from error


class SqlTable:
    """A table for SQLAlchemy Core, and the texts that are used again and again."""

    def __init__(self, table: TableDef, dialect: SqlDialect) -> None:
        self.definition = table
        self.core = sa.Table(
            table.name,
            sa.MetaData(),
            *(
                sa.Column(
                    column.name,
                    Declared(dialect.declarations[column.type])
                    if column.name != table.primary_key
                    else Declared(dialect.key_declaration(column.type)),
                    primary_key=column.name == table.primary_key,
                    nullable=column.name != table.primary_key,
                    autoincrement=False,
                )
                for column in table.columns
            ),
            **dialect.options,
        )
        self.key = self.core.c[table.primary_key]
        self.key_type = next(column.type for column in table.columns if column.name == table.primary_key)

    def column(self, name: str) -> Clause:
        """A column by name."""
        return self.core.c[name]


@lru_cache(maxsize=512)
def sql_table(table: TableDef, dialect: SqlDialect) -> SqlTable:
    """The same object for the same definition: building one costs more than a query."""
    return SqlTable(table, dialect)
