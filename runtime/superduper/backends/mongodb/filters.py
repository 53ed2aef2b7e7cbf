"""The portable query's filters and updates as MongoDB's own documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from superduper.query.ast import And, Compare, Exists, Filter, In, Not, Or, Regex, Update

Document = dict[str, Any]
Among = Callable[[str, Iterable[Any]], Document]
"""Makes the condition that a field is one of some values."""


def among(field: str, values: Iterable[Any]) -> Document:
    """The condition that a field is one of some values, as MongoDB writes it."""
    return {field: {"$in": list(values)}}


class AnyOf:
    """Equal to each of some values. mongomock compares it with a row's value as it compares any other.

    Its own ``$in`` walks through the list for every row, which is quadratic.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = {_as_mocked(value) for value in values}

    def __eq__(self, other: object) -> bool:
        try:
            return other in self._values
        except TypeError:
            return False

    def __hash__(self) -> int:
        return id(self)


def among_mocked(field: str, values: Iterable[Any]) -> Document:
    """The same condition for mongomock."""
    found = list(values)
    some: Document = {field: AnyOf(value for value in found if value is not None)}
    return {"$or": [some, {field: None}]} if None in found else some


def _as_mocked(value: Any) -> Any:
    # mongomock keeps datetimes without a zone, to the millisecond.
    if not isinstance(value, datetime):
        return value
    moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def filter_document(filter: Filter, among: Among = among) -> Document:
    """A filter as MongoDB writes it."""
    match filter:
        case And(parts):
            documents = [document for part in parts if (document := filter_document(part, among))]
            return {"$and": documents} if len(documents) > 1 else documents[0] if documents else {}
        case Or(parts):
            return {"$or": [filter_document(part, among) for part in parts]} if parts else {"$nor": [{}]}
        case Not(part):
            return {"$nor": [filter_document(part, among)]}
        case Compare(field, "eq", None):
            return _null(field)
        case Compare(field, "ne", None):
            return {"$nor": [_null(field)]}
        case Exists(field, present):
            return {"$nor": [_null(field)]} if present else _null(field)
        case Compare(field, op, value):
            return {field: {f"${op}": value}}
        case In(field, values, negated):
            return {"$nor": [among(field, values)]} if negated else among(field, values)
        case Regex(field, pattern, ignore_case):
            return {field: {"$regex": pattern, "$options": "i" if ignore_case else ""}}


def _null(field: str) -> Document:
    """A null and an absent field are one thing, and so they are for MongoDB's comparison with null."""
    parts = field.split(".")
    # mongomock does not look past a null for what is inside it, so that is asked for too.
    some: list[Document] = [{".".join(parts[:length]): None} for length in range(len(parts), 0, -1)]
    return {"$or": some} if len(some) > 1 else some[0]


def update_document(update: Update) -> Document:
    """An update as MongoDB writes it; {} where nothing changes."""
    document: Document = {
        "$set": dict(update.set),
        "$unset": dict.fromkeys(update.unset, ""),
        "$inc": dict(update.inc),
        "$push": {name: {"$each": list(values)} for name, values in update.push.items()},
    }
    return {operator: changes for operator, changes in document.items() if changes}


def nulls_in_the_way(update: Update) -> list[str]:
    """Fields at which a null would make MongoDB refuse the update, though an absent field would not."""
    names = [*update.inc, *update.push]
    for name in (*update.set, *update.inc, *update.push):
        parts = name.split(".")
        names += [".".join(parts[:length]) for length in range(1, len(parts))]
    return sorted(set(names))
