"""The portable query's filters as SQL conditions, with its meaning of nulls."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from superduper.backends.base.checks import aware
from superduper.backends.sql.dialect import Clause, Scalar, SqlDialect, SqlTable
from superduper.errors import QueryError
from superduper.query.ast import And, Compare, Exists, Filter, In, Not, Or, Plain, Regex
from superduper.query.tables import Column, ColumnType

MANY = 400
"""From so many values on, a list is handed over as one parameter."""

_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class Conditions:
    """Compiles filters of one table."""

    def __init__(self, table: SqlTable, dialect: SqlDialect) -> None:
        self._table, self._dialect = table, dialect

    def where(self, filter: Filter) -> Clause:
        """The condition that a row passes. Its value may be null, which counts as not passed."""
        match filter:
            case And(parts):
                return sa.and_(sa.true(), *map(self.where, parts))
            case Or(parts):
                return sa.or_(sa.false(), *map(self.where, parts))
            case Not(part):
                return sa.not_(sa.func.coalesce(self.where(part), sa.false(), type_=sa.Boolean()))
            case Compare(field, "eq", None):
                return self.null(field)
            case Compare(field, "ne", None):
                return sa.not_(self.null(field))
            case Compare(field, op, value):
                return self._compare(field, op, value)
            case In(field, values, negated):
                return self._in(field, values, negated)
            case Exists(field, present):
                return sa.not_(self.null(field)) if present else self.null(field)
            case Regex(field, pattern, ignore_case):
                return self._dialect.regex(self._operand(field, ""), pattern, ignore_case)

    def null(self, field: str) -> Clause:
        """Whether a field is null or absent."""
        column, path = self._split(field)
        if not path and column.type != "json":
            return self._table.column(column.name).is_(None)
        return self._dialect.json_value(self._table.column(column.name), path).is_(None)

    def order(self, field: str, way: int) -> Sequence[Clause]:
        """ORDER BY terms for a field."""
        if field == self._table.definition.primary_key:
            key = self._table.key
            return (key.desc() if way < 0 else key.asc(),)
        column, path = self._split(field)
        clause = self._table.column(column.name)
        if path or column.type == "json":
            return self._dialect.json_ordered(clause, path, way)
        return self._dialect.ordered(clause, way)

    def _compare(self, field: str, op: str, value: Plain) -> Clause:
        operand, bound = self._operand(field, value), self._bound(field, value)
        if op == "eq":
            return operand == bound
        if op == "ne":
            return operand.is_distinct_from(bound)
        if isinstance(value, bool):
            raise QueryError(f"field {field!r}: truth values have no order; compare them by $eq or $ne")
        return _ORDER[op](operand, bound)  # type: ignore[no-any-return]

    def _in(self, field: str, values: Sequence[Plain], negated: bool) -> Clause:
        column, path = self._split(field)
        groups: dict[Scalar | None, list[Plain]] = {}
        if not path and column.type != "json":
            # A typed column holds one kind; only inside JSON do kinds matter.
            if given := [value for value in values if value is not None]:
                groups[None] = given
        else:
            for value in values:
                if value is not None:
                    groups.setdefault(_scalar(value), []).append(value)
        parts = [self._one_of(field, group) for group in groups.values()]
        if None in values:
            parts.append(self.null(field))
        found = sa.or_(sa.false(), *parts)
        return sa.not_(sa.func.coalesce(found, sa.false(), type_=sa.Boolean())) if negated else found

    def _one_of(self, field: str, values: list[Plain]) -> Clause:
        operand = self._operand(field, values[0])
        column, path = self._split(field)
        kind = None if path else column.type
        if len(values) < MANY:
            # One parameter for all, so that the statement is compiled once, however many there are.
            given = self._driven(None if kind == "json" else kind, values)
            return operand.in_(sa.bindparam(None, given, self._table.core.c[column.name].type, expanding=True))
        return self._dialect.one_of(operand, self._driven(kind, values))

    def _driven(self, kind: ColumnType | None, values: list[Plain]) -> list[Any]:
        if kind in ("str", "int") and kind not in self._dialect.writers:
            return values
        return [self._dialect.to_driver(kind, _utc(value)) for value in values]

    def _operand(self, field: str, value: Plain) -> Clause:
        column, path = self._split(field)
        clause = self._table.column(column.name)
        if path or column.type == "json":
            return self._dialect.json_part(clause, path, _scalar(value, field))
        return clause

    def _bound(self, field: str, value: Plain) -> Clause:
        column, path = self._split(field)
        kind = None if path else column.type
        if kind == "json":
            kind = None
        return sa.literal(self._dialect.to_driver(kind, _utc(value)), self._table.core.c[column.name].type)

    def _split(self, field: str) -> tuple[Column, list[str]]:
        whole = self._table.definition.column(field)
        if whole is not None:
            return whole, []
        name, *path = field.split(".")
        column = self._table.definition.column(name)
        if column is None:
            raise QueryError(f"table {self._table.definition.name!r} has no field {name!r}")
        return column, path


def _scalar(value: Plain, field: str = "") -> Scalar:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, (str, bytes, datetime)):
        return "text"
    raise QueryError(f"field {field!r}: a {type(value).__name__} cannot be compared with what is inside json")


def _utc(value: Plain) -> Plain:
    return aware(value) if isinstance(value, datetime) else value
