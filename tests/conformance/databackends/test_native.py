"""The client's own power: pymongo's methods on MongoDB, ibis expressions on SQL, over the portable builder."""

from __future__ import annotations

from typing import Any

import pytest

from superduper.backends.base.data_backend import DataBackend
from superduper.errors import QueryError
from superduper.query.builder import Collection
from superduper.query.native import Native, steps_of, table_of
from superduper.query.tables import Column, TableDef

from .conftest import System

LEFT = TableDef("t", (Column("id", "str"), Column("x", "int"), Column("_fold", "str")), "id")
RIGHT = TableDef("u", (Column("id", "str"), Column("y", "float")), "id")


class Runner:
    """What the datalayer is to the builder, as far as native expressions go."""

    def __init__(self, backend: DataBackend) -> None:
        self._backend = backend
        self._tables = {"t": LEFT, "u": RIGHT}

    def __getitem__(self, name: str) -> Collection:
        return Collection(name, self)

    def execute(self, query: Any) -> Any:
        assert isinstance(query, Native)
        return self._backend.native(self._tables[table_of(query)], steps_of(query))

    def native_names(self, table: str) -> frozenset[str]:
        return self._backend.native_names(self._tables[table])


@pytest.fixture
def db(backend: DataBackend) -> Runner:
    for table in (LEFT, RIGHT):
        backend.create_table(table)
    backend.insert(
        LEFT, [{"id": key, "x": x, "_fold": "train"} for key, x in zip("abcd", (1, 3, 5, None), strict=True)]
    )
    backend.insert(RIGHT, [{"id": "b", "y": 0.5}, {"id": "c", "y": 1.5}])
    return Runner(backend)


def test_a_native_query_runs(db: Runner, backend: DataBackend) -> None:
    t = db["t"]
    if backend.abilities.native == "pymongo":
        pipeline = [{"$match": {"x": {"$gt": 1}}}, {"$group": {"_id": None, "sum": {"$sum": "$x"}}}]
        assert [row["sum"] for row in t.aggregate(pipeline).execute()] == [8]
        assert t.estimated_document_count().execute() == 4
        return
    u = db["u"]
    assert t.filter(t.x > 1).select("id", "x").order_by("id").execute() == [{"id": "b", "x": 3}, {"id": "c", "x": 5}]
    assert t.filter((t["x"] > 1) & ~(t.x == 5)).count().execute() == 1
    assert t.x.sum().execute() == 9
    assert t.mutate(z=t.x * 2 + 1).filter(t.id.isin(["a"])).select("z").execute() == [{"z": 3}]
    assert t._fold.nunique().execute() == 1
    joined = t.join(u, t.id == u.id).select("id", "x", "y").order_by("id")
    assert joined.execute() == [{"id": "b", "x": 3, "y": 0.5}, {"id": "c", "x": 5, "y": 1.5}]


def test_native_reads_see_what_was_just_written(db: Runner, backend: DataBackend, system: System) -> None:
    count = db["t"].estimated_document_count() if backend.abilities.native == "pymongo" else db["t"].count()
    assert count.execute() == 4
    backend.insert(LEFT, [{"id": "z", "x": 1, "_fold": "train"}])
    assert count.execute() == 5


def test_an_unknown_name_is_an_error_at_once_with_the_nearest(db: Runner, backend: DataBackend) -> None:
    with pytest.raises(AttributeError, match="did you mean 'find'"):
        db["t"].fnd  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean"):
        db["t"].agregate if "aggregate_raw_batches" in backend.native_names(LEFT) else db["t"].selekt


def test_a_wrong_expression_is_an_error_of_ours(db: Runner, backend: DataBackend) -> None:
    if backend.abilities.native == "pymongo":
        with pytest.raises(QueryError):
            db["t"].aggregate(nonsense=1).execute()
        return
    t = db["t"]
    with pytest.raises(QueryError, match="did you mean 'select'"):
        t.limit(1).selekt("id").execute()
    with pytest.raises(QueryError, match="nope"):
        t.select("nope").execute()
