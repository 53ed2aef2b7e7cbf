"""The portable query's filters and updates as MongoDB's own documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from superduper.query.ast import And, Compare, Exists, Filter, In, Not, Or, Regex, Update

Document = dict[str, Any]
Many = Callable[[Iterable[Any]], Any]
"""How the values of ``$in`` are handed over: a list; for mongomock a set, which it searches in one step."""


def filter_document(filter: Filter, many: Many = list) -> Document:
    """A filter as MongoDB writes it."""
    match filter:
        case And(parts):
            documents = [document for part in parts if (document := filter_document(part, many))]
            return {"$and": documents} if len(documents) > 1 else documents[0] if documents else {}
        case Or(parts):
            return {"$or": [filter_document(part, many) for part in parts]} if parts else {"$nor": [{}]}
        case Not(part):
            return {"$nor": [filter_document(part, many)]}
        case Compare(field, op, value):
            return {field: {f"${op}": value}}
        case In(field, values, negated):
            return {field: {"$nin" if negated else "$in": many(values)}}
        case Exists(field, present):
            # A null and an absent field are one thing, and so they are for MongoDB's comparison with null.
            return {field: {"$ne" if present else "$eq": None}}
        case Regex(field, pattern, ignore_case):
            return {field: {"$regex": pattern, "$options": "i" if ignore_case else ""}}


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
