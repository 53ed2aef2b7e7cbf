"""What ``db['t']`` offers: queries as values, errors at once."""

from __future__ import annotations

import copy
from typing import Any

import pymongo
import pytest

import superduper.query as ours
from superduper.errors import QueryError
from superduper.query.ast import Compare, Select, Update
from superduper.query.builder import BulkWrite, Collection, Delete, Find, Insert, Replace, UpdateQuery
from superduper.query.native import Native, steps_of


class Recorder:
    """An executor that hands the query back."""

    def execute(self, query: Any, **_: Any) -> Any:
        return query

    def native_names(self, table: str) -> frozenset[str]:
        return frozenset({"aggregate", "x", "_fold"})


@pytest.fixture
def t() -> Collection:
    return Collection("t", Recorder())


def test_find_chains_into_one_select(t: Collection) -> None:
    query = t.find({"x": 1}, ["x"]).sort("x", -1).skip(2).limit(3).outputs("m")
    assert query.select == Select("t", Compare("x", "eq", 1), ("x",), (), (("x", -1),), 2, 3, ("m",))
    assert t.find(sort="x", skip=2, limit=3).select == t.find().sort("x").skip(2).limit(3).select
    assert query.execute() is query
    assert t.outputs("m").select.outputs == ("m",)


def test_find_one_asks_for_one_and_chains_nothing(t: Collection) -> None:
    query = t.find_one({"x": 1})
    assert (query.one, query.select.limit) == (True, 1)
    with pytest.raises(QueryError, match="does not follow find_one"):
        query.limit(3)


def test_documents_are_kept_as_given_and_not_shown(t: Collection) -> None:
    document = {"x": "secret" * 1000}
    query = t.insert_one(document)
    assert isinstance(query, Insert)
    assert query.documents[0] is document
    assert query.one
    rows = [document, {"x": 1}]
    assert t.insert_many(rows).documents is rows
    for shown in (query, t.replace_one({}, document), t.update_one({}, {"$set": document})):
        assert "secret" not in repr(shown)


def test_writes_are_values(t: Collection) -> None:
    update = t.update_many({"x": 1}, {"$set": {"x": 2}})
    assert isinstance(update, UpdateQuery)
    assert (update.update, update.many, t.update_one({}, {"$inc": {"x": 1}}).many) == (
        Update(set={"x": 2}),
        True,
        False,
    )
    assert isinstance(t.replace_one({"x": 1}, {"x": 2}), Replace)
    assert (t.delete_one({}).many, t.delete_many({}).many) == (False, True)
    assert t.count_documents().filter == t.distinct("x").filter


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t.insert_one([{}]), "one document"),
        (lambda t: t.insert_many({}), "list of documents"),
        (lambda t: t.insert_many([{}, 3]), "item 1"),
        (lambda t: t.delete_many(None), "needs a filter"),
        (lambda t: t.replace_one({}, {"$set": {}}), "update_one"),
        (lambda t: t.find().outputs(), "name of one or more"),
        (lambda t: t.bulk_write([]), "one or more"),
        (lambda t: t.bulk_write([{"insert": 1}]), "InsertOne"),
    ],
)
def test_wrong_arguments_are_refused_at_once(t: Collection, make: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        make(t)


@pytest.mark.parametrize("names", [ours, pymongo], ids=["ours", "pymongo's"])
def test_bulk_write_takes_our_operations_and_pymongos(t: Collection, names: Any) -> None:
    query = t.bulk_write(
        [
            names.InsertOne({"id": 1}),
            names.UpdateOne({"x": 1}, {"$set": {"x": 2}}),
            names.UpdateMany({"x": 1}, {"$set": {"x": 2}}),
            names.ReplaceOne({"x": 1}, {"x": 2}),
            names.DeleteOne({"x": 1}),
            names.DeleteMany({"x": 1}),
        ]
    )
    assert isinstance(query, BulkWrite)
    assert [type(operation) for operation in query.operations] == [
        Insert,
        UpdateQuery,
        UpdateQuery,
        Replace,
        Delete,
        Delete,
    ]
    assert [getattr(operation, "many", None) for operation in query.operations] == [
        None,
        False,
        True,
        None,
        False,
        True,
    ]


def test_pymongos_upsert_is_refused_as_not_portable(t: Collection) -> None:
    with pytest.raises(QueryError, match="upsert"):
        t.bulk_write([pymongo.UpdateOne({}, {"$set": {"x": 1}}, upsert=True)])


def test_a_typo_in_a_method_names_the_nearest(t: Collection) -> None:
    with pytest.raises(AttributeError, match="did you mean 'insert_many'"):
        t.insert_mny  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'aggregate'"):
        t.agregate  # noqa: B018


def test_native_expressions_are_recorded_and_run_later(t: Collection) -> None:
    query = t.aggregate([{"$match": {}}])
    assert isinstance(query, Native)
    assert steps_of(query) == ((".", ("aggregate",), {}), ("()", ([{"$match": {}}],), {}))
    assert query.execute() is query
    assert [step[0] for step in steps_of((1 + t.x * 2 > 3) & ~t._fold)] == [".", "mul", "radd", "gt", "and_"]
    with pytest.raises(TypeError, match="truth value"):
        bool(t.x > 3)
    with pytest.raises(TypeError, match="execute"):
        list(t.x)


def test_collections_and_queries_copy(t: Collection) -> None:
    assert copy.copy(t).name == "t"
    assert isinstance(copy.copy(t.find()), Find)
    assert isinstance(copy.copy(t.x), Native)
