"""``defer``: writes and ``apply`` mark results, and somebody else runs the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, ObjectModel, Table, superduper

CALLS: list[Any] = []


def tenfold(x: int) -> int:
    import sys

    # Loaded code has globals of its own.
    sys.modules["tests.unit.test_defer"].CALLS.append(x)
    return x * 10


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Datalayer]:
    CALLS.clear()
    folder = str(tmp_path)
    uri = f"sqlite:///{folder}/d.db"
    with superduper(uri, artifact_store=f"filesystem://{folder}/artifacts", home=folder, defer=True) as db:
        db.apply(Table("t", fields={"x": "int"}))
        db["t"].insert_many([{"id": f"r{n}", "x": n} for n in range(3)]).execute()
        yield db


def outputs(db: Datalayer, name: str = "m") -> dict[str, Any]:
    return {row["id"]: row["_outputs"][name] for row in db["t"].outputs(name).execute()}


def test_apply_and_writes_run_nothing_and_say_what_is_pending(db: Datalayer) -> None:
    db.apply(ObjectModel("m", object=tenfold).to_listener(select=db["t"].find(), key="x", identifier="m"))
    assert (CALLS, db.coverage("m").pending) == ([], 3)

    ids, jobs = db["t"].insert_one({"id": "r3", "x": 3}).execute()

    assert (ids, jobs, CALLS, db.coverage("m").pending) == (["r3"], [], [], 4)


def test_what_is_asked_for_runs_and_a_later_write_marks_its_result_stale(db: Datalayer) -> None:
    db.apply(ObjectModel("m", object=tenfold).to_listener(select=db["t"].find(), key="x", identifier="m"))
    db.run("m")
    assert outputs(db) == {"r0": 0, "r1": 10, "r2": 20}
    CALLS.clear()

    _, jobs = db["t"].update_one({"id": "r1"}, {"$set": {"x": 7}}).execute()
    assert (jobs, CALLS, db.coverage("m").pending) == ([], [], 1)
    assert outputs(db)["r1"] is None

    db.run("m")
    assert (CALLS, outputs(db)["r1"]) == ([7], 70)


def test_models_on_the_outputs_of_another_wait_for_their_own_run(db: Datalayer) -> None:
    db.apply(
        ObjectModel("m", object=tenfold, datatype="int").to_listener(select=db["t"].find(), key="x", identifier="m")
    )
    db.apply(
        ObjectModel("n", object=tenfold, datatype="int").to_listener(
            select=db["_outputs__m"].find(), key="output", identifier="n"
        )
    )
    db.run("m")
    assert (len(CALLS), db.coverage("n").pending) == (3, 3)

    db.run("n")
    assert (len(CALLS), db.coverage("n").pending) == (6, 0)
