"""Changing rows: updates, replacing, deleting, and what two writers do to each other."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import pytest

from superduper.backends.base.data_backend import DataBackend
from superduper.errors import DuplicateKey, QueryError, SchemaMismatch
from superduper.query.ast import And
from superduper.query.parse import parse_filter, parse_update
from superduper.query.tables import TableDef

from .conftest import EVERYTHING, SYSTEMS, System, empty, find


def change(backend: DataBackend, table: TableDef, filter: Any, update: Any, *, many: bool = True) -> list[Any]:
    return backend.update(table, parse_filter(filter), parse_update(update), many=many)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"$set": {"n": 5}}, {"n": 5}),
        ({"$set": {"n": None}}, {"n": None}),
        ({"$set": {"f": 3}}, {"f": 3.0}),
        ({"$set": {"meta": {"z": 1}}}, {"meta": {"z": 1}}),
        ({"$set": {"raw": b"\x00", "b": False}}, {"raw": b"\x00", "b": False}),
        ({"$unset": {"s": ""}}, {"s": None}),
        ({"$unset": "s"}, {"s": None}),
        ({"$inc": {"n": 2, "f": 0.5}}, {"n": 3, "f": 1.5}),
        ({"$set": {"meta.k": 9, "meta.new.deep": 1}}, {"meta": {"k": 9, "list": [1], "new": {"deep": 1}}}),
        ({"$unset": {"meta.k": ""}}, {"meta": {"list": [1]}}),
        ({"$inc": {"meta.k": 2}}, {"meta": {"k": 3, "list": [1]}}),
        ({"$push": {"meta.list": 2}}, {"meta": {"k": 1, "list": [1, 2]}}),
        (
            {"$push": {"meta.list": {"$each": [2, "x"]}, "meta.other": None}},
            {"meta": {"k": 1, "list": [1, 2, "x"], "other": [None]}},
        ),
        ({"$set": {"s": "t"}, "$inc": {"n": 1}, "$unset": {"f": ""}}, {"s": "t", "n": 2, "f": None}),
    ],
)
def test_an_update_changes_what_it_names(
    backend: DataBackend, things: TableDef, update: Any, expected: dict[str, object]
) -> None:
    row = empty("a", n=1, f=1.0, s="s", b=True, meta={"k": 1, "list": [1]})
    backend.insert(things, [row, empty("b", n=7)])
    assert change(backend, things, {"id": "a"}, update) == ["a"]
    assert find(backend, things) == [row | expected, empty("b", n=7)]


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"$inc": {"n": 2, "f": 0.5}}, {"n": 2, "f": 0.5}),
        ({"$push": {"meta": 1}}, {"meta": [1]}),
        ({"$set": {"meta.a.b": 1}}, {"meta": {"a": {"b": 1}}}),
        ({"$inc": {"meta.a": 1}}, {"meta": {"a": 1}}),
        ({"$unset": {"meta.a": ""}}, {"meta": None}),
    ],
)
def test_an_update_begins_from_nothing_at_a_null(
    backend: DataBackend, things: TableDef, update: Any, expected: dict[str, object]
) -> None:
    backend.insert(things, [empty("a"), {"id": "b"}])
    assert change(backend, things, {}, update) == ["a", "b"]
    assert find(backend, things) == [empty("a", **expected), empty("b", **expected)]


def test_update_one_takes_the_first_by_key_and_tells_it(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty("b", n=1), empty("a", n=1), empty("c", n=2)])
    assert change(backend, things, {"n": 1}, {"$set": {"n": 9}}, many=False) == ["a"]
    assert change(backend, things, {"n": 1}, {"$push": {"meta": 1}}, many=False) == ["b"]
    assert change(backend, things, {"n": 77}, {"$set": {"n": 9}}, many=False) == []
    assert change(backend, things, {"n": 77}, {"$push": {"meta": 1}}) == []
    assert [row["n"] for row in find(backend, things)] == [9, 1, 2]


def test_an_update_that_moves_rows_out_of_its_filter_meets_each_once(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty(f"{number:05}", n=number % 2) for number in range(2500)])
    assert len(change(backend, things, {"n": {"$gte": 0}}, {"$inc": {"n": -1}})) == 2500
    assert backend.count(things, parse_filter({"n": 0})) == 1250
    assert len(change(backend, things, {}, {"$set": {"n": 5}})) == 2500


@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        ({"$set": {"id": "z"}}, QueryError, "primary key"),
        ({"$set": {"n": "x"}}, SchemaMismatch, "'n'"),
        ({"$set": {"n": 2**63}}, SchemaMismatch, "64 bits"),
        ({"$inc": {"s": 1}}, QueryError, r"\$inc"),
        ({"$inc": {"n": 1.5}}, SchemaMismatch, "'n'"),
        ({"$push": {"s": 1}}, QueryError, r"\$push"),
        ({"$set": {"s.x": 1}}, QueryError, "reaches into"),
        ({"$inc": {"n": 2**63 - 1}}, SchemaMismatch, "64 bits"),
    ],
)
def test_an_update_that_does_not_fit_changes_nothing(
    backend: DataBackend, things: TableDef, update: Any, error: type[Exception], message: str
) -> None:
    rows = [empty("a", n=1, s="s"), empty("b", n=2, s="t")]
    backend.insert(things, rows)
    with pytest.raises(error, match=message):
        change(backend, things, {}, update)
    assert find(backend, things) == rows


def test_replace_puts_a_whole_row_in_the_place_of_the_first(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty("b", n=1, s="x"), empty("a", n=1, s="y")])
    assert backend.replace(things, parse_filter({"n": 1}), {"f": 2.0}) == ["a"]
    assert backend.replace(things, parse_filter({"id": "b"}), {"id": "b", "s": "z"}) == ["b"]
    assert backend.replace(things, parse_filter({"id": "q"}), {"f": 2.0}) == []
    assert find(backend, things) == [empty("a", f=2.0), empty("b", s="z")]
    with pytest.raises(QueryError, match="cannot change"):
        backend.replace(things, parse_filter({"id": "b"}), {"id": "c"})
    with pytest.raises(SchemaMismatch, match="'n'"):
        backend.replace(things, parse_filter({"id": "b"}), {"n": "x"})


def test_delete_removes_the_first_or_all_and_tells_the_keys(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty(key, n=number) for number, key in enumerate("dcba")])
    assert backend.delete(things, parse_filter({"n": {"$gte": 1}}), many=False) == ["a"]
    assert backend.delete(things, parse_filter({"n": {"$gte": 1}}), many=True) == ["b", "c"]
    assert backend.delete(things, parse_filter({"n": 99}), many=True) == []
    assert [row["id"] for row in find(backend, things)] == ["d"]
    assert backend.delete(things, And(()), many=True) == ["d"]


def test_a_transaction_keeps_all_or_nothing(backend: DataBackend, things: TableDef) -> None:
    if not backend.abilities.transactions:
        return
    backend.insert(things, [empty("a", n=1)])
    with pytest.raises(DuplicateKey), backend.transaction():
        backend.insert(things, [empty("b")])
        change(backend, things, {}, {"$set": {"n": 5}})
        assert [row["n"] for row in find(backend, things)] == [5, 5]
        backend.insert(things, [empty("a")])
    assert find(backend, things) == [empty("a", n=1)]
    with backend.transaction():
        backend.insert(things, [empty("b")])
    assert backend.count(things, And(())) == 2


def test_threads_that_write_at_once_lose_nothing(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty("sum", n=0)])
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                backend.insert(things, [empty(f"{number}-{turn}")])
                change(backend, things, {"id": "sum"}, {"$inc": {"n": 1}})
                find(backend, things)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert find(backend, things, {"id": "sum"})[0]["n"] == 40
    assert backend.count(things, And(())) == 41


def _write(name: str, uri: str, number: int) -> None:
    backend = SYSTEMS[name].open(uri)
    backend.create_table(EVERYTHING)
    for turn in range(10):
        backend.insert(EVERYTHING, [empty(f"{number}-{turn}-{part}") for part in range(5)])
        change(backend, EVERYTHING, {"id": "sum"}, {"$inc": {"n": 1}})
    backend.close()


def test_processes_that_write_at_once_lose_nothing(backend: DataBackend, system: System, uri: str) -> None:
    if not system.shared:
        return
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("sum", n=0)])
    name = next(name for name, known in SYSTEMS.items() if known == system)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(name, uri, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert backend.count(EVERYTHING, And(())) == 151
    assert find(backend, EVERYTHING, {"id": "sum"})[0]["n"] == 30


def test_a_forked_child_reads_and_writes_by_itself(backend: DataBackend, system: System, things: TableDef) -> None:
    if not system.shared:
        return
    backend.insert(things, [empty("parent")])

    def child() -> None:
        assert backend.count(things, And(())) == 1
        backend.insert(things, [empty("child")])

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert [row["id"] for row in find(backend, things)] == ["child", "parent"]


@pytest.mark.parametrize("held", [{"k": 1}, [1], "text", 5, True], ids=repr)
@pytest.mark.parametrize("update", [{"$push": {"meta": 1}}, {"$inc": {"meta": 1}}, {"$set": {"meta.x.y": 1}}], ids=str)
def test_an_update_of_what_a_json_field_does_not_hold_changes_nothing(
    backend: DataBackend, things: TableDef, update: Any, held: Any
) -> None:
    (operator,) = update
    fits = {"$push": list, "$inc": int, "$set": dict}[operator]
    rows = [empty("a", meta={"$push": [0], "$inc": 0, "$set": {}}[operator]), empty("b"), empty("c", meta=held)]
    backend.insert(things, rows)
    if type(held) is fits:
        assert change(backend, things, {}, update) == ["a", "b", "c"]
        return
    with pytest.raises(
        SchemaMismatch, match=rf"field '{next(iter(update[operator]))}': .*holds a {type(held).__name__}"
    ):
        change(backend, things, {}, update)
    assert find(backend, things) == rows
