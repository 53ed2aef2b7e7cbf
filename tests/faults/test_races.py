"""A row that is changed by somebody else at the very moment in which a run looks at it."""

from __future__ import annotations

from typing import Any

import pytest

from superduper import Listener, ObjectModel, Table
from superduper.jobs.ledger import STALE
from tests.faults.conftest import Open


def test_a_row_changed_while_its_old_result_is_found_right_is_predicted_again(
    uri: str, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer marks the result, writes, and marks again; the run has read the row before, and takes the mark away after."""
    db = connect(uri)
    db.apply(Table("t", fields={"n": "int"}))
    db.insert("t", [{"id": "a", "n": 0}, {"id": "b", "n": 5}])
    db.apply(Listener(ObjectModel("plus", object=lambda n: n + 1, datatype="int"), key="n", select=db["t"]))
    ledger = db.upkeep.ledger(db.listener("plus"))
    assert ledger is not None
    ledger.mark(["a"], STALE)
    changed: list[bool] = []
    mark = type(ledger).mark

    def marking(self: Any, keys: Any, state: str) -> None:
        if not changed and state == "done":
            changed.append(True)
            db.upkeep.defer = True
            db["t"].update_one({"id": "a"}, {"$set": {"n": 1000}}).execute()
            db.upkeep.defer = False
        mark(self, keys, state)

    monkeypatch.setattr(type(ledger), "mark", marking)
    db.run("plus")
    assert changed, "the run did not keep the result, so that nothing was tried"
    found = {row["id"]: row["_outputs"]["plus"] for row in db["t"].find().outputs("plus").execute()}
    assert found == {"a": 1001, "b": 6}
