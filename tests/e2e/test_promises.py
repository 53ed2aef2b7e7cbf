"""What users are promised of large data and of the datalayer, in our own words. ``test_texts.py`` holds us to theirs."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superduper import CFG, DataType, Document, Table, superduper
from superduper.backends.local.compute import LocalComputeBackend
from superduper.backends.mongodb.artifacts import MongoArtifactStore
from superduper.backends.mongodb.data_backend import MongoDataBackend
from superduper.backends.mongodb.metadata import MongoMetaDataStore
from superduper.datalayer import Datalayer

VALUE = {"frames": [1, 2, 3], "of": ("any", "type")}
PICKLED = pickle.dumps(VALUE, protocol=4)
ID = hashlib.sha1(PICKLED).hexdigest()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["mongomock://test", "sqlite://test.db"])
def db(request: pytest.FixtureRequest) -> Iterator[Datalayer]:
    with superduper(request.param, artifact_store="filesystem://./artifacts", home=".superduper") as db:
        yield db


def insert(db: Datalayer, value: Any, **datatype: Any) -> None:
    db.apply(Table("clips", fields={"clip": DataType("kind", **datatype)}))
    db["clips"].insert_one(Document({"id": "one", "clip": value})).execute()


def pickling(encodable: str) -> dict[str, Any]:
    return {
        "encoder": lambda x, info: pickle.dumps(x, protocol=4),
        "decoder": lambda x, info: pickle.loads(x),
        "encodable": encodable,
    }


def find(db: Datalayer) -> Document:
    found = db.execute(db["clips"].find_one({"id": "one"}))
    assert isinstance(found, Document)
    return found


def test_an_artifact_comes_back_with_its_row_and_the_record_holds_its_hash(db: Datalayer) -> None:
    insert(db, VALUE, **pickling("artifact"))
    row = find(db)
    assert row["clip"] == VALUE
    assert row["_fold"] in ("train", "valid")
    if isinstance(db.databackend, MongoDataBackend):
        record = db.databackend.conn.test.clips.find_one()
        assert list(record) == ["id", "clip", "_fold", "_schema", "_builds", "_files", "_blobs", "_id"]
        assert (record["_schema"], record["_builds"], record["_files"], record["_blobs"]) == ("clips", {}, {}, {})
        assert record["clip"] == f"&:blob:{ID}"
    assert Path("artifacts", ID).read_bytes() == PICKLED


def test_a_lazy_artifact_is_empty_until_unpacked(db: Datalayer) -> None:
    insert(db, VALUE, **pickling("lazy_artifact"))
    row = find(db)
    assert repr(row["clip"].x) == "<EMPTY>"
    assert repr(row["clip"]).startswith("LazyArtifact(identifier='', uuid='")
    assert repr(row["clip"]).endswith("intermediate_type='bytes', media_type=None), uri=None, x=<EMPTY>)")
    assert find(db).unpack(db)["clip"] == find(db).unpack()["clip"] == VALUE


def test_a_folder_is_copied_in_and_out(db: Datalayer) -> None:
    Path("take/one").mkdir(parents=True)
    Path("take/one/sound").write_bytes(b"\x00\x01")
    insert(db, "./take", encodable="file")
    Path("take/one/sound").write_bytes(b"changed since")
    row = find(db).unpack()
    copy = Path(row["clip"])
    assert row["clip"].startswith("./")
    assert (copy.name, len(copy.parent.name)) == ("take", 40)
    assert (copy / "one" / "sound").read_bytes() == b"\x00\x01"


def test_what_looks_like_a_reference_in_a_text_field_is_that_text(db: Datalayer) -> None:
    db.apply(Table("notes", fields={"text": "str"}))
    db["notes"].insert_one({"id": "a", "text": "&:blob:nope"}).execute()
    found = db["notes"].find_one({"id": "a"}).execute()
    assert found["text"] == "&:blob:nope"


def test_mongodb_holds_rows_artifacts_and_metadata_unless_told_otherwise(mongo_uri: str) -> None:
    with superduper(mongo_uri) as db:
        parts = (db.databackend, db.artifact_store, db.metadata, db.compute)
        classes = (MongoDataBackend, MongoArtifactStore, MongoMetaDataStore, LocalComputeBackend)
        assert tuple(type(part) for part in parts) == classes
        insert(db, VALUE, **pickling("artifact"))
    with superduper(mongo_uri, metadata_store=mongo_uri, artifact_store=mongo_uri) as db:
        assert find(db)["clip"] == VALUE


def test_sqlite_keeps_artifacts_in_a_folder_unless_told_otherwise() -> None:
    with superduper("sqlite://my.db", home=".superduper") as db:
        insert(db, VALUE, **pickling("artifact"))
    assert Path(".superduper/artifacts", ID).read_bytes() == PICKLED
    stores = {"metadata_store": "sqlite://my.db", "artifact_store": "filesystem://.superduper/artifacts/"}
    with superduper("sqlite://my.db", **stores, compute=LocalComputeBackend(), home=".superduper") as db:
        assert find(db)["clip"] == VALUE
        assert db.show("table") == ["clips"]


def test_settings_say_where_everything_is(monkeypatch: pytest.MonkeyPatch) -> None:
    uris = {"databackend": "sqlite://rows.db", "metadata": "sqlite://meta.db", "artifact_store": "filesystem://./data"}
    for setting, uri in uris.items():
        monkeypatch.setattr(CFG, setting, uri)
    with superduper() as db:
        assert {name: getattr(db, name).uri for name in uris} == uris
        insert(db, VALUE, **pickling("artifact"))
    assert Path("data", ID).is_file()
    assert Path("rows.db").is_file()
    assert Path("meta.db").is_file()
