"""``superduper('http://…')``: the same walk gives the same documents as the datalayer itself; models run on the server."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from superduper import DataType, Document, Listener, Metric, Model, ObjectModel, Table, superduper
from superduper.datalayer import Datalayer
from superduper.errors import AccessDenied, DuplicateKey, ModelError, NotFound, Unsupported
from superduper.remote import RemoteDatalayer
from tests.servers.datalayer import SeamsServer

VALUE = {"frames": [1, 2, 3], "of": ("any", "type")}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def db(http_sqlite_uri: str) -> Iterator[Datalayer]:
    with superduper(http_sqlite_uri, home=".superduper") as made:
        assert isinstance(made, RemoteDatalayer)
        yield made


def walk(db: Datalayer) -> list[Any]:
    """What a user does, and all that is seen of it."""
    seen: list[Any] = []
    thing = DataType("thing", encoder=pickle.dumps, decoder=pickle.loads, encodable="artifact")
    lazy = DataType("lazy", codec="text", encodable="lazy_artifact")
    folder = DataType("folder", encodable="file")
    db.apply(Table("clips", fields={"thing": thing, "text": lazy, "path": folder, "at": "datetime", "n": "int"}))
    Path("take/one").mkdir(parents=True, exist_ok=True)
    Path("take/one/sound").write_bytes(b"\x00\x01")
    at = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
    rows = [
        Document(
            {"id": f"r{n}", "thing": {**VALUE, "n": n}, "text": f"text {n} " * 50, "path": "./take", "at": at, "n": n}
        )
        for n in range(60)
    ]
    seen.append(db.insert("clips", rows).ids)
    found = db["clips"].find({"n": {"$gt": 40}}).sort("n", -1).limit(3).execute()
    seen += [(dict(row.unpack()), (Path(row.unpack()["path"]) / "one" / "sound").read_bytes()) for row in found]
    handle = db["clips"].find_one({"id": "r7"}).execute()["text"]
    seen.append((repr(handle.x), handle.size, handle.read_ranges([(2, 6)])))
    with pytest.raises(DuplicateKey) as caught:
        db.insert("clips", rows[:2])
    seen.append((str(caught.value), caught.value.keys))
    seen.append(db["clips"].update_many({"n": {"$lt": 3}}, {"$inc": {"n": 100}}).execute().ids)
    seen.append(db["clips"].replace_one({"id": "r5"}, {"n": 55, "thing": 1}).execute().ids)
    seen.append(db["clips"].delete_many({"n": {"$gte": 58, "$lt": 100}}).execute().ids)
    seen.append(db["clips"].distinct("n", {"n": {"$gt": 50}}).execute())
    seen.append(db["clips"].count_documents().execute())
    with pytest.raises(NotFound) as missing:
        db["clps"].find().execute()
    seen.append(str(missing.value))

    square = ObjectModel("square", object=lambda n: n * n)
    db.apply(Listener(model=square, key="n", select=db["clips"].find({"n": {"$lt": 50}})))
    db.run("square")
    seen.append(db.coverage("square"))
    db.insert("clips", [{"id": "new", "n": 7}])
    db.run("square")
    outputs = db["clips"].find({"id": {"$in": ["new", "r9", "r55"]}}).sort("id").outputs("square").execute()
    seen += [row["_outputs"] for row in outputs]
    seen.append((db.predict("square", 12), db.errors("square")))

    db.apply(Metric("worst", lambda targets, found: max(abs(t - f) for t, f in zip(targets, found, strict=True))))
    model = Model(
        "double",
        object=lambda rate, n: rate * n,
        training={"table": "clips", "inputs": ["n"], "target": "n", "object": lambda xs, ys: 2.0},
        predict={"table": "clips", "inputs": ["n"], "output": {"type": "float"}, "filter": {"n": {"$gte": 0}}},
        validation={"table": "clips", "target": "n", "filter": {"n": {"$lt": 10, "$gte": 0}}, "metrics": ["worst"]},
    )
    db.apply(model)
    db.run("double")
    seen.append((db.coverage("double"), db.predict("double", 4.0), db.validate("double")))
    seen.append((db.show(), db.show("model", "square"), db.show("table", "clips", -1)["spec"]["fields"].keys()))
    seen.append((db.gc(dry_run=True).removed, db.verify()))
    db.remove("model", "square", force=True)
    seen.append(db.show("model"))
    return seen


def plain(seen: list[Any]) -> str:
    """As text, without the ids that MongoDB makes up."""
    return re.sub(r"ObjectId\('\w+'\)", "ObjectId", "\n".join(map(repr, seen)))


def test_the_same_walk_gives_the_same_documents_as_the_datalayer_itself(db: Datalayer) -> None:
    with superduper("sqlite://here.db", home=".superduper") as embedded:
        expected = plain(walk(embedded))
    assert plain(walk(db)) == expected


@pytest.mark.parametrize("kind", ["http_postgres_uri", "http_mongo_uri"])
def test_and_over_the_other_databases(kind: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue(kind)
    beneath = uri_beneath(request.getfixturevalue("seams_server"), uri)
    with superduper(uri, home=".superduper") as remote:
        expected = plain(walk(remote))
        assert remote.drop(force=True)
        assert remote.show() == []
    with superduper(beneath, artifact_store="filesystem://./artifacts", home=".superduper") as embedded:
        assert plain(walk(embedded)) == expected


def test_and_through_superduper_serve_itself(tmp_path: Path) -> None:
    environment = os.environ | {"SUPERDUPER_TOKEN": "s3cret", "SUPERDUPER_HOME": str(tmp_path / "server")}
    command = [sys.executable, "-m", "superduper", "serve", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://[\d.:]+", server.stdout.readline())
            assert address is not None
            with pytest.raises(AccessDenied, match="none was given"):
                superduper(address[0])
            with superduper(address[0], token="s3cret", home=".superduper") as remote:
                found = plain(walk(remote))
        finally:
            server.terminate()
            assert server.wait(60) == 0
    with superduper("sqlite://here.db", home=".superduper") as embedded:
        assert plain(walk(embedded)) == found


def uri_beneath(server: SeamsServer, uri: str) -> str:
    """The database behind a datalayer of the test server."""
    import json

    stores = json.loads((server.directory / "datalayers" / f"{uri.rpartition('/')[2]}.json").read_text())
    return str(stores["databackend"])


def test_models_run_on_the_server_and_not_here(db: Datalayer) -> None:
    db.insert("numbers", [{"id": str(n), "n": n} for n in range(20)])
    db.apply(
        Listener(
            model=ObjectModel("pid", object=lambda n: __import__("os").getpid()), key="n", select=db["numbers"].find()
        )
    )
    assert db.coverage("pid").pending == 20
    jobs = db.run("pid")
    assert [(job.kind, job.rows) for job in jobs] == [("predict", 20)]
    pids = {row["_outputs"]["pid"] for row in db["numbers"].find().outputs("pid").execute()}
    assert len(pids) == 1
    assert os.getpid() not in pids | {db.predict("pid", 1)}


def test_writes_mark_results_and_the_next_run_computes_these_alone(db: Datalayer) -> None:
    db.insert("numbers", [{"id": str(n), "n": n} for n in range(20)])
    db.apply(Listener(model=ObjectModel("twice", object=lambda n: 2 * n), key="n", select=db["numbers"].find()))
    db.run("twice")
    ids, jobs = db["numbers"].update_many({"n": {"$lt": 3}}, {"$inc": {"n": 100}}).execute()
    assert (len(ids), jobs) == (3, [])
    assert db.coverage("twice").pending == 3
    told: list[Any] = []
    db.upkeep.progress = lambda *words: told.append(words)
    assert [job.rows for job in db.run("twice")] == [3]
    assert db["numbers"].find_one({"id": "0"}).outputs("twice").execute()["_outputs"]["twice"] == 200


def test_progress_of_a_slow_run_is_told(db: Datalayer) -> None:
    db.insert("numbers", [{"id": str(n), "n": n} for n in range(30)])
    slow = ObjectModel("slow", object=lambda n: (__import__("time").sleep(0.1), n)[1])
    db.apply(Listener(model=slow, key="n", select=db["numbers"].find()))
    told: list[Any] = []
    db.upkeep.progress = lambda *words: told.append(words)
    db.run("slow")
    assert told
    assert {name for name, *_ in told} == {"slow"}
    assert all(0 <= done <= total == 30 for _, done, _, total in told)


def test_a_models_error_is_the_users_error_here(db: Datalayer) -> None:
    db.insert("numbers", [{"id": str(n), "n": n} for n in range(4)])
    db.apply(Listener(model=ObjectModel("odd", object=lambda n: 1 // (n % 2)), key="n", select=db["numbers"].find()))
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        db.predict("odd", 2)
    db.run("odd")
    assert [one["row"] for one in db.errors("odd")] == ["0", "2"]
    db["numbers"].update_many({}, {"$set": {"n": 1}}).execute()
    db.run("odd", retry=True)
    assert db.errors("odd") == []


def test_arrays_go_to_the_model_and_come_back(db: Datalayer) -> None:
    import numpy as np

    db.insert("numbers", [{"id": "a", "n": 1}])
    db.apply(ObjectModel("same", object=lambda x: x))
    array = np.arange(6).reshape(2, 3)
    assert (db.predict("same", array) == array).all()
    for value in (None, 2**40, "text", b"\x00", {"a": [1]}, ("a", 1), np.float32(1.5)):
        assert db.predict("same", value) == value


def test_expressions_of_the_databases_client_are_refused_in_words(db: Datalayer) -> None:
    db.insert("numbers", [{"id": "a", "n": 1}])
    t = db["numbers"]
    with pytest.raises(Unsupported, match="not sent over HTTP.*find, update_many"):
        t.group_by("n").execute()
    with pytest.raises(AttributeError, match="did you mean 'find'"):
        t.fnd  # noqa: B018
    with pytest.raises(Unsupported, match="with the server"):
        db.databackend.conn  # noqa: B018
    assert not hasattr(t, "_repr_html_")


def test_a_process_that_runs_models_itself_may_use_the_server_for_its_stores(http_sqlite_uri: str) -> None:
    with superduper(http_sqlite_uri, defer=True) as db:
        assert type(db) is Datalayer
        db.insert("numbers", [{"id": str(n), "n": n} for n in range(5)])
        here = ObjectModel("pid", object=lambda n: __import__("os").getpid())
        db.apply(Listener(model=here, key="n", select=db["numbers"].find()))
        assert db.coverage("pid").pending == 5
        db.run("pid")
        assert {row["_outputs"]["pid"] for row in db["numbers"].find().outputs("pid").execute()} == {os.getpid()}


def test_one_part_may_be_served_and_the_others_not(http_sqlite_uri: str) -> None:
    with superduper("sqlite://rows.db", artifact_store=http_sqlite_uri, home=".superduper") as db:
        assert type(db) is Datalayer
        db.apply(Table("clips", fields={"clip": DataType("kind", codec="pickle", encodable="artifact")}))
        db.insert("clips", [{"id": "a", "clip": VALUE}])
        assert db["clips"].find_one({"id": "a"}).execute()["clip"] == VALUE
        assert db.artifact_store.head(hashlib.sha1(pickle.dumps(VALUE, protocol=4)).hexdigest()) is not None


LARGE = """
import resource, sys
from superduper.backends.http.artifacts import HttpArtifactStore

store = HttpArtifactStore(sys.argv[1])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put('big', (bytes(1 << 20) for _ in range(400)))
assert store.head('big').size == 400 << 20
for at in range(0, 400 << 20, 4 << 20):
    assert len(store.get_range('big', at, 4 << 20)) == 4 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


def test_a_large_object_takes_little_memory_on_either_side(http_sqlite_uri: str, seams_server: SeamsServer) -> None:
    server = int((seams_server.directory / "server.pid").read_text())
    before = peak(server)
    done = subprocess.run([sys.executable, "-c", LARGE, http_sqlite_uri], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000
    assert peak(server) - before < 80_000


def peak(pid: int) -> int:
    """Most memory that a process has had, in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
