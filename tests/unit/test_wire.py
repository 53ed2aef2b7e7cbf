"""What goes over HTTP comes back as it was, or is refused in words."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from superduper import errors, wire
from superduper.errors import (
    ArtifactMissing,
    CodeError,
    DuplicateKey,
    EncodeError,
    MissingExtra,
    QueryError,
    StoreError,
    Unreachable,
    Unsupported,
)
from superduper.query import ast
from superduper.query.tables import Column, TableDef

EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**63 - 1,
        -(2**63),
        2**70,
        2.0,
        math.inf,
        "ü 🜚 \0 \ud800",
        b"\x00\xff",
        {"a": [1, {"b": None}], "": []},
        {1: 2},
        datetime(1931, 1, 1, 0, 0, 0, 123457, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2024, 1, 1, 12, 0, 0, 7),  # noqa: DTZ001 - that it has no zone is kept
    ],
)
def test_a_plain_value_comes_back_equal_and_of_its_type(value: object) -> None:
    found = wire.loads(wire.dumps(value))
    assert (found, type(found)) == (value, type(value))


def test_nan_stays_nan_and_a_moment_stays_that_moment() -> None:
    assert math.isnan(wire.loads(wire.dumps(math.nan)))
    moment = datetime(2024, 1, 1, 3, 0, 0, 123456, tzinfo=EAST)
    found = wire.loads(wire.dumps(moment))
    assert (found, found.tzinfo) == (moment, UTC)


def test_values_of_mongodb_come_back() -> None:
    import bson

    for value in (bson.ObjectId(), bson.Decimal128("1.50"), bson.Regex("a", "i")):
        assert wire.loads(wire.dumps(value)) == value


def test_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    assert wire.loads(wire.dumps([np.float64(1.5)])) == [1.5]


QUERY = ast.Select(
    "t",
    ast.And(
        (
            ast.Compare("x", "gte", 3),
            ast.Or((ast.In("y", ("a", None), negated=True), ast.Not(ast.Exists("z")))),
            ast.Regex("s", "a.b", ignore_case=True),
        )
    ),
    ("x", "y"),
    (),
    (("x", -1),),
    2,
    10,
)


@pytest.mark.parametrize(
    "value",
    [
        QUERY,
        ast.Update(set={"a.b": [1]}, unset=("c",), inc={"n": 1, "f": 0.5}, push={"l": (1, {"x": 2})}),
        TableDef("t", (Column("id", "str"), Column("x", "json")), "id", "schema"),
    ],
)
def test_a_query_comes_back_as_the_same_frozen_tree(value: object) -> None:
    assert wire.loads(wire.dumps(value)) == value


@pytest.mark.parametrize(
    "said",
    [
        ["Popen", "ls"],
        ["Compare", "x", "__import__", 1],
        ["Compare", 3, "eq", 1],
        ["Not", "x"],
        ["And", [1]],
        ["Column", "x", "varchar"],
        ["Compare", "x", "eq", 1, 2],
        [],
    ],
    ids=str,
)
def test_nothing_but_queries_is_made_of_what_arrives(said: list[Any]) -> None:
    import msgpack

    with pytest.raises(QueryError, match="cannot be read"):
        wire.loads(msgpack.packb(msgpack.ExtType(4, wire.dumps(said))))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01", wire.dumps(1) + b"x", b"\xc7\x01\x63x"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(QueryError, match="cannot be read"):
        wire.loads(data)


def test_a_tree_that_is_too_deep_is_refused() -> None:
    deep: Any = ast.Exists("x")
    for _ in range(40):
        deep = ast.Not(deep)
    assert wire.loads(wire.dumps(deep)) == deep
    nested: Any = []
    for _ in range(5000):
        nested, deep = [nested], ast.Not(deep)
    for value in (nested, deep):
        with pytest.raises(EncodeError, match="nest it less deeply"):
            wire.dumps(value)
    with pytest.raises(QueryError, match="cannot be read"):
        wire.loads(b"\x91" * 5000 + b"\x90")


@pytest.mark.parametrize(
    "error",
    [
        DuplicateKey("rows exist", ("a", 1)),
        ArtifactMissing("gone", reference="&:blob:00", store="s").at("t", 3),
        CodeError("no such name", where="Model 'm'", part="source", line=3),
        MissingExtra("httpx", "http", "http://"),
        Unsupported("not here"),
        Unreachable("no answer"),
        KeyError("packs/x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_with_class_message_and_what_it_holds(error: Exception) -> None:
    found = wire.error_from(wire.loads(wire.dumps(wire.error_to(error))))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_every_error_of_ours_can_be_sent() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            found = wire.error_from({"code": name, "message": "words", "attributes": {}})
            assert (type(found), str(found).rpartition(": ")[2]) == (kind, "words")


@pytest.mark.parametrize("said", [None, 3, {"code": "SystemExit", "message": "x"}, {"code": "nearest", "message": "x"}])
def test_an_unknown_error_is_a_store_error(said: object) -> None:
    assert type(wire.error_from(said)) is StoreError


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_frames_are_read_from_pieces_of_any_size(size: int) -> None:
    stream = (
        wire.frame(wire.ITEM, b"one")
        + wire.frame(wire.ALIVE)
        + wire.frame(wire.DATA, b"x" * 999)
        + wire.frame(wire.END)
    )
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    kinds = [(kind, len(payload)) for kind, payload in wire.read_frames(pieces)]
    assert kinds == [(wire.ITEM, 3), (wire.ALIVE, 0), (wire.DATA, 999), (wire.END, 0)]
    unframer = wire.Unframer()
    assert b"".join(part for piece in pieces for part in unframer.feed(piece)) == b"one" + b"x" * 999
    assert unframer.ended


def test_a_stream_that_is_cut_short_is_no_result() -> None:
    stream = wire.frame(wire.ITEM, b"one") + wire.frame(wire.END)
    with pytest.raises(Unreachable, match="broke off"):
        list(wire.read_frames([stream[:-1]]))
