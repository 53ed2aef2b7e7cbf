"""``superduper('http://…', token=…)`` against the server itself: what is written that way is done there."""

from __future__ import annotations

import pytest

from superduper import ObjectModel, Table, superduper
from superduper.errors import AccessDenied, Unreachable
from tests.integration.server.served import DOUBLE, TOKEN, Served, wait_for


def test_what_is_written_over_http_from_python_is_predicted_by_the_server(server: Served) -> None:
    with superduper(server.urls[0], token=TOKEN) as db:
        db.apply(Table("t", fields={"x": "int"}))
        server.put("Model", "m", **DOUBLE)
        ids, jobs = db["t"].insert_many([{"id": f"r{n}", "x": n} for n in range(5)]).execute()
        assert (len(ids), jobs) == (5, [])
        wait_for("outputs", lambda: server.told("Model", "m")["status"].get("predicted") == 5)
        assert {row["id"]: row["_outputs"]["m"] for row in db["t"].outputs("m").execute()}["r4"] == 8
        assert db.predict("m", 21) == 42

        db.apply(ObjectModel("other", object=len, datatype="int"))
        assert "other" in db.show("model")
        assert [found for found in db.show() if found["type_id"] == "object"] == []


def test_a_wrong_token_is_told_as_such(server: Served) -> None:
    with pytest.raises((AccessDenied, Unreachable), match="token"):
        superduper(server.urls[0], token="wrong")
