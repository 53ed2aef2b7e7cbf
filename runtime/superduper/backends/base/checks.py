"""Whether rows, filters and updates fit a table: the same checks and words on every databackend.

Rows are checked by columns, which costs one pass at the speed of C where all is well; only where something
is wrong are values looked at one by one, to name the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import itemgetter

from superduper.backends.base.data_backend import Row
from superduper.errors import DuplicateKey, QueryError, SchemaMismatch, nearest
from superduper.query.ast import Compare, Filter, In, Plain, Regex, Select, Update
from superduper.query.tables import Column, ColumnType, TableDef
from superduper.query.visit import leaves

_INFINITE = frozenset({math.inf, -math.inf})
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

_NONE = type(None)
_EXACT: dict[ColumnType, frozenset[type]] = {
    "str": frozenset({str, _NONE}),
    "int": frozenset({int, _NONE}),
    "float": frozenset({float, _NONE}),
    "bool": frozenset({bool, _NONE}),
    "bytes": frozenset({bytes, _NONE}),
    "datetime": frozenset({datetime, _NONE}),
}
_ALLOWED: dict[ColumnType, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "bytes": (bytes, bytearray, memoryview),
    "datetime": (datetime,),
}


def columns_of(
    table: TableDef, rows: Sequence[Row], *, nan: bool, infinity: bool = True, schemaless: bool = False
) -> list[Sequence[Plain]]:
    """The rows' values by column, in the order of the table's columns, checked against its types.

    Fields that a row lacks are null. Raises SchemaMismatch, naming row and field, for a value of another type,
    an integer beyond 64 bits, NaN or infinity where they are not allowed, a null key or a field that the table does
    not have.
    """
    names = [column.name for column in table.columns]
    pick: Callable[[Row], tuple[Plain, ...]] = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    try:
        picked = list(map(pick, rows))
    except KeyError:
        picked = [tuple(map(row.get, names)) for row in rows]
    if not schemaless and set(map(len, rows)) != {len(names)}:
        _no_unknown_fields(table, rows)
    columns: list[Sequence[Plain]] = list(zip(*picked, strict=True))
    keys = columns[names.index(table.primary_key)]
    if None in keys:
        raise SchemaMismatch(
            f"table {table.name!r}: row {keys.index(None)} of {len(rows)} has no {table.primary_key!r}, its primary key"
        )
    for number, column in enumerate(table.columns):
        columns[number] = check_column(table, column, columns[number], keys, nan=nan, infinity=infinity)
    return columns


def check_column(
    table: TableDef,
    column: Column,
    values: Sequence[Plain],
    keys: Sequence[Plain],
    *,
    nan: bool,
    infinity: bool = True,
) -> Sequence[Plain]:
    """One column's values, integers made floats where floats belong. Raises SchemaMismatch."""
    kind = column.type
    if kind == "json":
        return values
    if not _EXACT[kind].issuperset(map(type, values)):
        values = [_converted(table, column, value, key) for value, key in zip(values, keys, strict=True)]
    if kind == "int" and any(value is not None and not INT_MIN <= value <= INT_MAX for value in values):  # type: ignore[operator]
        key = next(k for v, k in zip(values, keys, strict=True) if v is not None and not INT_MIN <= v <= INT_MAX)  # type: ignore[operator]
        raise SchemaMismatch(
            f"{_at(table, column, key)}: the integer is beyond 64 bits; store it as text or as a float"
        )
    if kind == "float" and not nan and any(value != value for value in values):
        key = next(k for v, k in zip(values, keys, strict=True) if v != v)
        raise SchemaMismatch(f"{_at(table, column, key)}: this database has no NaN; store None instead")
    if kind == "float" and not infinity and (found := _INFINITE.intersection(values)):
        key = next(k for v, k in zip(values, keys, strict=True) if v in found)
        raise SchemaMismatch(f"{_at(table, column, key)}: this database has no infinity; store None instead")
    return values


