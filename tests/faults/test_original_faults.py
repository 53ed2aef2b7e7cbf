"""The faults that were reproduced in the original, each absent here. The number is that of the list in docs/faults.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, DataType, Listener, Metric, ObjectModel, Schema, Table, superduper
from superduper.errors import ArtifactError, EncodeError
from tests.faults.conftest import Open

PICKLE = DataType("any", codec="pickle", encodable="artifact")


class Point:
    """An object whose text and hash name its address only."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    __hash__ = object.__hash__


def first_of(targets: Any, _: Any) -> Any:
    return targets


def plus_one(x: int) -> int:
    return x + 1


def test_01_two_contents_under_one_path_are_two_rows(lite: Datalayer, tmp_path: Path) -> None:
    lite.apply(Table("t", fields={"x": DataType("path", encodable="file")}))
    file, folder = tmp_path / "f.txt", tmp_path / "d"
    folder.mkdir()
    for key, text in (("a", "first"), ("b", "second")):
        file.write_text(text)
        (folder / "in.txt").write_text(text)
        lite["t"].insert_many([{"id": f"file-{key}", "x": str(file)}, {"id": f"dir-{key}", "x": str(folder)}]).execute()
    read = {row["id"]: Path(row["x"]) for row in lite["t"].find().execute()}
    assert read["file-a"].read_text() == "first"
    assert read["file-b"].read_text() == "second"
    assert (read["dir-a"] / "in.txt").read_text() == "first"
    assert (read["dir-b"] / "in.txt").read_text() == "second"


