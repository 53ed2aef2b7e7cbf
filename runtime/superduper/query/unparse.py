"""The portable query's tree turned back into a filter document: what a spec keeps of a query."""

from __future__ import annotations

from superduper.query.ast import And, Compare, Exists, Filter, In, Not, Or, Regex


def to_document(filter: Filter) -> dict[str, object]:
    """The document that ``parse_filter`` turns into an equal filter."""
    match filter:
        case Compare(field, "eq", value) if not isinstance(value, dict):
            return {field: value}
        case Compare(field, op, value):
            return {field: {f"${op}": value}}
        case In(field, values, negated):
            return {field: {"$nin" if negated else "$in": list(values)}}
        case Exists(field, present):
            return {field: {"$exists": present}}
        case Regex(field, pattern, ignore_case):
            return {field: {"$regex": pattern, **({"$options": "i"} if ignore_case else {})}}
        case And(()):
            return {}
        case And(parts):
            return {"$and": [to_document(part) for part in parts]}
        case Or(parts):
            return {"$or": [to_document(part) for part in parts]}
        case Not(part):
            return {"$not": to_document(part)}
