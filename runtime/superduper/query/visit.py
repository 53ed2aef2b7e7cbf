"""Walking over a query's tree: which fields it names, and its values replaced by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from superduper.query.ast import And, Compare, Exists, Filter, In, Not, Or, Plain, Regex, Update

ValueMap = Callable[[str, Plain], Plain]
"""Takes a field's (dotted) name and a value that it is compared with or set to; returns what takes its place."""


def map_values(filter: Filter, fn: ValueMap) -> Filter:
    """The same filter with every value that a field is compared with replaced by ``fn(field, value)``.

    Nulls, patterns and ``$exists`` are left alone: they are no values of the field's own type.
    """
    match filter:
        case Compare(field, _, value):
            return filter if value is None else replace(filter, value=fn(field, value))
        case In(field, values):
            return replace(filter, values=tuple(None if v is None else fn(field, v) for v in values))
        case And(parts):
            return And(tuple(map_values(part, fn) for part in parts))
        case Or(parts):
            return Or(tuple(map_values(part, fn) for part in parts))
        case Not(part):
            return Not(map_values(part, fn))
        case _:
            return filter


def map_update(update: Update, fn: ValueMap) -> Update:
    """The same update with every value that is set or pushed replaced by ``fn(field, value)``."""
    return replace(
        update,
        set={name: None if value is None else fn(name, value) for name, value in update.set.items()},
        push={name: tuple(fn(name, value) for value in values) for name, values in update.push.items()},
    )


def leaves(filter: Filter) -> Iterator[Compare | In | Exists | Regex]:
    """The comparisons of a filter, from left to right."""
    match filter:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case _:
            yield filter
