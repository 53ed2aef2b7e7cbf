"""A reader decides how much is in memory: nothing behind it holds what it has let go."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from superduper import Datalayer, DataType, Listener, ObjectModel, Table, superduper


@pytest.fixture
def db(tmp_path: Path) -> Datalayer:
    found = superduper(f"sqlite:///{tmp_path}/rows.db", artifact_store=f"filesystem://{tmp_path}/artifacts")
    lazy = DataType("lazy", codec="bytes", encodable="lazy_artifact")
    found.apply(Table("docs", fields={"id": "int", "x": lazy, "n": "int"}))
    found.insert("docs", [{"id": i, "x": bytes([i]), "n": i} for i in range(100)])
    return found


@pytest.mark.parametrize("outputs", [False, True], ids=["rows alone", "rows with outputs"])
def test_a_handle_and_its_payload_are_let_go_with_the_document_that_held_them(db: Datalayer, outputs: bool) -> None:
    query = db["docs"].find()
    if outputs:
        db.apply(Listener(ObjectModel("double", object=lambda n: 2 * n, datatype="int"), key="n", select=query))
        query = query.outputs("double")
    handles: list[weakref.ref[object]] = []
    most = 0
    cursor = iter(query.execute())
    for _ in range(100):
        document = next(cursor)
        document["x"].unpack()
        handles.append(weakref.ref(document["x"]))
        del document
        most = max(most, sum(ref() is not None for ref in handles))
    gc.collect()
    assert len(handles) == 100
    assert most <= 2
    db.close()