def test_02_ids_are_the_content_of_arrays_objects_and_bytes(lite: Datalayer, store_uri: str, tmp_path: Path) -> None:
    import numpy as np

    first = np.zeros(100_000)
    second = first.copy()
    second[50_000] = 1.0
    lite.apply(Table("t", fields={"x": PICKLE}))
    rows = [("a", first), ("b", second), ("p2", Point(2)), ("p3", Point(3)), ("bytes", b"the same bytes")]
    lite["t"].insert_many([{"id": key, "x": value} for key, value in rows]).execute()
    read = {row["id"]: row["x"] for row in lite["t"].find().execute()}
    assert (read["a"][50_000], read["b"][50_000]) == (0.0, 1.0)
    assert (read["p2"], read["p3"]) == (Point(2), Point(3))
    # Another process, with another salt of hash(), names the same bytes alike.
    code = (
        "import sys; from superduper.artifacts import Artifacts; from superduper.backends.registry import artifact_store\n"
        "with Artifacts(artifact_store(sys.argv[1])).writing() as w: print(w.put(b'the same bytes'))"
    )
    ids = set()
    for seed in ("1", "2"):
        arguments = [sys.executable, "-c", code, f"filesystem://{tmp_path}/other"]
        found = subprocess.run(
            arguments, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        ids.add(found.stdout.strip())
    assert len(ids) == 1
    assert (tmp_path / "other" / ids.pop()).read_bytes() == b"the same bytes"


@pytest.mark.parametrize("text", ["?x", "& hi", "&:blob:nope", "&:blob:" + "0" * 40, "&:file:/etc/passwd", "&:func:x"])
def test_03_texts_that_look_like_references_are_texts(db: Datalayer, text: str) -> None:
    db.apply(
        Table(
            "t", fields={"s": "str", "j": "json", "x": PICKLE, "e": DataType("e", codec="text", encodable="artifact")}
        )
    )
    db["t"].insert_one({"id": text, "s": text, "j": {"in": [text]}, "x": text, "e": text}).execute()
    db["t"].insert_one({"id": "other", "s": "plain"}).execute()
    row = db["t"].find_one({"s": text}).execute()
    assert (row["id"], row["s"], row["j"], row["x"], row["e"]) == (text, text, {"in": [text]}, text, text)
    assert len(list(db["t"].find().execute())) == 2


def test_04_a_forged_reference_reads_nothing_outside_the_store(lite: Datalayer, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "outside.pkl").write_bytes(pickle.dumps("secret"))
    lite.apply(Table("t", fields={"x": PICKLE}))
    lite["t"].insert_one({"id": "a", "x": "&:blob:../outside.pkl"}).execute()
    assert lite["t"].find_one({"id": "a"}).execute()["x"] == "&:blob:../outside.pkl"
    # Somebody writes it past us, straight into the column.
    _forge(lite, "&:blob:../outside.pkl")
    with pytest.raises(ArtifactError) as caught:
        lite["t"].find_one({"id": "a"}).execute()
    assert (caught.value.table, caught.value.row) == ("t", "a")


def _forge(db: Datalayer, text: str) -> None:
    import sqlalchemy as sa

    with db.databackend.conn.begin() as connection:
        connection.execute(sa.text("UPDATE t SET x = :x WHERE id = 'a'"), {"x": text})


@pytest.mark.parametrize("answer", ["no", "n", "", "nope", "whatever"])
def test_05_drop_answered_with_no_drops_nothing(db: Datalayer, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    db.apply(Table("t", fields={"x": PICKLE}))
    db["t"].insert_one({"id": "a", "x": [1]}).execute()
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert db.drop() is False
    assert db["t"].find_one({"id": "a"}).execute()["x"] == [1]
    assert "t" in db.show("table")
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert db.drop() is True
    assert db.show() == []
    assert "t" not in db.databackend.list_tables()


def test_06_listeners_outlive_the_process_that_made_them(
    shared_uri: str, connect: Open, start: Any, store_uri: str
) -> None:
    code = """
        import sys
        from superduper import ObjectModel, Listener, Table, superduper
        with superduper(sys.argv[1], artifact_store=sys.argv[2]) as db:
            db.apply(Table('t', fields={'x': 'int'}))
            db.apply(Listener(ObjectModel('m', object=lambda x: x + 1), key='x', select=db['t']))
    """
    process = start(code, shared_uri, store_uri)
    assert process.wait(60) == 0, process.stderr.read()
    db = connect(shared_uri)
    ids, jobs = db["t"].insert_one({"id": "a", "x": 41}).execute()
    assert ids == ["a"]
    assert [job.rows for job in jobs] == [1]
    assert db["t"].find_one({"id": "a"}).execute()["x"] == 41
    assert next(iter(db["t"].outputs("m").execute()))["_outputs"] == {"m": 42}


def test_07_processes_that_apply_at_once_never_share_a_version(
    shared_uri: str, connect: Open, start: Any, store_uri: str
) -> None:
    code = """
        import sys
        from superduper import ObjectModel, superduper
        with superduper(sys.argv[1], artifact_store=sys.argv[2]) as db:
            print('ready', flush=True)
            sys.stdin.readline()
            for n in range(15):
                made = db.apply(ObjectModel('m', object=lambda x, who=sys.argv[3], n=n: (who, n)))
                print(made.version)
    """
    processes = [start(code, shared_uri, store_uri, str(n)) for n in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    seen: list[int] = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        seen += [int(line) for line in out.split()]
    assert sorted(seen) == list(range(30))
    db = connect(shared_uri)
    assert db.show("model", "m") == list(range(30))
    assert {tuple(db.load("model", "m", version).predict(0)) for version in range(30)} == {
        (who, n) for who in "01" for n in range(15)
    }


def test_08_a_write_that_breaks_off_leaves_no_half_artifact(
    lite: Datalayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite.apply(Table("t", fields={"x": DataType("b", codec="bytes")}))
    folder = tmp_path / "artifacts"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            lite["t"].insert_one({"id": "a", "x": os.urandom(3 << 20)}).execute()
    assert {path.name for path in folder.iterdir()} - before <= {".tmp", "leases", "chunks"}
    assert list((folder / ".tmp").iterdir()) == []
    lite["t"].insert_one({"id": "a", "x": b"whole"}).execute()
    assert [row["x"] for row in lite["t"].find().execute()] == [b"whole"]
    # Artifacts are as private as the umask says, never open to all.
    assert all(path.stat().st_mode & 0o022 == 0 for path in folder.rglob("*"))


def test_09_orphans_are_collected_and_shared_payloads_are_kept(lite: Datalayer, tmp_path: Path) -> None:
    lite.apply(Table("t", fields={"x": PICKLE}))
    lite["t"].insert_many([{"id": key, "x": "shared" if key in "ab" else key} for key in "abc"]).execute()
    lite.apply([Metric(name, first_of) for name in ("first", "second")])
    lite["t"].delete_many({"id": {"$in": ["a", "c"]}}).execute()
    lite.remove("metric", "first")
    report = lite.gc(window=0)
    assert report.removed == 1, "only the payload of row c is an orphan"
    assert lite["t"].find_one({"id": "b"}).execute()["x"] == "shared"
    assert lite.load("metric", "second")(1, 1) == 1.0
    assert lite.gc(window=0).removed == 0
    assert lite.verify() == []


def test_10_updating_and_replacing_artifact_fields_keeps_rows_whole(db: Datalayer) -> None:
    db.apply(Table("t", fields={"x": PICKLE, "n": "int"}))
    db["t"].insert_many([{"id": key, "x": key, "n": 1} for key in "abc"]).execute()
    db["t"].update_many({"n": 1}, {"$set": {"x": {"new": (1, 2)}}}).execute()
    assert [row["x"] for row in db["t"].find().execute()] == [{"new": (1, 2)}] * 3
    fold = db["t"].find_one({"id": "a"}).execute()["_fold"]
    db["t"].replace_one({"id": "a"}, {"id": "a", "x": Point(7), "n": 2}).execute()
    row = db["t"].find_one({"id": "a"}).execute()
    assert (row["x"], row["n"], row["_fold"]) == (Point(7), 2, fold)
    assert db["t"].count_documents({"n": 1}).execute() == 2


@pytest.mark.parametrize(
    "name", ["my__f.txt", "a:b.txt", "a b.txt", "größe—名前.txt", "%41.txt", "&:blob:x", "-", "..."]
)
def test_11_names_of_files_come_back_as_they_are(lite: Datalayer, tmp_path: Path, name: str) -> None:
    lite.apply(
        Table("t", fields={"x": DataType("path", encodable="file"), "l": DataType("lazy", encodable="lazy_file")})
    )
    folder = tmp_path / f"in {name}"
    folder.mkdir()
    (folder / name).write_text(name)
    lite["t"].insert_many([{"id": "file", "x": str(folder / name)}, {"id": "dir", "l": str(folder)}]).execute()
    read = {row["id"]: row for row in lite["t"].find().execute()}
    assert Path(read["file"]["x"]).name == name
    assert Path(read["file"]["x"]).read_text() == name
    assert (Path(read["dir"]["l"].unpack()) / name).read_text() == name


@pytest.mark.parametrize("level", ["WARN", "warn", "WARNING", "DEBUG", "FATAL"])
def test_12_documented_log_levels_do_not_crash_the_import(level: str, tmp_path: Path) -> None:
    environment = {**os.environ, "SUPERDUPER_LOG_LEVEL": level, "SUPERDUPER_HOME": str(tmp_path)}
    code = "import superduper; superduper.superduper().close(); print(superduper.CFG.log_level)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("WARNING", "DEBUG", "CRITICAL")


def test_13_what_is_declared_is_all_that_the_import_and_sqlite_need() -> None:
    """Every package that comes in by working on SQLite is a declared dependency, or one of those."""
    import importlib.metadata as metadata
    import re

    code = """
        import sys
        before = set(sys.modules)
        from superduper import DataType, Listener, ObjectModel, Table, superduper
        with superduper('sqlite://', metadata_store='sqlite://', artifact_store='memory://') as db:
            db.apply(Table('t', fields={'x': DataType('any', codec='pickle')}))
            db.apply(Listener(ObjectModel('m', object=lambda x: x), key='x', select=db['t']))
            db['t'].insert_one({'x': 1}).execute()
        print(' '.join({name.partition('.')[0] for name in set(sys.modules) - before}))
    """
    import textwrap

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    declared: set[str] = set()
    wanted = ["superduper"]
    while wanted:
        name = wanted.pop()
        for line in metadata.requires(name) or []:
            if "extra ==" in line:
                continue
            needed = re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-")
            if needed not in declared:
                declared.add(needed)
                try:
                    metadata.distribution(needed)
                except metadata.PackageNotFoundError:
                    continue
                wanted.append(needed)
    owners = metadata.packages_distributions()
    used = {owner.lower().replace("_", "-") for module in done.stdout.split() for owner in owners.get(module, ())}
    assert used - {"superduper"} <= declared


def test_a_schema_shared_by_two_tables_survives_the_removal_of_one(lite: Datalayer) -> None:
    schema = Schema("both", {"x": PICKLE})
    lite.apply([Table("one", schema), Table("two", schema)])
    lite.remove("table", "one")
    lite["two"].insert_one({"id": "a", "x": {1}}).execute()
    assert lite["two"].find_one().execute()["x"] == {1}


def test_a_listener_that_was_applied_twice_runs_nothing_again(lite: Datalayer) -> None:
    lite.apply(Table("t", fields={"x": "int"}))
    lite["t"].insert_many([{"x": n} for n in range(5)]).execute()
    lite.apply(Listener(ObjectModel("m", object=plus_one), key="x", select=lite["t"]))
    seen = len(lite.metadata.jobs("m"))
    lite.apply(Listener(ObjectModel("m", object=plus_one), key="x", select=lite["t"]))
    assert len(lite.metadata.jobs("m")) == seen
    assert lite.show("model", "m") == [0]


def test_a_missing_file_is_refused_before_anything_is_stored(lite: Datalayer, tmp_path: Path) -> None:
    lite.apply(Table("t", fields={"x": DataType("path", encodable="file")}))
    with pytest.raises(EncodeError, match=r"nowhere\.txt"):
        lite["t"].insert_one({"id": "a", "x": str(tmp_path / "nowhere.txt")}).execute()
    assert lite["t"].count_documents().execute() == 0


def test_wrong_keywords_are_errors_that_name_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="fold_valid"):
        superduper("sqlite://", artifact_store="memory://", fold_vald=0.1)
