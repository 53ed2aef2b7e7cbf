"""Documents turned into the portable query; what is not understood names the nearest right word."""

from __future__ import annotations

import re
from typing import Any

import pytest

from superduper.errors import QueryError
from superduper.query.ast import And, Compare, Exists, In, Not, Or, Regex, Update
from superduper.query.parse import parse_filter, parse_projection, parse_sort, parse_update, parse_window
from superduper.query.visit import leaves, map_update, map_values


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        (None, And(())),
        ({}, And(())),
        ({"x": 1}, Compare("x", "eq", 1)),
        ({"x": {"a": 1}}, Compare("x", "eq", {"a": 1})),
        ({"x": None}, Compare("x", "eq", None)),
        ({"x": {"$gt": 1, "$lte": 5}}, And((Compare("x", "gt", 1), Compare("x", "lte", 5)))),
        ({"x": 1, "y.z": 2}, And((Compare("x", "eq", 1), Compare("y.z", "eq", 2)))),
        ({"x": {"$in": [1, 2]}}, In("x", (1, 2))),
        ({"x": {"$nin": (1,)}}, In("x", (1,), negated=True)),
        ({"x": {"$exists": False}}, Exists("x", present=False)),
        ({"x": {"$regex": "a", "$options": "i"}}, Regex("x", "a", ignore_case=True)),
        ({"x": re.compile("a", re.IGNORECASE)}, Regex("x", "a", ignore_case=True)),
        ({"x": {"$not": {"$gt": 1}}}, Not(Compare("x", "gt", 1))),
        ({"$not": {"x": 1}}, Not(Compare("x", "eq", 1))),
        ({"$or": [{"x": 1}, {"y": 2}]}, Or((Compare("x", "eq", 1), Compare("y", "eq", 2)))),
    ],
)
def test_a_filter_becomes_a_tree(document: Any, tree: object) -> None:
    assert parse_filter(document) == tree


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"x": {"$gtt": 1}}, r"unknown operator '\$gtt'; did you mean '\$gt'"),
        ({"$orr": []}, r"unknown operator '\$orr'.*did you mean '\$or'"),
        ({"$gt": 3}, r"stands under a field"),
        ({"$or": []}, "an empty one"),
        ({"$and": {"x": 1}}, "list"),
        ({"x": {"$in": "abc"}}, "list of values"),
        ({"x": {"$gt": None}}, r"\$exists"),
        ({"x": {"$exists": "yes"}}, "True or False"),
        ({"x": {"$regex": "("}}, "no regular expression"),
        ({"x": {"$regex": "a", "$options": "z"}}, r"\$options 'z'"),
        ({"x": {"$options": "i"}}, r"belongs to \$regex"),
        ({"x": {"$not": 3}}, r"\$ne"),
        ({"x..y": 3}, "empty part"),
        ({3: 3}, "names of fields"),
        ("x", "a filter is a document"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(document: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_filter(document)


def test_an_update_is_read() -> None:
    document = {"$set": {"a": 1}, "$unset": {"b": ""}, "$inc": {"c": 2}, "$push": {"d": 1, "e": {"$each": [1, 2]}}}
    assert parse_update(document) == Update({"a": 1}, ("b",), {"c": 2}, {"d": (1,), "e": (1, 2)})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "an update is a document"),
        ({"x": 1}, r"'\$set', or replace_one"),
        ({"$sett": {"x": 1}}, r"did you mean '\$set'"),
        ({"$set": 3}, "as a document"),
        ({"$inc": {"x": "1"}}, "takes a number"),
        ({"$inc": {"x": True}}, "takes a number"),
        ({"$push": {"x": {"$eech": [1]}}}, r"did you mean '\$each'"),
        ({"$push": {"x": {"$each": 1}}}, "takes a list"),
        ({"$set": {"x": 1}, "$inc": {"x": 1}}, "at once"),
        ({"$set": {"x": {}}, "$unset": {"x.y": ""}}, "at once"),
    ],
)
def test_a_wrong_update_says_what_is_wrong(document: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_update(document)


def test_projections_are_read() -> None:
    assert parse_projection(None) == (None, ())
    assert parse_projection(["x", "y"]) == (("x", "y"), ())
    assert parse_projection({"x": 1, "_id": 0}) == (("x",), ())
    assert parse_projection({"x": 0}) == (None, ("x",))
    for wrong in ({"x": 1, "y": 0}, {"x": 2}, "x", {"x.y": 1}):
        with pytest.raises(QueryError):
            parse_projection(wrong)


def test_orders_are_read() -> None:
    assert parse_sort("x") == (("x", 1),)
    assert parse_sort("x", -1) == (("x", -1),)
    assert parse_sort([("x", -1), "y"]) == (("x", -1), ("y", 1))
    assert parse_sort({"x": -1}) == (("x", -1),)
    assert parse_sort(("x", -1)) == (("x", -1),)
    for wrong in ({"x": 2}, 3, [("x", "down")], [("x", True)], [3]):
        with pytest.raises(QueryError):
            parse_sort(wrong)
    for number in (-1, True, "3", 1.0):
        with pytest.raises(QueryError):
            parse_window("limit", number)


def test_values_are_replaced_where_they_stand_and_nulls_are_left() -> None:
    filter = parse_filter({"$or": [{"x": 1}, {"$not": {"y": {"$in": [2, None]}}}], "z": {"$regex": "a"}, "w": None})
    mapped = map_values(filter, lambda field, value: f"{field}={value}")
    assert mapped == parse_filter(
        {"$or": [{"x": "x=1"}, {"$not": {"y": {"$in": ["y=2", None]}}}], "z": {"$regex": "a"}, "w": None}
    )
    assert [leaf.field for leaf in leaves(filter)] == ["x", "y", "z", "w"]
    update = map_update(parse_update({"$set": {"a": 1, "b": None}, "$push": {"c": 2}}), lambda field, value: -value)  # type: ignore[operator]
    assert update == Update(set={"a": -1, "b": None}, push={"c": (-2,)})


def test_a_projection_that_is_no_list_is_refused() -> None:
    with pytest.raises(QueryError, match="a projection is a list or a document of fields, not a int"):
        parse_projection(5)  # type: ignore[arg-type]
