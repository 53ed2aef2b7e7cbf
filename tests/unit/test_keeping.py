"""What is kept, removed and shown: components, the rows and the artifacts that they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, Dataset, DataType, Listener, Model, ObjectModel, Table, superduper
from superduper.api.v1alpha1.model import Predict, Validation
from superduper.errors import ConfigError, InUse, NotFound


def open_at(folder: Path, **options: Any) -> Datalayer:
    return superduper(
        f"sqlite:///{folder}/d.db", artifact_store=f"filesystem://{folder}/artifacts", home=str(folder), **options
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Datalayer]:
    with open_at(tmp_path) as db:
        yield db


@pytest.fixture
def rows(db: Datalayer) -> Datalayer:
    db.apply(Table("t", fields={"x": "int", "y": "int", "s": "str"}))
    db["t"].insert_many([{"id": f"r{n}", "x": n, "y": -n, "s": "s"} for n in range(10)]).execute()
    return db


def test_a_dataset_pins_its_rows_and_their_artifacts(db: Datalayer) -> None:
    db.apply(Table("t", fields={"x": DataType("any", codec="pickle"), "y": "int"}))
    db["t"].insert_many([{"id": f"r{n}", "x": [n], "y": n} for n in range(4)]).execute()
    dataset = Dataset("pinned", select=db["t"].find({"y": {"$lt": 3}}))
    db.apply(dataset)
    validation = Validation(table="t", target="y", inputs=["x"], metrics=["mae"], dataset="pinned")
    model = Model(
        "m",
        object=lambda x: x[0],
        validation=validation,
        predict=Predict(table="t", inputs=["x"], output={"type": "int"}),
    )
    db.apply(model)
    db["t"].update_many({}, {"$set": {"y": 100}}).execute()
    db["t"].delete_many({"id": {"$in": ["r1", "r2"]}}).execute()
    assert db.gc(window=0).removed == 0, "the payload of r3 is in its row; those of r1 and r2 are pinned"
    assert db.validate("m") == {"mae": 0.0}
    db.apply(Dataset("pinned", select=db["t"].find({"y": {"$lt": 3}})))
    assert db.show("dataset", "pinned") == [0]


def test_rows_of_a_removed_table_keep_their_artifacts(db: Datalayer) -> None:
    kind = DataType("any", codec="pickle")
    db.apply(Table("t", fields={"x": kind}))
    db["t"].insert_one({"id": "a", "x": "kept"}).execute()
    db.remove("table", "t")
    with pytest.raises(NotFound):
        db["t"].find().execute()
    assert db.gc(window=0).removed == 0
    db.apply(Table("t", fields={"x": kind}))
    assert db["t"].find_one().execute()["x"] == "kept"
    db.apply(Table("t", fields={"x": kind}, deletion_policy="Delete"))
    db.remove("table", "t")
    assert "t" not in db.databackend.list_tables()
    assert db.gc(window=0).removed == 1


def test_what_others_need_is_not_removed(rows: Datalayer) -> None:
    kind = DataType("any", codec="pickle")
    rows.apply(Table("u", fields={"x": kind}))
    rows.apply(Listener(ObjectModel("m", object=lambda x: x), key="x", select=rows["t"]))
    for what, name, needs in (("datatype", "any", "schema"), ("table", "t", "listener"), ("schema", "u", "table")):
        with pytest.raises(InUse, match=needs):
            rows.remove(what, name)
    with pytest.raises(NotFound, match="'n'"):
        rows.remove("model", "n")
    rows.remove("listener", "m")
    rows.remove("model", "m")
    rows.remove("table", "t")
    assert rows.show("table") == ["u"]


def test_force_removes_what_needs_it_too(rows: Datalayer) -> None:
    rows.apply(Listener(ObjectModel("m", object=lambda x: x), key="x", select=rows["t"], identifier="l"))
    with pytest.raises(InUse, match="listener 'l'"):
        rows.remove("model", "m")
    rows.remove("model", "m", force=True)
    assert rows.show("listener") == []
    rows["t"].insert_one({"id": "still", "x": 1}).execute()


def test_replace_needs_something_to_replace(rows: Datalayer) -> None:
    with pytest.raises(NotFound, match="upsert"):
        rows.replace(ObjectModel("m", object=lambda x: x))
    rows.replace(ObjectModel("m", object=lambda x: x), upsert=True)
    rows.replace(ObjectModel("m", object=lambda x: x + 1))
    assert rows.show("model", "m") == [0, 1]


def test_show_lists_types_names_and_versions(rows: Datalayer) -> None:
    rows.apply(ObjectModel("m", object=lambda x: x))
    rows.apply(ObjectModel("m", object=lambda x: x + 1))
    assert {"type_id": "model", "identifier": "m"} in rows.show()
    assert rows.show("model") == ["m"]
    assert rows.show("model", "m") == [0, 1]
    assert rows.show("model", "m", -1)["version"] == 1
    assert rows.show("model", "m", 0)["spec"]["identifier"] == "m"
    assert not any(key.startswith("$") for key in rows.show("model", "m", 0)["spec"])
    with pytest.raises(NotFound, match="did you mean 'r2d2'"):
        rows.apply(ObjectModel("r2d2", object=lambda x: x))
        rows.show("model", "r2d")
    with pytest.raises(NotFound, match="version"):
        rows.load("model", "m", 7)
    with pytest.raises(ConfigError):
        rows.show(None, "m")
    with pytest.raises(NotFound, match="no type of component 'modle'; did you mean 'model'"):
        rows.show("modle")
    with pytest.raises(NotFound, match="no type of component 'modle'; did you mean 'model'"):
        rows.load("modle", "m")


def test_verify_names_the_row_whose_folder_holds_a_damaged_file_and_the_component_that_needs_code(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.bin").write_bytes(b"a" * 10)
    with open_at(tmp_path) as db:
        db.apply(Table("t", fields={"f": DataType("f", codec="file", encodable="file")}))
        db.insert("t", [{"id": "r", "f": str(tmp_path / "folder")}])
        db.apply(ObjectModel("m", object=lambda x: x))
        assert db.verify() == []
        code = set(db.metadata.artifacts())
        (folder,) = set(db.live()) - code
        db.artifact_store.delete([*code, *db.artifacts.tree(folder).blobs])
        found = {str(holder) for damage in db.verify() for holder in damage.needed_by}
    assert found == {"table 't', row 'r', field 'f'", "model 'm' version 0"}
