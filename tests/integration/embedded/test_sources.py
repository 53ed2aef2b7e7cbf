"""What stands in files comes into tables, by the fields that a table declares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from superduper import Datalayer, DataType, Table, superduper
from superduper.api.v1alpha1 import Code
from superduper.api.v1alpha1.table import Source
from superduper.embedded.folders import Folder, open_folder
from superduper.embedded.sources import bring_in, open_source
from superduper.errors import (
    CodeError,
    DecodeError,
    ManifestError,
    MissingExtra,
    NotFound,
    SchemaMismatch,
    StoreError,
    SuperduperError,
)
from superduper.syncing import Synced


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Datalayer]:
    with superduper(f"sqlite:////{str(tmp_path).lstrip('/')}/t.db", home=str(tmp_path / "home")) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


def bring(db: Datalayer, table: Table) -> Synced:
    db.apply(table)
    assert table.source is not None
    return bring_in(db, table, open_source(db, table, table.source), lambda done, total: None)


def source(path: Path, kind: str) -> Source:
    return Source(uri=f"file://{path}", format=kind)


def test_each_file_is_a_row_and_its_path_the_key(db: Datalayer, folder: Path) -> None:
    (folder / "7").mkdir()
    (folder / "7" / "a b.txt").write_text("seven")
    (folder / ".hidden").write_text("no row")
    (folder / "link.txt").symlink_to(folder / "7" / "a b.txt")
    os.utime(folder / "7" / "a b.txt", (0, 86400))
    text = DataType("text", codec="text", encodable="lazy_artifact")
    fields = {
        "content": text,
        "folder": "int",
        "name": "str",
        "stem": "str",
        "suffix": "str",
        "size": "int",
        "modified": "datetime",
    }
    assert bring(db, Table("t", fields=fields, source=source(folder, "files"))) == Synced(added=1)
    row = db["t"].find_one().execute().unpack()
    del row["_fold"]
    assert row == {
        "id": "7/a b.txt", "content": "seven", "folder": 7, "name": "a b.txt", "stem": "a b", "suffix": ".txt", "size": 5,
        "modified": datetime(1970, 1, 2, tzinfo=UTC),
    }  # fmt: skip


def test_files_are_stored_as_they_are(db: Datalayer, folder: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8), 7).save(folder / "a.jpg")
    table = Table(
        "t",
        fields={"image": DataType("image", codec="image", encodable="lazy_artifact")},
        source=source(folder, "files"),
    )
    bring(db, table)
    handle = db["t"].find_one().execute()["image"]
    assert handle.read() == (folder / "a.jpg").read_bytes()
    assert handle.unpack().size == (8, 8)


def test_a_file_that_does_not_decode_is_refused_with_its_row(db: Datalayer, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    table = Table(
        "t", fields={"image": DataType("image", codec="image", encodable="artifact")}, source=source(folder, "files")
    )
    with pytest.raises(DecodeError, match=r"broken\.png.*field 'image'"):
        bring(db, table)
    assert db["t"].count_documents({}).execute() == 0


def test_a_field_that_files_do_not_give_is_named(db: Datalayer, folder: Path) -> None:
    (folder / "a").write_text("x")
    fields = {"content": DataType("b", codec="bytes", encodable="artifact"), "label": "str"}
    with pytest.raises(ManifestError, match="field 'label': a file gives path, name"):
        bring(db, Table("t", fields=fields, source=source(folder, "files")))


def test_csv_cells_become_what_the_fields_say(db: Datalayer, folder: Path) -> None:
    (folder / "rows.csv").write_text('id,x,y,ok,at,meta,note\n1,2.5,,yes,2020-01-01T00:00:00+00:00,"{""a"": 1}",\n')
    fields = {"id": "int", "x": "float", "y": "int", "ok": "bool", "at": "datetime", "meta": "json", "note": "str"}
    bring(db, Table("t", fields=fields, source=source(folder / "rows.csv", "csv")))
    row = db["t"].find_one().execute()
    assert {name: row[name] for name in fields} == {
        "id": 1, "x": 2.5, "y": None, "ok": True, "at": datetime(2020, 1, 1, tzinfo=UTC), "meta": {"a": 1}, "note": "",
    }  # fmt: skip


def test_parquet_rows_come_in_with_their_bytes(db: Datalayer, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"id": ["a", "b"], "x": [1, None], "data": [b"1", b"2"]}), folder / "rows.parquet")
    fields = {"x": "int", "data": DataType("b", codec="bytes", encodable="artifact")}
    assert bring(db, Table("t", fields=fields, source=source(folder, "parquet"))).added == 2
    assert [(row["x"], row["data"]) for row in db["t"].find().sort("id").execute()] == [(1, b"1"), (None, b"2")]


def test_parquet_without_its_package_names_the_extra(
    db: Datalayer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rows.parquet").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"superduper\[parquet\]"):
        bring(db, Table("t", fields={"x": "int"}, source=source(folder, "parquet")))


def test_lines_name_files_beside_them_and_none_outside(db: Datalayer, folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"a")
    (folder.parent / "outside.bin").write_bytes(b"secret")
    (folder / "rows.jsonl").write_text('{"id": "1", "data": "a.bin"}\n')
    table = Table(
        "t",
        fields={"data": DataType("b", codec="bytes", encodable="artifact")},
        source=source(folder / "rows.jsonl", "jsonl"),
    )
    bring(db, table)
    assert db["t"].find_one().execute()["data"] == b"a"
    for name in ("../outside.bin", str(folder.parent / "outside.bin")):
        (folder / "rows.jsonl").write_text(f'{{"id": "2", "data": "{name}"}}\n')
        with pytest.raises(StoreError, match="leads out of the source's folder"):
            bring(db, table)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        pytest.param("jsonl", '{"id": "a", "x": 1}\n{"id": ', r"rows\.jsonl:2: not JSON", id="half a line"),
        pytest.param("jsonl", "[1]\n", r"rows\.jsonl:1: a row must be a JSON object", id="no object"),
        pytest.param("jsonl", '{"x": 1}\n', "has no 'id'", id="no key"),
        pytest.param("csv", "id,x\na,many\n", r"rows\.csv:2: field 'x': 'many' is no int", id="a wrong type"),
        pytest.param("csv", "id,x\na\n", r"rows\.csv:2: the line has not as many cells", id="a cell too few"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(
    db: Datalayer, folder: Path, kind: str, text: str, message: str
) -> None:
    (folder / f"rows.{kind}").write_text(text)
    with pytest.raises(SchemaMismatch, match=message):
        bring(db, Table("t", fields={"x": "int"}, source=source(folder, kind)))


def test_fields_are_inferred_where_none_are_declared(db: Datalayer, folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"id": "a", "x": 1, "tags": ["new"]}\n')
    bring(db, Table("t", source=source(folder, "jsonl")))
    assert db["t"].find({"x": {"$gt": 0}}).execute().__next__()["tags"] == ["new"]


def test_the_same_again_writes_nothing_and_one_change_replaces_one_row(db: Datalayer, folder: Path) -> None:
    lines = [f'{{"id": "{n}", "x": {n}, "y": {n / 3}}}' for n in range(1200)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    table = Table("t", fields={"x": "int", "y": "float"}, source=source(folder, "jsonl"))
    assert bring(db, table) == Synced(added=1200)
    assert bring(db, table) == Synced(unchanged=1200)
    lines[700] = '{"id": "700", "x": -1}'
    (folder / "rows.jsonl").write_text("\n".join(lines))
    assert bring(db, table) == Synced(replaced=1, unchanged=1199)
    row = db["t"].find_one({"id": "700"}).execute()
    assert (row["x"], row["y"]) == (-1, None)


def test_a_fingerprint_changes_with_the_files_and_with_the_fields_only(db: Datalayer, folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"id": "a"}\n')
    table = Table("t", fields={"x": "int"}, source=source(folder, "jsonl"))
    other = Table("t", fields={"x": "float"}, source=source(folder, "jsonl"))
    first = open_source(db, table, source(folder, "jsonl")).fingerprint
    assert open_source(db, table, source(folder, "jsonl")).fingerprint == first
    assert open_source(db, other, source(folder, "jsonl")).fingerprint != first
    (folder / "rows.jsonl").write_text('{"id": "b", "x": 1}\n')
    assert open_source(db, table, source(folder, "jsonl")).fingerprint != first


def test_a_source_that_is_not_there_is_named(db: Datalayer, folder: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        bring(db, Table("t", fields={"x": "int"}, source=source(folder / "nowhere", "csv")))


def test_a_bucket_is_read_like_a_folder(db: Datalayer, s3_uri: str) -> None:
    from superduper.backends.s3.driver import Location
    from superduper.backends.s3.obstore_driver import ObstoreDriver

    driver = ObstoreDriver(Location.parse(s3_uri))
    driver.put("pics/a b.txt", b"in a bucket", overwrite=True)
    driver.put("rows.jsonl", b'{"id": "1", "data": "pics/a b.txt"}\n', overwrite=True)
    where, _, options = s3_uri.partition("?")
    fields = {"data": DataType("b", codec="bytes", encodable="artifact")}
    bring(db, Table("files", fields=fields, source=Source(uri=f"{where}/pics?{options}", format="files")))
    bring(db, Table("lines", fields=fields, source=Source(uri=f"{where}/rows.jsonl?{options}", format="jsonl")))
    assert [(row["id"], row["data"]) for row in db["files"].find().execute()] == [("a b.txt", b"in a bucket")]
    assert db["lines"].find_one().execute()["data"] == b"in a bucket"
    found: Folder = open_folder(s3_uri)[0]
    with pytest.raises(SuperduperError, match="there is no file 'nothing'"):
        found.read("nothing")


@pytest.mark.parametrize(
    ("file", "text", "line", "message"),
    [
        ("rows.csv", "id,x\na,1\nb,2\nc,3\n", 2, "field 'x': the schema"),
        ("rows.jsonl", '{"id": "a", "n": 1}\n\n{"id": "b", "n": 1.5}\n', 3, "field 'n': expected int"),
        ("rows.jsonl", '{"id": "a", "n": 1}\n{"n": 1}\n', 2, "has no 'id'"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_file_and_line(
    db: Datalayer, folder: Path, file: str, text: str, line: int, message: str
) -> None:
    (folder / file).write_text(text)
    table = Table("t", fields={"id": "str", "n": "int"}, source=source(folder, file.partition(".")[2]))
    with pytest.raises(SchemaMismatch) as caught:
        bring(db, table)
    assert f"{folder}/{file}:{line}" in str(caught.value)
    assert message in str(caught.value)


def test_a_bad_row_of_code_is_told_by_its_place_in_all_that_is_yielded(db: Datalayer) -> None:
    text = "def rows():\n    for n in range(1200):\n        yield {'id': f'r{n}', 'n': n if n != 1100 else 'x'}\n"
    table = Table("t", fields={"n": "int"}, source=Source(rows=Code(source=text, callable="rows")))
    with pytest.raises(SchemaMismatch, match=r"row 1100 \('r1100'\), field 'n': expected int"):
        bring(db, table)


def test_code_of_a_source_that_raises_is_told_with_its_line(db: Datalayer) -> None:
    text = "def rows():\n    yield {'id': 'a', 'n': 1}\n    yield {'id': 'b', 'n': 1 // 0}\n"
    table = Table("t", fields={"n": "int"}, source=Source(rows=Code(source=text, callable="rows")))
    with pytest.raises(CodeError) as caught:
        bring(db, table)
    assert str(caught.value).startswith("Table 't' source.rows: line 3: it raised ZeroDivisionError: ")
