"""One flipped byte, a lost payload, a forged reference: named with reference, store, table and row, never read as data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superduper import Datalayer, DataType, Listener, Model, Table
from superduper.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    DecodeError,
    InvalidReference,
    SuperduperError,
)
from tests.faults.conftest import Open, blobs

SIZES = {"loose": 1, "packed": 40}
Read = Callable[[Datalayer], Any]

READS: dict[str, Read] = {
    "eager": lambda db: [row["e"] for row in db["t"].find().execute()],
    "one eager": lambda db: db["t"].find_one({"id": "r0"}).execute(),
    "unpack": lambda db: [row.unpack() for row in list(db["t"].find({}, {"l": 1}).execute())],
    "read": lambda db: [row["l"].read() for row in list(db["t"].find({}, {"l": 1}).execute())],
    "ranges": lambda db: [
        row["l"].read_ranges([(0, 4), (10, 5)]) for row in list(db["t"].find({}, {"l": 1}).execute())
    ],
    "file": lambda db: [row["f"].unpack() for row in list(db["t"].find({}, {"f": 1}).execute())],
}


def fill(db: Datalayer, tmp_path: Path, number: int) -> None:
    fields = {"e": "artifact", "l": "lazy_artifact"}
    kinds: dict[str, Any] = {name: DataType(name, codec="bytes", encodable=where) for name, where in fields.items()}
    db.apply(Table("t", fields={**kinds, "f": DataType("f", encodable="lazy_file"), "n": "int"}))
    rows = []
    for n in range(number):
        path = tmp_path / f"{n}.bin"
        path.write_bytes(os.urandom(2000))
        rows.append({"id": f"r{n}", "e": os.urandom(2000), "l": os.urandom(2000), "f": str(path), "n": n})
    db["t"].insert_many(rows).execute()


def flip(folder: Path) -> None:
    """One bit of every payload, and of nothing else: a pack's index stays as it is."""
    for path in blobs(folder):
        data = bytearray(path.read_bytes())
        # Payloads are of 2,000 bytes and stand first in a pack.
        for at in range(5, len(data) if path.suffix != ".pack" else len(data) * 9 // 10, 1000):
            data[at] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)


@pytest.mark.parametrize("kept", SIZES)
@pytest.mark.parametrize("read", READS)
def test_a_flipped_byte_is_found_and_named(
    lite: Datalayer, tmp_path: Path, store_uri: str, read: str, kept: str
) -> None:
    fill(lite, tmp_path, SIZES[kept])
    assert bool(list((tmp_path / "artifacts" / "packs").glob("*"))) == (kept == "packed")
    flip(tmp_path / "artifacts")
    with pytest.raises(ArtifactCorrupt) as caught:
        READS[read](lite)
    error = caught.value
    assert error.reference.startswith("&:blob:") or error.reference.startswith("&:file:")
    assert (error.store, error.table) == (store_uri, "t")
    assert str(error.row).startswith("r")
    assert error.reference in str(error)
    assert "'t'" in str(error)


@pytest.mark.parametrize("system", ["postgres", "mongomock", "mongo"])
def test_a_flipped_byte_is_found_on_every_system(
    request: pytest.FixtureRequest, connect: Open, tmp_path: Path, system: str
) -> None:
    db = connect(str(request.getfixturevalue(f"{system}_uri")))
    fill(db, tmp_path, 3)
    flip(tmp_path / "artifacts")
    for read in READS.values():
        with pytest.raises(ArtifactCorrupt) as caught:
            read(db)
        assert (caught.value.table, str(caught.value.row)[0]) == ("t", "r")
    assert [row["n"] for row in db["t"].find({}, {"n": 1}, sort="n").execute()] == [0, 1, 2], (
        "the row itself is readable"
    )


@pytest.mark.parametrize("read", READS)
def test_a_lost_payload_is_missing_and_named(lite: Datalayer, tmp_path: Path, read: str) -> None:
    fill(lite, tmp_path, 2)
    for path in blobs(tmp_path / "artifacts"):
        path.unlink()
    with pytest.raises(ArtifactMissing) as caught:
        READS[read](lite)
    assert caught.value.table == "t"
    assert caught.value.row in ("r0", "r1")


def test_damage_is_found_by_verify_set_aside_and_mended_by_inserting_again(lite: Datalayer, tmp_path: Path) -> None:
    fill(lite, tmp_path, 1)
    (payload,) = (row["e"] for row in lite["t"].find().execute())
    flip(tmp_path / "artifacts")
    found = lite.verify()
    assert found
    assert all(
        "do not match" in damage.problem or "manifest" in damage.problem or "missing" in damage.problem
        for damage in found
    )
    lite.verify(set_aside=True)
    assert list((tmp_path / "artifacts" / "corrupt").iterdir())
    lite["t"].insert_one({"id": "again", "e": payload}).execute()
    assert lite["t"].find_one({"id": "again"}).execute()["e"] == payload
    assert lite["t"].find_one({"id": "r0"}, {"e": 1}).execute()["e"] == payload


