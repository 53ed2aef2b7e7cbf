"""ibis expressions over the same database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        result = backend.to_pyarrow(expression)
    except SuperduperError:
        raise
    except ibis.common.exceptions.IbisError as error:
        raise QueryError(f"table {table.name!r}: {' '.join(str(error).split())}") from error
    except database.engine_errors() as error:
        raise database.translate(error) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise QueryError(f"table {table.name!r}: the expression does not fit: {error}") from error
    return result.as_py() if hasattr(result, "as_py") else result.to_pylist()
