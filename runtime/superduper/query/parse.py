"""Documents as users write them (``{'x': {'$gt': 3}}``) turned into the portable query's tree.

Everything that is not understood is a QueryError that names the place and the nearest right word.
Values are left as given: encoding them by the schema is the datalayer's business.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from superduper.errors import QueryError, nearest
from superduper.query.ast import And, Compare, Exists, Filter, In, Not, Or, Plain, Regex, Update

Direction = Literal[1, -1]
Projection = tuple[tuple[str, ...] | None, tuple[str, ...]]
"""The fields asked for (None: all) and the fields left out."""

_COMPARE: dict[str, Literal["eq", "ne", "gt", "gte", "lt", "lte"]] = {
    "$eq": "eq",
    "$ne": "ne",
    "$gt": "gt",
    "$gte": "gte",
    "$lt": "lt",
    "$lte": "lte",
}
FIELD_OPERATORS = (*_COMPARE, "$in", "$nin", "$exists", "$regex", "$options", "$not")
LOGICAL_OPERATORS = ("$and", "$or", "$not")
UPDATE_OPERATORS = ("$set", "$unset", "$inc", "$push")


def parse_filter(document: Mapping[str, object] | None) -> Filter:
    """A filter document as a tree; None and ``{}`` let every row pass."""
    if document is None:
        return And(())
    if not isinstance(document, Mapping):
        raise QueryError(f"a filter is a document such as {{'x': 3}}, not {type(document).__name__}")
    parts = [_clause(name, value) for name, value in document.items()]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _clause(name: object, value: object) -> Filter:
    if not isinstance(name, str):
        raise QueryError(f"a filter's keys are names of fields, not {type(name).__name__}")
    if not name.startswith("$"):
        return _field(_field_name(name, "filter"), value)
    if name == "$not":
        return Not(parse_filter(_mapping(value, "$not", "a filter")))
    if name in ("$and", "$or"):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence) or not value:
            raise QueryError(f"{name} takes a list of one or more filters, not {_kind(value)}")
        parts = tuple(parse_filter(_mapping(part, name, "filters")) for part in value)
        return And(parts) if name == "$and" else Or(parts)
    if name in FIELD_OPERATORS:
        raise QueryError(f"{name} stands under a field: {{'field': {{'{name}': ...}}}}")
    raise QueryError(f"unknown operator {name!r} in a filter{nearest(name, LOGICAL_OPERATORS)}")


def _field(field: str, value: object) -> Filter:
    if isinstance(value, re.Pattern):
        return _regex(field, value.pattern, "i" if value.flags & re.IGNORECASE else "")
    if not isinstance(value, Mapping) or not any(isinstance(key, str) and key.startswith("$") for key in value):
        return Compare(field, "eq", value)
    parts = [_operator(field, name, operand, value) for name, operand in value.items() if name != "$options"]
    if "$options" in value and "$regex" not in value:
        raise QueryError(f"field {field!r}: $options belongs to $regex, which is absent")
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _operator(field: str, name: str, operand: object, beside: Mapping[str, object]) -> Filter:
    if name in _COMPARE:
        if operand is None and name not in ("$eq", "$ne"):
            raise QueryError(f"field {field!r}: {name} needs a value, not None; use $exists to find nulls")
        return Compare(field, _COMPARE[name], operand)
    if name in ("$in", "$nin"):
        if isinstance(operand, (str, bytes, Mapping)) or not isinstance(operand, Iterable):
            raise QueryError(f"field {field!r}: {name} takes a list of values, not {_kind(operand)}")
        return In(field, tuple(operand), negated=name == "$nin")
    if name == "$exists":
        if not isinstance(operand, (bool, int)):
            raise QueryError(f"field {field!r}: $exists takes True or False, not {_kind(operand)}")
        return Exists(field, bool(operand))
    if name == "$regex":
        return _regex(field, operand, beside.get("$options", ""))
    if name == "$not":
        if not isinstance(operand, (Mapping, re.Pattern)):
            raise QueryError(
                f"field {field!r}: $not takes operators, as in {{'$not': {{'$gt': 3}}}}; for a value use $ne"
            )
        return Not(_field(field, operand))
    raise QueryError(f"field {field!r}: unknown operator {name!r}{nearest(str(name), FIELD_OPERATORS)}")


def _regex(field: str, pattern: object, options: object) -> Regex:
    if isinstance(pattern, re.Pattern):
        return _regex(field, pattern.pattern, "i" if pattern.flags & re.IGNORECASE else options)
    if not isinstance(pattern, str):
        raise QueryError(f"field {field!r}: $regex takes a text, not {_kind(pattern)}")
    if options not in ("", "i"):
        raise QueryError(f"field {field!r}: $options {options!r} is not known; the one option is 'i' (ignore case)")
    # Systems differ in where they allow flags inside a pattern, so the common one becomes a field of the tree.
    ignore_case = options == "i" or pattern.startswith("(?i)")
    pattern = pattern.removeprefix("(?i)")
    try:
        re.compile(pattern)
    except re.error as error:
        raise QueryError(f"field {field!r}: $regex {pattern!r} is no regular expression: {error}") from error
    return Regex(field, pattern, ignore_case)


def parse_update(document: Mapping[str, object]) -> Update:
    """An update document as an Update. Raises QueryError where one field is changed twice."""
    if not isinstance(document, Mapping) or not document:
        raise QueryError(f"an update is a document such as {{'$set': {{'x': 3}}}}, not {_kind(document)}")
    for name in document:
        if not isinstance(name, str) or not name.startswith("$"):
            raise QueryError(f"an update consists of operators, but has the field {name!r}: use '$set', or replace_one")
        if name not in UPDATE_OPERATORS:
            raise QueryError(f"unknown operator {name!r} in an update{nearest(name, UPDATE_OPERATORS)}")
    changes = {name: _changes(name, value) for name, value in document.items()}
    _no_conflicts([field for fields in changes.values() for field in fields])
    inc: dict[str, int | float] = {}
    for field, value in changes.get("$inc", {}).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise QueryError(f"field {field!r}: $inc takes a number, not {_kind(value)}")
        inc[field] = value
    return Update(
        set=changes.get("$set", {}),
        unset=tuple(changes.get("$unset", {})),
        inc=inc,
        push={field: _pushed(field, value) for field, value in changes.get("$push", {}).items()},
    )


def _changes(operator: str, value: object) -> dict[str, Plain]:
    if operator == "$unset" and isinstance(value, (str, list, tuple)):
        value = dict.fromkeys([value] if isinstance(value, str) else value, "")
    fields = _mapping(value, operator, "fields")
    return {_field_name(field, operator): change for field, change in fields.items()}


def _pushed(field: str, value: object) -> tuple[Plain, ...]:
    if not isinstance(value, Mapping) or not any(str(key).startswith("$") for key in value):
        return (value,)
    for name in value:
        if name != "$each":
            raise QueryError(f"field {field!r}: $push knows no {name!r}{nearest(str(name), ['$each'])}")
    each = value["$each"]
    if not isinstance(each, (list, tuple)):
        raise QueryError(f"field {field!r}: $each takes a list, not {_kind(each)}")
    return tuple(each)


def _no_conflicts(fields: list[str]) -> None:
    ordered = sorted(fields, key=lambda name: name.split("."))
    for one, two in itertools.pairwise(ordered):
        if one == two or two.startswith(one + "."):
            raise QueryError(f"an update changes {one!r} and {two!r} at once: keep one of them")


def parse_projection(projection: Mapping[str, object] | Iterable[str] | None) -> Projection:
    """``{'x': 1}`` or ``['x']``: these fields and no others; ``{'x': 0}``: all but these."""
    if projection is None:
        return None, ()
    if isinstance(projection, str):
        raise QueryError(f"a projection is a list or a document of fields; for one field write [{projection!r}]")
    if not isinstance(projection, Iterable):
        raise QueryError(f"a projection is a list or a document of fields, not {_kind(projection)}")
    if not isinstance(projection, Mapping):
        projection = dict.fromkeys(projection, 1)
    if not projection:
        return None, ()
    kept: list[str] = []
    left_out: list[str] = []
    for name, flag in projection.items():
        if not isinstance(flag, (bool, int)) or flag not in (0, 1):
            raise QueryError(f"projection of {name!r}: 1 keeps a field and 0 leaves it out, not {flag!r}")
        if "." in _field_name(name, "projection"):
            raise QueryError(f"projection of {name!r}: whole fields only; ask for {name.partition('.')[0]!r}")
        (kept if flag else left_out).append(name)
    # As in MongoDB, '_id' alone may be left out beside fields that are kept.
    if kept and [name for name in left_out if name != "_id"]:
        raise QueryError(f"a projection either keeps fields ({kept}) or leaves fields out ({left_out}), not both")
    return (tuple(kept), ()) if kept else (None, tuple(left_out))


def parse_sort(sort: object, direction: object = None) -> tuple[tuple[str, Direction], ...]:
    """``'x'``, ``('x', -1)``, ``[('x', -1), 'y']`` or ``{'x': -1}`` as pairs; 1 ascends and -1 descends."""
    if sort is None:
        return ()
    if isinstance(sort, str):
        return ((_field_name(sort, "sort"), _direction(sort, 1 if direction is None else direction)),)
    if direction is not None:
        raise QueryError("a direction beside a list of fields: write [('x', -1), ('y', 1)]")
    if isinstance(sort, Mapping):
        sort = list(sort.items())
    if isinstance(sort, tuple) and len(sort) == 2 and isinstance(sort[0], str) and isinstance(sort[1], int):
        sort = [sort]
    if not isinstance(sort, (list, tuple)):
        raise QueryError(f"sort takes 'x', [('x', -1)] or {{'x': -1}}, not {_kind(sort)}")
    pairs: list[tuple[str, Direction]] = []
    for item in sort:
        name, way = (item, 1) if isinstance(item, str) else _pair(item)
        pairs.append((_field_name(name, "sort"), _direction(name, way)))
    return tuple(pairs)


def _pair(item: object) -> tuple[object, object]:
    if isinstance(item, (list, tuple)) and len(item) == 2:
        return item[0], item[1]
    raise QueryError(f"sort takes pairs such as ('x', -1), not {_kind(item)}")


def _direction(name: object, way: object) -> Direction:
    if way == 1 and way is not True:
        return 1
    if way == -1:
        return -1
    raise QueryError(f"sort by {name!r}: 1 ascends and -1 descends, not {way!r}")


def parse_window(name: str, number: object) -> int:
    """A skip or limit: a whole number that is not negative."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise QueryError(f"{name} takes a whole number from 0 on, not {number!r}")
    return number


def _field_name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise QueryError(f"{where}: a field's name is a text, not {name!r}")
    if name.startswith("$"):
        raise QueryError(f"{where}: {name!r} stands where the name of a field belongs")
    if "" in name.split("."):
        raise QueryError(f"{where}: the dotted name {name!r} has an empty part")
    return name


def _mapping(value: object, operator: str, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise QueryError(f"{operator} takes {what} as a document, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return "an empty one" if isinstance(value, (list, tuple, dict)) and not value else f"a {type(value).__name__}"