def test_a_damaged_input_fails_its_own_row_of_a_prediction_only(lite: Datalayer, tmp_path: Path) -> None:
    fill(lite, tmp_path, 3)
    (victim,) = [
        path
        for path in blobs(tmp_path / "artifacts")
        if path.read_bytes() == lite["t"].find_one({"id": "r1"}).execute()["e"]
    ]
    victim.chmod(0o600)
    victim.write_bytes(b"x" * 2000)
    lite.apply(Listener(Model("m", object=len, datatype="int"), key="e", select=lite["t"]))
    (error,) = lite.errors("m")
    assert error["row"] == "r1"
    assert "ArtifactCorrupt" in error["error"]
    assert lite.coverage("m").done == 2


FORGED = (
    "&:blob:../x",
    "&:file:/etc/passwd",
    "&:blob:/etc/passwd",
    "&:blob:" + "A" * 40,
    "&:blob:" + "0" * 39,
    "&:blob:" + "0" * 40 + "\n",
    "&:blob:" + "0" * 40 + "/../../x",
    "blob:" + "0" * 40,
    "",
    "٠" * 40,
)


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_reference_in_the_database_is_refused(lite: Datalayer, tmp_path: Path, forged: str) -> None:
    import sqlalchemy as sa

    fill(lite, tmp_path, 1)
    with lite.databackend.conn.begin() as connection:
        connection.execute(sa.text("UPDATE t SET e = :x, l = :x, f = :x"), {"x": forged})
    for field in ("e", "l", "f"):
        with pytest.raises(InvalidReference) as caught:
            lite["t"].find_one({}, {field: 1}).execute().unpack()
        assert (caught.value.table, caught.value.row) == ("t", "r0")
    assert lite["t"].find_one({}, {"n": 1}).execute()["n"] == 0


def test_a_reference_of_the_wrong_kind_is_refused(lite: Datalayer, tmp_path: Path) -> None:
    import sqlalchemy as sa

    fill(lite, tmp_path, 1)
    with lite.databackend.conn.begin() as connection:
        blob, file = connection.execute(sa.text("SELECT e, f FROM t")).one()
        connection.execute(sa.text("UPDATE t SET e = :f, l = :f, f = :e"), {"f": file, "e": blob})
    for field in ("e", "l", "f"):
        with pytest.raises((DecodeError, ArtifactError)):
            lite["t"].find_one({}, {field: 1}).execute().unpack()
    # And of the right kind, but naming bytes that are no manifest.
    with lite.databackend.conn.begin() as connection:
        connection.execute(sa.text("UPDATE t SET f = :f"), {"f": blob.replace("blob", "file")})
    with pytest.raises(InvalidReference, match="no file or directory"):
        lite["t"].find_one({}, {"f": 1}).execute().unpack()


@pytest.mark.parametrize("name", ["..", ".", "../x", "/etc/x", "a/b", "", "a\0b"])
@pytest.mark.parametrize("where", ["root", "entry"])
def test_a_forged_tree_leads_nowhere(lite: Datalayer, tmp_path: Path, name: str, where: str) -> None:
    import json

    import sqlalchemy as sa

    fill(lite, tmp_path, 1)
    with lite.artifacts.writing() as writer:
        blob = writer.put(b"payload")
        honest = tmp_path / "honest"
        honest.mkdir()
        (honest / "in.txt").write_text("x")
        manifest = json.loads(lite.artifacts.get(writer_tree(lite, honest)))
        if where == "root":
            manifest["name"] = name
        else:
            manifest["entries"][1]["path"] = [name]
        tree = writer.put(json.dumps(manifest).encode())
    assert blob
    with lite.databackend.conn.begin() as connection:
        connection.execute(sa.text("UPDATE t SET f = :f"), {"f": f"&:file:{tree}"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SuperduperError):
        lite["t"].find_one({}, {"f": 1}).execute().unpack()
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and "leases" not in path.parts] == []


def writer_tree(db: Datalayer, folder: Path) -> str:
    with db.artifacts.writing() as writer:
        return writer.put_path(folder)


def test_links_out_of_a_directory_are_never_followed(lite: Datalayer, tmp_path: Path) -> None:
    lite.apply(Table("t", fields={"f": DataType("f", encodable="file")}))
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "out").symlink_to("/etc/passwd")
    with pytest.raises(SuperduperError, match="symbolic link"):
        lite["t"].insert_one({"id": "a", "f": str(folder)}).execute()
    assert lite["t"].count_documents().execute() == 0
