"""A datalayer whose models run elsewhere: the same outputs, files, one model's own compute, and manifests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from superduper import DataType, Listener, ObjectModel, Schema, superduper
from superduper.backends.dask import compute as dask_compute
from superduper.backends.ray.compute import RayComputeBackend
from superduper.cli import main
from superduper.datalayer import Datalayer
from superduper.errors import ManifestError, ModelError

MANIFESTS = """
apiVersion: superduper.io/v1alpha1
kind: Datalayer
metadata: {name: local}
spec:
  databackend: {uri: "sqlite://rows.db"}
  compute: COMPUTE
---
apiVersion: superduper.io/v1alpha1
kind: Table
metadata: {name: numbers}
spec:
  datalayerRef: {name: local}
  fields: {x: {type: int}}
  source:
    rows:
      source: "def rows(): return [{'id': str(n), 'x': n} for n in range(30)]"
      callable: rows
---
apiVersion: superduper.io/v1alpha1
kind: Model
metadata: {name: where}
spec:
  datalayerRef: {name: local}
  object:
    source: |
      import os
      def where(x):
          return os.getpid()
    callable: where
  predict: {table: numbers, inputs: [x], output: {type: int}}
"""


def outputs(db: Datalayer, model: str) -> dict[Any, Any]:
    return {row["id"]: row["_outputs"][model] for row in db["t"].find().outputs(model).execute()}


def root(x: int) -> float:
    if x % 1000 == 13:
        raise ValueError("thirteen")
    return float(x**0.5)


def test_ten_thousand_rows_come_out_as_in_this_process(compute_uri: str, sqlite_uri: str) -> None:
    with superduper(sqlite_uri, compute=compute_uri) as db:
        db.insert("t", [{"id": f"{n:05}", "x": n} for n in range(10_000)])
        db.apply(Listener(ObjectModel("m", object=root, datatype="float"), key="x", select=db["t"].find()))
        assert (db.coverage("m").done, db.coverage("m").failed) == (9990, 10)
        assert {error["row"] for error in db.errors("m")} == {f"{n:05}" for n in range(13, 10_000, 1000)}
        found = outputs(db, "m")
        assert {key: value for key, value in found.items() if value is not None} == {
            f"{n:05}": n**0.5 for n in range(10_000) if n % 1000 != 13
        }
        _, jobs = db.insert("t", [{"id": "new", "x": 16}])
        assert [job.rows for job in jobs] == [1]
        assert outputs(db, "m")["new"] == 4


def test_files_are_read_by_workers_that_stand_in_another_folder(
    compute_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with superduper("sqlite://my.db", home="relative", compute=compute_uri) as db:
        schema = Schema("files", fields={"file": DataType("path", encodable="lazy_file")})
        db.execute(db["t"].insert_many([{"id": "a", "file": "a.txt"}]), schema=schema)
        model = ObjectModel("length", object=lambda path: len(Path(path).read_text()), datatype="int")
        db.apply(Listener(model, key="file", select=db["t"].find()))
        assert db.errors("length") == []
        assert outputs(db, "length") == {"a": 5}


def test_a_model_over_files_is_refused_where_dask_workers_do_not_see_them(
    dask_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it answers on another machine.
    monkeypatch.setattr(dask_compute, "readable", lambda path: False)
    (tmp_path / "a.txt").write_text("hello")
    with superduper(f"sqlite:///{tmp_path}/my.db", compute=dask_uri) as db:
        schema = Schema("files", fields={"file": DataType("path", encodable="lazy_file")})
        db.execute(db["t"].insert_many([{"id": "a", "file": str(tmp_path / "a.txt")}]), schema=schema)
        model = ObjectModel("length", object=len, datatype="int")
        with pytest.raises(ModelError, match=r"the dask workers tcp://127.0.0.1:\d+, .* do not see that folder"):
            db.apply(Listener(model, key="file", select=db["t"].find()))
        assert list((tmp_path / "files").iterdir()) == []


def test_a_model_over_files_is_refused_where_ray_workers_do_not_see_them(
    own_ray: RayComputeBackend, tmp_path: Path
) -> None:
    own_ray.check_folder(tmp_path / "files")
    assert list((tmp_path / "files").iterdir()) == []
    seen = Path.resolve
    with pytest.MonkeyPatch.context() as patched:
        # As if it were mounted elsewhere in the workers' machine.
        patched.setattr(Path, "resolve", lambda self: Path("/elsewhere") / self.name)
        patched.setattr(Path, "touch", lambda self: None)
        patched.setattr(Path, "unlink", lambda self: None)
        with pytest.raises(ModelError, match="the ray workers on .* do not see that folder"):
            own_ray.check_folder(tmp_path / "files")
    assert seen is Path.resolve


def test_one_model_runs_where_it_says(sqlite_uri: str, dask_uri: str) -> None:
    with superduper(sqlite_uri) as db:
        db.insert("t", [{"id": str(n), "x": n} for n in range(3)])
        for name, compute in (("here", None), ("there", dask_uri), ("local", "local")):
            model = ObjectModel(name, object=lambda x: os.getpid(), datatype="int", compute=compute)
            db.apply(Listener(model, key="x", select=db["t"].find()))
        pids = {name: set(outputs(db, name).values()) for name in ("here", "there", "local")}
        assert pids["here"] == pids["local"] == {os.getpid()}
        assert os.getpid() not in pids["there"]
        assert db.load("model", "there").compute == dask_uri
    with pytest.raises(ManifestError, match="compute: engine: 'spark' is not one of auto, local, ray, dask"):
        ObjectModel("m", object=root, compute="spark").spec()


@pytest.mark.parametrize("server", ["dask", "dask_uri", "ray", "ray_uri"])
def test_a_manifest_says_where_models_run(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(request.getfixturevalue(server)) if "_" in server else server
    monkeypatch.chdir(tmp_path)
    engine, _, address = uri.partition("://")
    Path("all.yaml").write_text(MANIFESTS.replace("COMPUTE", f"{{engine: {engine}, address: {address or 'null'}}}"))
    with pytest.raises(SystemExit) as ended:
        main(["apply", "-f", "all.yaml"])
    assert ended.value.code == 0
    with superduper("sqlite://rows.db") as db:
        rows = list(db["numbers"].find().outputs("where").execute())
    pids = {row["_outputs"]["where"] for row in rows}
    assert len(rows) == 30
    assert pids.isdisjoint({os.getpid(), None})


def test_an_address_without_dask_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.yaml").write_text(MANIFESTS.replace("COMPUTE", "{engine: local, address: 'a:1'}"))
    with pytest.raises(SystemExit):
        main(["apply", "-f", "all.yaml"])
    assert "address goes with engine ray and engine dask only" in capsys.readouterr().err