def given_twice(table: TableDef, rows: Sequence[Row]) -> set[Plain]:
    """Keys that more than one of the rows have."""
    seen: set[Plain] = set()
    keys = (row[table.primary_key] for row in rows)
    return {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


def duplicates(table: TableDef, keys: Sequence[Plain]) -> DuplicateKey:
    """The error that names the keys of rows that are there, or are given twice."""
    shown = ", ".join(map(repr, keys[:10])) + (" …" if len(keys) > 10 else "")
    return DuplicateKey(
        f"table {table.name!r}: rows with {table.primary_key!r} {shown} exist or are given twice; nothing was inserted",
        tuple(keys),
    )


def check_key_length(table: TableDef, keys: Sequence[Plain], most: int | None) -> None:
    """Raises SchemaMismatch for a text that is longer than a primary key may be."""
    if most is None:
        return
    for key in keys:
        if isinstance(key, str) and len(key) > most:
            raise SchemaMismatch(
                f"table {table.name!r}, row {key[:40] + '…'!r}, field {table.primary_key!r}: a primary key has at most "
                f"{most} characters in this database, not {len(key)}; use a shorter one, such as the text's hash"
            )


def _converted(table: TableDef, column: Column, value: Plain, key: Plain) -> Plain:
    if value is None:
        return None
    kind = column.type
    if not isinstance(value, _ALLOWED[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise SchemaMismatch(f"{_at(table, column, key)}: {kind} expected, not {type(value).__name__}")
    if kind == "float":
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError as error:
            raise SchemaMismatch(f"{_at(table, column, key)}: the number is beyond a float's range") from error
    if kind == "bytes":
        return bytes(value)  # type: ignore[call-overload]
    return value


def _at(table: TableDef, column: Column, key: Plain) -> str:
    where = "" if key is None else f", row {key!r}"
    return f"table {table.name!r}{where}, field {column.name!r}"


def _no_unknown_fields(table: TableDef, rows: Sequence[Row]) -> None:
    known = {column.name for column in table.columns}
    for row in rows:
        for name in row.keys() - known:
            raise SchemaMismatch(
                f"table {table.name!r}, row {row.get(table.primary_key)!r}: it has no field {name!r}{nearest(name, known)}"
            )


def aware(value: datetime) -> datetime:
    """The same moment in UTC. A datetime without a zone counts as UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def check_filter(table: TableDef, filter: Filter, *, schemaless: bool = False) -> None:
    """Raises QueryError for a field that the table does not have, or a value that its type cannot be compared with."""
    for leaf in leaves(filter):
        column = check_field(table, leaf.field, schemaless=schemaless)
        if isinstance(leaf, Compare):
            _comparable(table, leaf.field, column, leaf.value)
        elif isinstance(leaf, In):
            for value in () if _surely_comparable(column, leaf.values) else leaf.values:
                _comparable(table, leaf.field, column, value)
        elif isinstance(leaf, Regex) and column is not None and "." not in leaf.field and column.type != "str":
            raise QueryError(f"table {table.name!r}: $regex searches texts, and {leaf.field!r} is {column.type}")


def _surely_comparable(column: Column | None, values: Sequence[Plain]) -> bool:
    """Whether all are texts for a text column, or integers for one of integers: said fast, for there may be many."""
    types = set(map(type, values))
    if column is None or not types:
        return False
    if column.type == "str":
        return types == {str}
    return column.type == "int" and types == {int} and min(values) >= INT_MIN and max(values) <= INT_MAX  # type: ignore[type-var,operator]


def check_field(table: TableDef, field: str, *, schemaless: bool = False) -> Column | None:
    """The column that a (dotted) field belongs to, or None where rows may have undeclared fields."""
    name, dot, _ = field.partition(".")
    column = table.column(field) or table.column(name)
    if column is None:
        if schemaless:
            return None
        known = [column.name for column in table.columns]
        raise QueryError(f"table {table.name!r} has no field {name!r}{nearest(name, known)}")
    if dot and column.name != field and column.type != "json":
        raise QueryError(f"table {table.name!r}: {field!r} reaches into {name!r}, which is {column.type} and not json")
    return column


def _comparable(table: TableDef, field: str, column: Column | None, value: Plain) -> None:
    if isinstance(value, (dict, list)):
        raise QueryError(
            f"table {table.name!r}, field {field!r}: whole documents and lists are not compared; name a field inside, "
            f"as in {field + '.name'!r}"
        )
    if value is None or column is None or column.type == "json":
        if isinstance(value, float) and math.isnan(value):
            raise QueryError(f"table {table.name!r}, field {field!r}: NaN equals nothing and cannot be searched for")
        return
    check = "float" if column.type == "int" and isinstance(value, float) else column.type
    if not isinstance(value, _ALLOWED[check]) or (isinstance(value, bool) and check != "bool"):
        raise QueryError(
            f"table {table.name!r}: field {field!r} is {column.type} and cannot be compared with a {type(value).__name__}"
        )
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise QueryError(f"table {table.name!r}, field {field!r}: the integer is beyond 64 bits")
    if value != value:
        raise QueryError(f"table {table.name!r}, field {field!r}: NaN equals nothing and cannot be searched for")


def asked_columns(table: TableDef, query: Select, *, schemaless: bool = False) -> list[Column]:
    """The declared columns that a select asks for, in the table's order. Raises QueryError for unknown fields."""
    for name in query.fields or ():
        check_field(table, name, schemaless=schemaless)
    for name in query.exclude:
        # '_id' is MongoDB's own: leaving it out is right everywhere.
        check_field(table, name, schemaless=schemaless or name == "_id")
    for name, _ in query.sort:
        check_field(table, name, schemaless=schemaless)
    columns = [c for c in table.columns if query.fields is None or c.name in query.fields]
    return [c for c in columns if c.name not in query.exclude]


def check_update(
    table: TableDef, update: Update, *, nan: bool, infinity: bool = True, schemaless: bool = False
) -> None:
    """Raises QueryError or SchemaMismatch where an update touches the key or does not fit the columns' types."""
    if table.primary_key in update.fields or "_id" in update.fields:
        raise QueryError(
            f"table {table.name!r}: the primary key {table.primary_key!r} cannot be changed; insert a new row"
        )
    for name in (*update.set, *update.unset, *update.inc, *update.push):
        column = check_field(table, name, schemaless=schemaless)
        if column is None:
            continue
        whole = column.name == name
        if whole and name in update.set:
            check_column(table, column, [update.set[name]], [None], nan=nan, infinity=infinity)
        if name in update.push and column.type != "json":
            raise QueryError(f"table {table.name!r}: $push appends to a list, and {name!r} is {column.type}")
        if whole and name in update.inc:
            _incrementable(table, column, update.inc[name])


def _incrementable(table: TableDef, column: Column, by: float) -> None:
    if column.type not in ("int", "float", "json"):
        raise QueryError(f"table {table.name!r}: $inc adds to numbers, and {column.name!r} is {column.type}")
    if column.type == "int":
        check_column(table, column, [by], [None], nan=True)
    if math.isnan(by) or math.isinf(by):
        raise QueryError(f"table {table.name!r}: $inc of {column.name!r} by {by} would lose its value")
