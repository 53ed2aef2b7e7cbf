"""What is DuckDB's own: one process per file, no savepoints, no forks, metadata beside it."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from superduper import superduper
from superduper.datalayer import default_metadata
from superduper.errors import DuplicateKey, StoreError, Unreachable, UriError
from superduper.query.ast import And, Select
from superduper.query.parse import parse_filter, parse_update
from superduper.uris import anchored

from .conftest import EVERYTHING, SYSTEMS, empty, find

OPEN = (
    "import sys\n"
    "from superduper.backends.duckdb.data_backend import DuckDBDataBackend\n"
    "backend = DuckDBDataBackend(sys.argv[1])\n"
    "print('open', flush=True)\n"
    "sys.stdin.read()\n"
    "backend.close()\n"
)


def test_a_file_that_another_process_has_open_names_that_process_and_is_free_when_it_ends(duckdb_uri: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN, duckdb_uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(Unreachable, match=rf"another process has it open: .*PID {other.pid}\).*over HTTP"):
            SYSTEMS["duckdb"].open(duckdb_uri)
        other.communicate("")
    SYSTEMS["duckdb"].open(duckdb_uri).close()


def test_two_handles_of_one_process_see_the_same_rows(duckdb_uri: str) -> None:
    one, two = SYSTEMS["duckdb"].open(duckdb_uri), SYSTEMS["duckdb"].open(duckdb_uri)
    one.create_table(EVERYTHING)
    one.insert(EVERYTHING, [empty("a", n=1)])
    assert find(two, EVERYTHING) == [empty("a", n=1)]
    one.close()
    two.insert(EVERYTHING, [empty("b")])
    assert two.count(EVERYTHING, And(())) == 2
    two.close()


def test_a_refused_key_within_a_transaction_may_be_caught_and_the_rest_is_kept(duckdb_uri: str) -> None:
    backend = SYSTEMS["duckdb"].open(duckdb_uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", n=1)])
    with backend.transaction():
        backend.insert(EVERYTHING, [empty("b")])
        with pytest.raises(DuplicateKey, match="'a'"):
            backend.insert(EVERYTHING, [empty("c"), empty("a")])
    assert [row["id"] for row in find(backend, EVERYTHING)] == ["a", "b"]
    backend.close()


def test_another_failure_that_is_caught_within_a_transaction_undoes_it_and_says_so(duckdb_uri: str) -> None:
    backend = SYSTEMS["duckdb"].open(duckdb_uri)
    backend.create_table(EVERYTHING)

    def write() -> None:
        with backend.transaction():
            backend.insert(EVERYTHING, [empty("a")])
            with pytest.raises(ZeroDivisionError), backend.transaction():
                backend.insert(EVERYTHING, [empty("b")])
                1 / 0  # noqa: B018

    with pytest.raises(StoreError, match="no savepoints"):
        write()
    assert find(backend, EVERYTHING) == []
    backend.insert(EVERYTHING, [empty("c")])
    assert backend.count(EVERYTHING, And(())) == 1
    backend.close()


def test_a_key_may_be_deleted_and_inserted_again_within_one_transaction(duckdb_uri: str) -> None:
    backend = SYSTEMS["duckdb"].open(duckdb_uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", n=1)])
    with backend.transaction():
        backend.delete(EVERYTHING, parse_filter({"id": "a"}), many=True)
        backend.insert(EVERYTHING, [empty("a", n=2)])
    assert find(backend, EVERYTHING) == [empty("a", n=2)]
    backend.close()


def test_a_result_that_is_not_read_to_its_end_disturbs_nothing_within_a_transaction(duckdb_uri: str) -> None:
    backend = SYSTEMS["duckdb"].open(duckdb_uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty(f"{number:04}", n=number) for number in range(3000)])
    with backend.transaction():
        batches = backend.select(EVERYTHING, Select("things"), batch=100)
        next(batches)
        backend.insert(EVERYTHING, [empty("x")])
        assert len(next(batches)) == 100
    assert backend.count(EVERYTHING, And(())) == 3001
    backend.close()


def test_nan_is_set_by_an_update_too(duckdb_uri: str) -> None:
    backend = SYSTEMS["duckdb"].open(duckdb_uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", f=0.1), empty("b", f=math.nan), empty("c", f=1 / 3)])
    backend.update(EVERYTHING, parse_filter({"id": "a"}), parse_update({"$set": {"f": math.nan}}), many=True)
    assert [str(row["f"]) for row in find(backend, EVERYTHING)] == ["nan", "nan", str(1 / 3)]
    backend.close()


@pytest.mark.parametrize("uri", ["duckdb://data.duckdb", "duckdb:///data.duckdb", "duckdb://./data.duckdb"])
def test_files_are_relative_to_the_working_folder(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SYSTEMS["duckdb"].open(uri).close()
    assert (tmp_path / "data.duckdb").exists()
    assert anchored(uri, tmp_path) == f"duckdb:///{tmp_path}/data.duckdb"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.duckdb").write_text("this is a text, and no database at all; " * 500)
    with pytest.raises(UriError, match="not a database of DuckDB"):
        SYSTEMS["duckdb"].open(f"duckdb:///{tmp_path}/x.duckdb")
    with pytest.raises(UriError, match="folder"):
        SYSTEMS["duckdb"].open(f"duckdb:///{tmp_path}/")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("duckdb://shop.duckdb", "sqlite://shop-metadata.db"),
        ("duckdb:////data/digits.duckdb", "sqlite:////data/digits-metadata.db"),
        ("duckdb://", "sqlite:///home/metadata.db"),
        ("duckdb://:memory:", "sqlite:///home/metadata.db"),
    ],
)
def test_metadata_lies_in_a_sqlite_file_beside_it(uri: str, expected: str) -> None:
    assert default_metadata(uri, "home") == expected


def test_a_datalayer_on_duckdb_keeps_rows_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with superduper("duckdb://d.duckdb") as db:
        db["docs"].insert_many([{"id": f"{n}", "n": n, "any": {"a", n}} for n in range(5)]).execute()
    with superduper("duckdb://d.duckdb") as db:
        found = [row.unpack() for row in db["docs"].find({"n": {"$gte": 3}}).execute()]
        assert [(row["id"], row["any"]) for row in found] == [("3", {"a", 3}), ("4", {"a", 4})]
    assert (tmp_path / "d-metadata.db").exists()
