"""SIGKILL at random moments: nothing acknowledged is lost, nothing is half-visible, nothing is left over."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from superduper import Datalayer
from tests.faults.killer import BATCH, ROWS, WORK, open_db, payload

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("system", "rounds"), [("sqlite", 25), ("postgres", 10), ("mariadb", 10)])
@pytest.mark.timeout(180)
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(
    request: pytest.FixtureRequest, tmp_path: Path, system: str, rounds: int
) -> None:
    uri = str(request.getfixturevalue(f"{system}_uri"))
    folder = str(tmp_path)
    arguments = [sys.executable, "-m", "tests.faults.killer", uri, folder, str(rounds), "20240712"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    failures = tmp_path / "failures"
    assert not failures.exists(), failures.read_text()
    assert int(done.stdout) == rounds * len(WORK), "each process was killed, none ended by itself"
    acknowledged = set((tmp_path / "acknowledged").read_text().split())
    assert len(acknowledged) > rounds * 5, "the kills left time to work"
    with open_db(uri, folder) as db:
        check_rows(db, acknowledged)
        check_predictions(db, tmp_path, kills=rounds)
        check_store(db, tmp_path)
        check_rows(db, acknowledged)


def check_rows(db: Datalayer, acknowledged: set[str]) -> None:
    """Every row reads and is whole; every insert is there with all its rows; what was acknowledged is there."""
    found: Counter[str] = Counter()
    missing = set(acknowledged)
    for row in db["t"].find().execute():
        assert row["x"] == payload(row["id"])
        found[row["insert"]] += 1
        missing.discard(row["id"])
    assert missing == set()
    assert all(number == (ROWS if int(name.split("-")[1]) % 3 else 3) for name, number in found.items())


def check_predictions(db: Datalayer, tmp_path: Path, kills: int) -> None:
    """What is missing is computed; of what was computed before a kill, at most the batch in flight is again."""
    rows = db["t"].count_documents().execute()
    for name in ("size", "keep"):
        db.run(name)
        coverage = db.coverage(name)
        assert (coverage.rows, coverage.done, coverage.failed, coverage.pending) == (rows, rows, 0, 0)
    calls = Counter((tmp_path / "calls").read_text().split())
    assert len(calls) == rows
    assert calls.total() - rows <= kills * BATCH
    for row in db["t"].outputs("size", "keep").execute():
        assert row["_outputs"] == {"size": len(row["x"]), "keep": row["x"][:16]}
    before = calls.total()
    assert db.run("size") == []
    assert len((tmp_path / "calls").read_text().split()) == before


def check_store(db: Datalayer, tmp_path: Path) -> None:
    """After a collection the store holds what rows and components need, once, and nothing else."""
    db.gc(window=0)
    again = db.gc(window=0, dry_run=True)
    assert (again.removed, again.removed_bytes) == (0, 0)
    assert db.verify() == []
    folder = tmp_path / "artifacts"
    assert [path.name for path in (folder / ".tmp").iterdir()] == []
    assert [path.name for path in folder.glob("leases/*")] == []
    live = set(db.artifacts.index.packs())
    packed = {raw.hex() for pack in live for raw, _, _ in pack.entries()}
    loose = {path.name for path in folder.iterdir() if len(path.name) == 40}
    assert packed.isdisjoint(loose)
    needed = {row["x"] for row in db["t"].find().execute()} | {row["x"][:16] for row in db["t"].find().execute()}
    components = set(db.metadata.artifacts())
    assert len(packed | loose) == len(needed) + len(components)


def test_a_collection_beside_writers_takes_nothing_that_lives(sqlite_uri: str, tmp_path: Path) -> None:
    """The same payloads are deleted and inserted again while a collection without a window runs beside."""
    code = """
        import sys, time
        from superduper.errors import InUse
        from tests.faults.killer import open_db, payload
        with open_db(sys.argv[1], sys.argv[2]) as db:
            end = time.monotonic() + 6
            while time.monotonic() < end:
                if sys.argv[3] == 'gc':
                    try:
                        db.gc(window=0)
                    except InUse:
                        pass
                    continue
                keys = [f'{sys.argv[3]}-{n}' for n in range(int(sys.argv[4]))]
                # All writers store the same few payloads: each is an orphan whenever nobody has it.
                db['t'].insert_many([{'id': key, 'x': payload(str(n)), 'insert': key} for n, key in enumerate(keys)]).execute()
                for row in list(db['t'].find({'id': {'$in': keys}}).execute()):
                    assert row['x'] == payload(row['id'].rpartition('-')[2]), row
                db['t'].delete_many({'id': {'$in': keys}}).execute()
        print('fine')
    """
    import textwrap

    from superduper import DataType, Table

    with open_db(sqlite_uri, str(tmp_path)) as db:
        db.apply(Table("t", fields={"x": DataType("x", codec="bytes", encodable="artifact"), "insert": "str"}))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), sqlite_uri, str(tmp_path), *which],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for which in (("gc",), ("few", "5"), ("many", "30"), ("more", "30"))
    ]  # fmt: skip
    try:
        for process in processes:
            out, err = process.communicate(timeout=60)
            assert out == "fine\n", err
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    with open_db(sqlite_uri, str(tmp_path)) as db:
        db.gc(window=0)
        assert db.gc(window=0, dry_run=True).live == 0
