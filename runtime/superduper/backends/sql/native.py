"""ibis expressions over the same database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from superduper.backends.base.checks import aware
from superduper.backends.sql.database import SqlDatabase
from superduper.errors import MissingExtra, QueryError, SuperduperError
from superduper.query.native import Step, apply_steps
from superduper.query.tables import TableDef


def import_ibis(system: str) -> Any:
    """The package ibis. Raises MissingExtra."""
    try:
        import ibis  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtra("ibis-framework", "ibis", f"a native expression on {system}") from error
    return ibis


def native_names(table: TableDef) -> frozenset[str]:
    """What ibis offers on a table, and the table's columns."""
    tables = import_ibis("SQL").expr.types.Table
    return frozenset(name for name in dir(tables) if not name.startswith("_")) | {c.name for c in table.columns}


def run_native(backend: Any, table: TableDef, steps: Sequence[Step], database: SqlDatabase) -> Any:
    """Build the expression and run it: rows as dictionaries, a single value as itself, a column as a list.

    Raises QueryError where ibis does not understand it.
    """
    import ibis

    try:
        expression = apply_steps(backend.table, table.name, steps)
        if not isinstance(expression, ibis.expr.types.Expr):
            return expression
        return _run(backend, expression)
    except SuperduperError:
        raise
    except ibis.common.exceptions.IbisError as error:
        raise QueryError(f"table {table.name!r}: {' '.join(str(error).split())}") from error
    except database.engine_errors() as error:
        raise database.translate(error) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise QueryError(f"table {table.name!r}: the expression does not fit: {error}") from error


def _run(backend: Any, expression: Any) -> Any:
    # Through the driver itself: ibis's own way leads over data frames, which take time, memory and exactness.
    types = import_ibis("SQL").expr.types
    table = expression.as_table()
    schema = table.schema()
    with closing(backend.raw_sql(backend.compile(table))) as cursor:
        found = cursor.fetchall()
    converts = [_converter(schema[name]) for name in schema.names]
    rows = [
        tuple(v if v is None or convert is None else convert(v) for v, convert in zip(values, converts, strict=True))
        for values in found
    ]
    if isinstance(expression, types.Scalar):
        return rows[0][0]
    if isinstance(expression, types.Column):
        return [value for (value,) in rows]
    return [dict(zip(schema.names, values, strict=True)) for values in rows]


def _converter(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a driver's value one of the type that ibis says it has."""
    if kind.is_boolean():
        return bool
    if kind.is_integer():
        return int
    if kind.is_floating():
        return float
    if kind.is_timestamp():
        return lambda value: aware(datetime.fromisoformat(value) if isinstance(value, str) else value)
    if kind.is_json():
        return lambda value: json.loads(value) if isinstance(value, str) else value
    return bytes if kind.is_binary() else None
