"""Reading: filters with nulls, dotted fields, order, windows, projections, counting, the anti-join."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from superduper.backends.base.data_backend import DataBackend
from superduper.errors import QueryError, Unsupported
from superduper.query.ast import And, Or, Select
from superduper.query.parse import parse_filter, parse_update
from superduper.query.tables import Column, TableDef

from .conftest import empty, find, keys

ROWS = [
    empty("a", n=1, f=1.5, s="apple", b=True, raw=b"1", meta={"size": 3, "tag": "x", "ok": True, "in": {"x": [1, 2]}}),
    empty("b", n=2, f=2.5, s="Banana", b=False, raw=b"2", meta={"size": 10, "tag": "y", "ok": False}),
    empty("c", n=3, f=None, s="ärger", b=None, meta={"size": "3", "tag": None}),
    empty("d", n=None, f=-1.0, s=None, b=True, raw=b"", meta=None, at=datetime(2024, 5, 1, tzinfo=UTC)),
    empty("e", n=-5, f=0.0, s="a.c\nline", meta={"size": 2.5}, at=datetime(2025, 5, 1, tzinfo=UTC)),
]


@pytest.fixture
def rows(backend: DataBackend, things: TableDef) -> TableDef:
    backend.insert(things, ROWS)
    return things


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, "abcde"),
        ({"n": 2}, "b"),
        ({"n": {"$eq": 2}}, "b"),
        ({"n": 2.0}, "b"),
        ({"n": None}, "d"),
        ({"n": {"$ne": 2}}, "acde"),
        ({"n": {"$ne": None}}, "abce"),
        ({"n": {"$gt": 1}}, "bc"),
        ({"n": {"$gt": 1.5}}, "bc"),
        ({"n": {"$gte": 1, "$lt": 3}}, "ab"),
        ({"n": {"$lte": 1}}, "ae"),
        ({"n": {"$in": [1, 3, 99]}}, "ac"),
        ({"n": {"$in": [1, None]}}, "ad"),
        ({"n": {"$in": []}}, ""),
        ({"n": {"$nin": [1, 3]}}, "bde"),
        ({"n": {"$nin": [1, None]}}, "bce"),
        ({"n": {"$nin": []}}, "abcde"),
        ({"n": {"$exists": True}}, "abce"),
        ({"n": {"$exists": False}}, "d"),
        ({"n": {"$not": {"$gt": 1}}}, "ade"),
        ({"$not": {"n": 1, "s": "apple"}}, "bcde"),
        ({"$or": [{"n": 1}, {"s": None}]}, "ad"),
        ({"$and": [{"n": {"$gt": 0}}, {"n": {"$lt": 3}}]}, "ab"),
        ({"$or": [{"$and": [{"n": 1}, {"b": True}]}, {"$not": {"n": {"$exists": True}}}]}, "ad"),
        ({"$not": {"$not": {"n": {"$gt": 1}}}}, "bc"),
        ({"f": {"$gte": 0}}, "abe"),
        ({"f": 0}, "e"),
        ({"b": True}, "ad"),
        ({"b": {"$ne": True}}, "bce"),
        ({"b": {"$in": [True, False]}}, "abd"),
        ({"s": {"$gt": "a"}}, "ace"),
        ({"s": {"$lt": "a"}}, "b"),
        ({"s": {"$regex": "^a"}}, "ae"),
        ({"s": {"$regex": "AN"}}, ""),
        ({"s": {"$regex": "AN", "$options": "i"}}, "b"),
        ({"s": {"$regex": "(?i)AN"}}, "b"),
        ({"s": {"$regex": "c.line"}}, ""),
        ({"s": {"$regex": r"a\.c"}}, "e"),
        ({"s": {"$not": {"$regex": "^a"}}}, "bcd"),
        ({"s": "it's; DROP TABLE things; --"}, ""),
        ({"raw": b"1"}, "a"),
        ({"raw": {"$in": [b"", b"2"]}}, "bd"),
        ({"at": {"$gt": datetime(2024, 6, 1, tzinfo=UTC)}}, "e"),
        ({"at": {"$in": [datetime(2024, 5, 1, tzinfo=UTC)]}}, "d"),
        ({"meta": {"$exists": True}}, "abce"),
        ({"meta": None}, "d"),
        ({"meta.size": 3}, "a"),
        ({"meta.size": "3"}, "c"),
        ({"meta.size": {"$gt": 2}}, "abe"),
        ({"meta.size": {"$in": [10, "3"]}}, "bc"),
        ({"meta.size": {"$nin": [10, "3"]}}, "ade"),
        ({"meta.size": {"$ne": 3}}, "bcde"),
        ({"meta.size": {"$exists": False}}, "d"),
        ({"meta.tag": None}, "cde"),
        ({"meta.tag": {"$regex": "[xy]"}}, "ab"),
        ({"meta.tag": {"$gte": "y"}}, "b"),
        ({"meta.ok": True}, "a"),
        ({"meta.ok": {"$ne": True}}, "bcde"),
        ({"meta.in.x": {"$exists": True}}, "a"),
    ],
)
def test_a_filter_finds_the_same_rows_everywhere(
    backend: DataBackend, rows: TableDef, filter: dict[str, object], expected: str
) -> None:
    assert keys(backend, rows, filter) == list(expected)
    assert backend.count(rows, parse_filter(filter)) == len(expected)


@pytest.mark.parametrize("kind", ["id", "f", "raw", "at"])
def test_long_lists_of_every_type_are_searched(backend: DataBackend, rows: TableDef, kind: str) -> None:
    made = {
        "id": [f"k{number}" for number in range(40_000)] + ["a"],
        "f": [number + 0.25 for number in range(40_000)] + [1.5],
        "raw": [str(number).encode() * 3 for number in range(40_000)] + [b"1"],
        "at": [datetime.fromtimestamp(number, UTC) for number in range(40_000)] + [datetime(2024, 5, 1, tzinfo=UTC)],
    }
    assert keys(backend, rows, {kind: {"$in": made[kind]}}) == (["d"] if kind == "at" else ["a"])


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"nn": 3}, "no field 'nn'; did you mean 'n'"),
        ({"n": "3"}, "'n' is int and cannot be compared with a str"),
        ({"b": 1}, "'b' is bool"),
        ({"s.x": 1}, "reaches into 's'"),
        ({"n": {"$regex": "x"}}, r"\$regex searches texts"),
        ({"meta": {"size": 3}}, "whole documents"),
        ({"n": 2**70}, "64 bits"),
    ],
)
def test_a_filter_that_does_not_fit_the_table_says_why(
    backend: DataBackend, rows: TableDef, filter: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        find(backend, rows, filter)
    with pytest.raises(QueryError, match=message):
        backend.delete(rows, parse_filter(filter), many=True)


def test_empty_and_and_or_mean_all_and_none(backend: DataBackend, rows: TableDef) -> None:
    assert (backend.count(rows, And(())), backend.count(rows, Or(()))) == (5, 0)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("n", "deabc"),
        ([("n", -1)], "cbaed"),
        ({"s": 1}, "dbeac"),
        ([("b", -1), ("id", -1)], "dabec"),
        ([("b", 1)], "cebad"),
        ([("f", 1)], "cdeab"),
        ([("at", -1), ("n", 1)], "edabc"),
        ([("id", -1)], "edcba"),
    ],
)
def test_rows_are_sorted_with_nulls_first(backend: DataBackend, rows: TableDef, sort: object, expected: str) -> None:
    assert [row["id"] for row in find(backend, rows, sort=sort)] == list(expected)


def test_a_field_inside_json_sorts(backend: DataBackend, things: TableDef) -> None:
    backend.insert(
        things, [empty("a", meta={"k": 10}), empty("b", meta={"k": 9}), empty("c"), empty("d", meta={"k": 2.5})]
    )
    assert [row["id"] for row in find(backend, things, sort="meta.k")] == ["c", "d", "b", "a"]


def test_skip_and_limit_cut_a_window(backend: DataBackend, rows: TableDef) -> None:
    assert [row["id"] for row in find(backend, rows, skip=1, limit=2)] == ["b", "c"]
    assert [row["id"] for row in find(backend, rows, skip=4)] == ["e"]
    assert find(backend, rows, skip=9) == []


def test_a_projection_keeps_or_leaves_out_fields(backend: DataBackend, rows: TableDef) -> None:
    assert find(backend, rows, {"id": "a"}, ["n", "id"]) == [{"id": "a", "n": 1}]
    assert find(backend, rows, {"id": "a"}, {"n": 1, "_id": 0}) == [{"n": 1}]
    without = find(backend, rows, {"id": "a"}, {"meta": 0, "raw": 0})[0]
    assert set(without) == {"id", "n", "f", "s", "b", "at", "_fold"}


def test_a_result_is_fetched_as_it_is_read(backend: DataBackend, rows: TableDef) -> None:
    batches = backend.select(rows, Select("things", sort=(("id", 1),)), batch=2)
    assert [row["id"] for row in next(batches)] == ["a", "b"]
    batches.close()  # type: ignore[attr-defined]
    assert backend.count(rows, And(())) == 5


def test_distinct_values_ascend_without_nulls(backend: DataBackend, rows: TableDef) -> None:
    backend.insert(rows, [empty("f", n=1, s="apple", b=True, meta={"size": 3})])
    assert backend.distinct(rows, "n", And(())) == [-5, 1, 2, 3]
    assert backend.distinct(rows, "s", And(())) == ["Banana", "a.c\nline", "apple", "ärger"]
    assert backend.distinct(rows, "b", And(())) == [False, True]
    assert backend.distinct(rows, "at", And(())) == [datetime(2024, 5, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)]
    assert backend.distinct(rows, "meta.size", And(())) == [2.5, 3, 10, "3"]
    assert backend.distinct(rows, "n", parse_filter({"n": {"$gt": 1}})) == [2, 3]
    with pytest.raises(Unsupported, match="single values"):
        backend.distinct(rows, "meta.in", And(()))


OUTPUTS = TableDef("outputs", (Column("id", "str"), Column("version", "str"), Column("stale", "bool")), "id")


def test_the_anti_join_finds_keys_without_outputs(backend: DataBackend, rows: TableDef) -> None:
    backend.create_table(OUTPUTS)
    backend.insert(
        OUTPUTS,
        [
            {"id": "a", "version": "v1", "stale": False},
            {"id": "b", "version": "v0", "stale": False},
            {"id": "c", "version": "v1", "stale": True},
            {"id": "zz", "version": "v1", "stale": False},
        ],
    )
    where = parse_filter({"version": "v1", "stale": False})
    assert list(backend.missing(rows, And(()), OUTPUTS, where)) == [["b", "c", "d", "e"]]
    assert list(backend.missing(rows, parse_filter({"n": {"$ne": None}}), OUTPUTS, where, batch=2)) == [
        ["b", "c"],
        ["e"],
    ]
    assert list(backend.missing(rows, parse_filter({"n": 1}), OUTPUTS, where)) == []


@pytest.mark.parametrize("kind", ["str", "int"])
def test_the_anti_join_goes_on_while_its_outputs_are_written(backend: DataBackend, kind: str) -> None:
    table = TableDef("t", (Column("id", kind), Column("x", "int")), "id")  # type: ignore[arg-type]
    outputs = TableDef("o", (Column("id", kind), Column("y", "int")), "id")  # type: ignore[arg-type]
    backend.create_table(table)
    backend.create_table(outputs)
    made = [number if kind == "int" else f"{number:06}" for number in range(12_000)]
    backend.insert(table, [{"id": key, "x": 1} for key in made])
    backend.insert(outputs, [{"id": key, "y": 0} for key in made if hash(str(key)) % 3])
    expected = [key for key in made if not hash(str(key)) % 3]
    seen: list[object] = []
    for batch in backend.missing(table, And(()), outputs, And(()), batch=700):
        assert len(batch) <= 700
        seen += batch
        backend.upsert(outputs, [{"id": key, "y": 1} for key in batch])
    assert seen == expected
    assert list(backend.missing(table, And(()), outputs, And(()))) == []


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "nn"},
        {"projection": ["id", "nn"]},
        {"projection": {"nn": 0}},
        {"filter": {"$or": [{"n": 1}, {"nn": 1}]}},
    ],
    ids=["sort", "kept", "left out", "inside"],
)
def test_a_misspelt_field_is_an_error_everywhere(backend: DataBackend, rows: TableDef, query: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match="no field 'nn'; did you mean 'n'"):
        find(backend, rows, **query)


def test_a_misspelt_field_is_neither_changed_nor_told_apart(backend: DataBackend, rows: TableDef) -> None:
    before = find(backend, rows)
    with pytest.raises(QueryError, match="no field 'nn'; did you mean 'n'"):
        backend.distinct(rows, "nn", And(()))
    for update in ({"$set": {"nn": 1}}, {"$inc": {"nn": 1}}, {"$unset": {"nn": ""}}):
        with pytest.raises(QueryError, match="no field 'nn'; did you mean 'n'"):
            backend.update(rows, And(()), parse_update(update), many=True)
    assert find(backend, rows) == before


def test_a_field_that_rows_have_is_asked_for_whatever_it_is_near_to(backend: DataBackend, rows: TableDef) -> None:
    if not backend.abilities.schemaless:
        return
    backend.insert(rows, [empty("z", nn=5)])
    assert keys(backend, rows, {"nn": 5}) == ["z"]
    assert backend.distinct(rows, "nn", And(())) == [5]
    assert backend.update(rows, parse_filter({"nn": 5}), parse_update({"$inc": {"nn": 1}}), many=True) == ["z"]
    assert find(backend, rows, {"nn": 6}, ["nn"]) == [{"nn": 6}]
