"""What is stored stays readable and stays there: changed schemas, removed tables, shared stores."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, DataType, Listener, Model, ObjectModel, Schema, Table, superduper
from superduper.errors import (
    ArtifactMissing,
    ConfigError,
    DuplicateKey,
    InUse,
    NotFound,
    QueryError,
    SchemaMismatch,
    SuperduperError,
)
from superduper.query.operations import InsertOne

URIS = ["sqlite://s.db", "mongomock://s"]


@pytest.fixture(params=URIS)
def db(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Datalayer]:
    monkeypatch.chdir(tmp_path)
    with superduper(request.param, artifact_store="filesystem://./artifacts") as db:
        yield db


def table(kind: DataType | str) -> Table:
    return Table("t", schema=Schema("s", {"x": kind}))


def own(name: str, encodable: Any) -> DataType:
    return DataType(name, encoder=pickle.dumps, decoder=pickle.loads, encodable=encodable)


def values(db: Datalayer) -> dict[str, Any]:
    return {row["id"]: row.unpack()["x"] for row in db["t"].find().execute()}


@pytest.mark.parametrize("first", ["artifact", "lazy_artifact"])
def test_a_field_may_turn_from_payloads_to_files_and_both_are_read(db: Datalayer, first: str, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("content")
    db.apply(table(own("a", first)))
    db.insert("t", [{"id": "payload", "x": {"k": 1}}])
    db.apply(table(DataType("f", encodable="file")))
    db.insert("t", [{"id": "file", "x": "./f.txt"}])
    found = values(db)
    assert found["payload"] == {"k": 1}
    assert Path(found["file"]).read_text() == "content"
    db.apply(table(own("a", first)))
    assert values(db)["payload"] == {"k": 1}
    assert Path(values(db)["file"]).read_text() == "content"
    assert db.gc(window=0).removed == 0


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (DataType("b", codec="json", encodable="artifact"), "another codec"),
        ("str", "references would be shown as texts"),
    ],
    ids=["codec", "text"],
)
def test_a_field_with_rows_keeps_its_form(db: Datalayer, second: Any, reason: str) -> None:
    db.apply(table(own("a", "artifact")))
    db.insert("t", [{"id": "1", "x": [1]}])
    with pytest.raises(SchemaMismatch, match="'x': rows are stored as blob:custom"):
        db.apply(table(second))
    assert values(db) == {"1": [1]}, reason


def test_a_field_that_was_dropped_comes_back_in_its_old_form_only(db: Datalayer) -> None:
    db.apply(table(own("a", "artifact")))
    db.insert("t", [{"id": "1", "x": [1]}])
    db.apply(Table("t", schema=Schema("s", {"y": "int"})))
    with pytest.raises(SchemaMismatch, match="rows are stored as blob:custom"):
        db.apply(table("str"))
    db.apply(table(own("a", "artifact")))
    assert values(db) == {"1": [1]}


def test_a_data_type_with_rows_keeps_its_form(db: Datalayer) -> None:
    db.apply(table(own("a", "artifact")))
    db.insert("t", [{"id": "1", "x": [1]}])
    with pytest.raises(SchemaMismatch, match="DataType 'a': rows of table 't' are stored as blob:custom"):
        db.apply(DataType("a", codec="json", encodable="artifact"))
    assert values(db) == {"1": [1]}


def test_an_empty_table_takes_any_form(db: Datalayer) -> None:
    db.apply(table(own("a", "artifact")))
    db.insert("t", [{"id": "1", "x": [1]}])
    db["t"].delete_many({}).execute()
    db.apply(table(DataType("b", codec="json", encodable="artifact")))
    db.insert("t", [{"id": "2", "x": [2]}])
    db.apply(Table("t", schema=Schema("s", {"x": DataType("b", codec="json", encodable="artifact"), "y": "int"})))
    assert values(db) == {"2": [2]}


def test_a_removed_table_keeps_rows_artifacts_and_form(db: Datalayer) -> None:
    db.apply(table(own("a", "artifact")))
    db.insert("t", [{"id": "1", "x": [1]}])
    db.remove("table", "t", 0)
    assert db.gc(window=0).removed == 0
    with pytest.raises(SchemaMismatch):
        db.apply(table("str"))
    db.apply(table(own("a", "artifact")))
    assert values(db) == {"1": [1]}
    assert db.gc(window=0).removed == 0


def test_a_table_that_is_deleted_takes_rows_and_artifacts_along(db: Datalayer) -> None:
    db.apply(Table("t", schema=Schema("s", {"x": own("a", "artifact")}), deletion_policy="Delete"))
    db.insert("t", [{"id": "1", "x": [1]}])
    db.remove("table", "t")
    assert "t" not in db.databackend.list_tables()
    assert db.gc(window=0).removed == 1


def test_a_store_is_not_collected_while_another_datalayer_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with superduper("sqlite://one.db") as one, superduper("sqlite://two.db") as two:
        for db in (one, two):
            db.apply(table(own("a", "artifact")))
            db.insert("t", [{"id": "1", "x": db.databackend.uri}])
        with pytest.raises(InUse, match=r"two\.db"):
            one.gc(window=0)
        assert one.gc(window=0, also=[two]).removed == 0
        one.drop(force=True)
        assert values(two) == {"1": two.databackend.uri}
        assert two.gc(window=0).removed > 0
        assert values(two) == {"1": two.databackend.uri}


def test_a_lost_payload_is_named(db: Datalayer, tmp_path: Path) -> None:
    db.apply(table(own("a", "artifact")))
    db.insert("t", [{"id": "1", "x": [1]}])
    stored = pickle.dumps([1])
    next(file for file in (tmp_path / "artifacts").iterdir() if file.is_file() and file.read_bytes() == stored).unlink()
    with pytest.raises(ArtifactMissing, match="of table 't', row '1'"):
        values(db)


def test_removing_an_old_version_of_a_model_leaves_the_new_one_running(db: Datalayer) -> None:
    db.insert("n", [{"id": "1", "x": 1}])
    for step in (1, 2):
        db.apply(ObjectModel("m", object=lambda x, step=step: x + step).to_listener(select=db["n"].find(), key="x"))
    db.remove("model", "m", 0)
    db.insert("n", [{"id": "2", "x": 5}])
    assert [row["_outputs"]["m"] for row in db["n"].find().sort("id").outputs("m").execute()] == [3, 7]


def test_a_fitted_model_may_be_a_file(db: Datalayer, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"add": 3}))
    db.insert("n", [{"id": "1", "x": 1}])
    artifact = {"uri": f"file://{tmp_path}/model.pkl", "format": "pickle"}
    predict = {"table": "n", "inputs": ["x"], "output": {"type": "int"}}
    db.apply(Model("m", object=lambda fitted, x: x + fitted["add"], artifact=artifact, predict=predict))
    (tmp_path / "model.pkl").unlink()
    assert db["n"].find_one({"id": "1"}).outputs("m").execute()["_outputs"] == {"m": 4}
    assert db.predict("m", 10) == 13


def test_inferred_outputs_may_change_with_the_model(db: Datalayer) -> None:
    db.insert("n", [{"id": "1", "x": 1}])
    db.apply(Listener(ObjectModel("m", object=lambda x: x), key="x", select=db["n"].find()))
    db.apply(Listener(ObjectModel("m", object=lambda x: f"<{x}>"), key="x", select=db["n"].find()))
    assert [row["_outputs"] for row in db["n"].find().outputs("m").execute()] == [{"m": "<1>"}]


def test_dropped_means_empty_and_ready(db: Datalayer) -> None:
    db.insert("n", [{"id": "1", "x": object}])
    assert db.drop(force=True)
    assert db.show() == []
    with pytest.raises(NotFound):
        list(db["n"].find().execute())
    db.insert("n", [{"id": "1", "x": 2}])
    assert db["n"].count_documents().execute() == 1


@pytest.mark.parametrize(
    "update",
    [{"$set": {"_schema": "x"}}, {"$set": {"_id": "x"}}, {"$unset": {"_fold": ""}}, {"$set": {"_outputs.m": 1}}],
)
def test_what_superduper_writes_is_not_updated_by_hand(db: Datalayer, update: Any) -> None:
    db.apply(table("int"))
    db.insert("t", [{"id": "a", "x": 1}])
    with pytest.raises(QueryError, match="superduper's own: of such only '_fold'"):
        db["t"].update_many({}, update).execute()


def test_a_fold_is_set_to_one_of_the_two(db: Datalayer) -> None:
    db.apply(table("int"))
    db.insert("t", [{"id": "a", "x": 1}])
    with pytest.raises(SchemaMismatch, match="'_fold' is 'train' or 'valid', not 'x'"):
        db["t"].update_many({}, {"$set": {"_fold": "x"}}).execute()
    db["t"].update_many({}, {"$set": {"_fold": "valid"}}).execute()
    assert db["t"].find_one().execute()["_fold"] == "valid"


def test_a_document_that_was_read_may_be_inserted_and_put_back(db: Datalayer) -> None:
    db.apply(table("int"))
    db.apply(Listener(ObjectModel("m", object=lambda x: x + 1), key="x", select=db["t"]))
    db.insert("t", [{"id": "a", "x": 1}])
    (read,) = db["t"].outputs("m").execute()
    assert read["_outputs"] == {"m": 2}
    db["t"].replace_one({"id": "a"}, {**read, "x": 5}).execute()
    db.insert("t", [{**read, "id": "b"}])
    assert values(db) == {"a": 5, "b": 1}
    assert {row["id"]: row["_outputs"]["m"] for row in db["t"].outputs("m").execute()} == {"a": 6, "b": 2}


@pytest.mark.parametrize("name", ["a b", "_superduper_mine", "x" * 64])
def test_an_insert_makes_no_table_of_a_name_that_cannot_be_one(db: Datalayer, name: str) -> None:
    with pytest.raises(ConfigError, match=f"Table '{name}'"):
        db[name].insert_one({"id": "a"}).execute()
    assert db.show("table") == []
    assert name not in db.databackend.list_tables()
    with pytest.raises(QueryError, match="a table's name is a text, not 1"):
        db[1]  # type: ignore[index]


def test_a_field_whose_name_is_no_text_is_refused(db: Datalayer) -> None:
    row: Any = {"id": "a", 1: "x"}
    with pytest.raises(SchemaMismatch, match="a field's name is a text"):
        db.insert("t", [row])
    db.apply(table("int"))
    with pytest.raises(SchemaMismatch, match=r"row 0 \('a'\), field 1: a field's name is a text"):
        db.insert("t", [row])


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_payload_has_no_order(db: Datalayer, name: str) -> None:
    kinds = {"x": own("a", "artifact"), "y": own("b", "lazy_artifact"), "z": "int"}
    db.apply(Table("t", fields=kinds))
    with pytest.raises(QueryError, match=f"field '{name}' of table 't' is kept in the artifact store and has no order"):
        list(db["t"].find().sort([("z", 1), (name, -1)]).execute())


@pytest.mark.parametrize("rows", [[{"x": 1}, {"x": 2**70}], [{"id": "a", "x": 1}, {"id": "a", "x": 2}]])
@pytest.mark.parametrize("bulk", [False, True], ids=["insert", "bulk"])
def test_a_first_insert_that_fails_leaves_no_table(db: Datalayer, rows: list[Any], bulk: bool) -> None:
    with pytest.raises((SchemaMismatch, DuplicateKey), match=r"64 bits|given twice"):
        db["t"].bulk_write([InsertOne(row) for row in rows]).execute() if bulk else db.insert("t", rows)
    assert db.show("table") == []
    assert "t" not in db.databackend.list_tables()
    db.insert("t", [{"id": "a", "x": "text"}])
    assert values(db) == {"a": "text"}


def test_a_first_insert_that_fails_leaves_a_table_without_fields_as_it_was(db: Datalayer) -> None:
    db.apply(Table("t"))
    with pytest.raises(SchemaMismatch, match="64 bits"):
        db.insert("t", [{"id": "a", "x": 2**70}])
    assert db.show("table", "t") == [0]
    db.insert("t", [{"id": "a", "x": "text"}])
    assert values(db) == {"a": "text"}


def test_rows_of_a_bulk_write_make_one_table_that_they_all_fit(db: Datalayer) -> None:
    db["t"].bulk_write([InsertOne({"id": "a", "x": 1}), InsertOne({"id": "b", "x": 1.5, "y": "s"})]).execute()
    assert values(db) == {"a": 1.0, "b": 1.5}


def test_a_listener_on_a_misspelt_field_is_refused(db: Datalayer) -> None:
    db.apply(Table("t", fields={"number": "int"}))
    for rows in ([], [{"id": "a", "number": 1}]):
        db.insert("t", rows)
        with pytest.raises(SuperduperError, match="no field 'nunber'; did you mean 'number'"):
            db.apply(Listener(ObjectModel("m", object=abs), key="nunber", select=db["t"]))


def test_a_misspelt_field_is_an_error_on_every_backend(db: Datalayer) -> None:
    db.apply(Table("t", fields={"number": "int"}))
    db.insert("t", [{"id": "a", "number": 1}])
    t = db["t"]
    for query in (
        t.find({"nunber": 1}), t.find().sort("nunber"), t.find({}, {"nunber": 1}), t.distinct("nunber"),
        t.count_documents({"nunber": 1}), t.update_many({}, {"$set": {"nunber": 1}}), t.delete_many({"nunber": 1}),
    ):  # fmt: skip
        with pytest.raises((QueryError, SchemaMismatch), match="no (such )?field.*; did you mean 'number'"):
            found = query.execute()
            list(found)
    assert db["t"].find_one({"id": "a"}, {"_id": 0}).execute()["number"] == 1
