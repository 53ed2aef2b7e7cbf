"""An update applied to one row in Python, where a database cannot do it by itself."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from superduper.backends.base.data_backend import Row
from superduper.errors import SchemaMismatch
from superduper.query.ast import Plain, Update


def changed(row: Row, update: Update) -> Row:
    """The row after the update; the given one stays as it is. Raises SchemaMismatch where it does not fit."""
    row = deepcopy(row)
    for name, value in update.set.items():
        _put(row, name, partial(_given, value))
    for name in update.unset:
        _remove(row, name)
    for name, by in update.inc.items():
        _put(row, name, partial(_sum, name, by))
    for name, values in update.push.items():
        _put(row, name, partial(_pushed, name, values))
    return row


def _put(row: Row, name: str, make: Callable[[Plain], Plain]) -> None:
    *path, last = name.split(".")
    inner: Any = row
    for part in path:
        if inner.get(part) is None:
            inner[part] = {}
        inner = inner[part]
        if not isinstance(inner, dict):
            raise SchemaMismatch(
                f"field {name!r}: {part!r} holds a {type(inner).__name__}, in which nothing can be set"
            )
    inner[last] = make(inner.get(last))


def _remove(row: Row, name: str) -> None:
    *path, last = name.split(".")
    inner: Any = row
    for part in path:
        inner = inner.get(part) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        return
    if path:
        inner.pop(last, None)
    else:
        inner[last] = None


def _given(value: Plain, _old: Plain) -> Plain:
    return value


def _sum(name: str, by: float, old: Plain) -> Plain:
    if old is None:
        return by
    if isinstance(old, bool) or not isinstance(old, (int, float)):
        raise SchemaMismatch(f"field {name!r}: $inc adds to numbers, and it holds a {type(old).__name__}")
    return old + by


def _pushed(name: str, values: tuple[Plain, ...], old: Plain) -> Plain:
    if old is None:
        return list(values)
    if not isinstance(old, list):
        raise SchemaMismatch(f"field {name!r}: $push appends to a list, and it holds a {type(old).__name__}")
    return [*old, *values]
