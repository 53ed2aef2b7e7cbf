"""How many requests it takes: by the batch, never by the row."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from superduper import DataType, Table, superduper
from superduper.datalayer import Datalayer
from superduper.embedded.view import peek
from superduper.jobs import reading
from tests.integration.server.served import TOKEN, Served

ROWS = 120


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, SERVE_SCAN_SECONDS="60").start().ready()
    yield made
    made.stop(signal.SIGKILL)


@pytest.fixture(params=[10, ROWS], ids=["loose", "packed"])
def db(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> Iterator[Datalayer]:
    """Rows with a payload each, inserted so many at a time: few become an object each, many share one."""
    with superduper(served.urls[0], token=TOKEN, defer=True, home=str(tmp_path / "client")) as db:
        lazy = DataType("lazy", codec="pickle", encodable="lazy_artifact")
        db.apply(Table("t", fields={"x": lazy, "n": "int"}))
        for start in range(0, ROWS, request.param):
            db.insert("t", [{"id": f"r{n:03}", "x": {"n": n}, "n": n} for n in range(start, start + request.param)])
        yield db


def requests(served: Served, do: Callable[[], object]) -> int:
    """Those that it takes."""

    def answered() -> int:
        text = served.client.get("/metrics").raise_for_status().text
        return round(sum(float(n) for n in re.findall(r"^superduper_requests_total\{.*\} (\S+)$", text, re.MULTILINE)))

    before = answered()
    do()
    return answered() - before - 1


def test_rows_for_a_model_are_read_with_the_payloads_of_all(db: Datalayer, served: Served) -> None:
    rows = db.upkeep.catalog.rows("t", {})
    seen: list[object] = []

    def read() -> None:
        for part in reading.plain_rows(db.upkeep.stores, rows, ["x"]):
            seen.extend(reading.values(db.upkeep.stores, rows.codec, part, ["x"])["x"])

    assert requests(served, read) < 10
    assert seen == [{"n": n} for n in range(ROWS)]


def test_rows_are_shown_without_a_question_for_each(db: Datalayer, served: Served) -> None:
    shown: list[object] = []
    assert requests(served, lambda: shown.extend(peek(db, "t"))) < 10
    assert len(shown) == ROWS
    assert all(isinstance(row, dict) and row["x"].size for row in shown)


def test_a_few_rows_with_payloads_are_inserted_with_a_request_for_all_payloads(db: Datalayer, served: Served) -> None:
    few, more = ([{"id": f"{count}-{n}", "x": {"of": [count, n]}, "n": n} for n in range(count)] for count in (2, 12))
    first = requests(served, lambda: db.insert("t", few))
    assert requests(served, lambda: db.insert("t", more)) <= first + 1
