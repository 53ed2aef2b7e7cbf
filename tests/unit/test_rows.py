"""Rows on their way into and out of plain values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from superduper import DataType, Schema
from superduper.artifacts import Artifacts
from superduper.backends.memory.artifacts import MemoryArtifactStore
from superduper.document import EMPTY, Encoded, LazyArtifact, Source
from superduper.errors import ConfigError, EncodeError, SchemaMismatch, SuperduperError
from superduper.rows import RowCodec, fold


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    artifacts = Artifacts(MemoryArtifactStore("memory://"))
    yield Source(artifacts, tmp_path / "files")
    artifacts.close()


def codec(fields: dict[str, Any], *, schemaless: bool = False, key: str = "id") -> RowCodec:
    schema = Schema("s", fields)
    return RowCodec(schema.table("t", key), schema, schemaless=schemaless)


def through(rows: RowCodec, source: Source, *given: dict[str, Any]) -> list[Any]:
    with source.artifacts.writing() as writer:
        plain = rows.encode(given, writer)
    return rows.decode([dict(row) for row in plain], source)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("str", "größe & 名"), ("int", -(2**63)), ("float", 1.5), ("bool", False), ("bytes", b"\0\xff"),
        ("json", {"a": [1, None, True, {"b": "&:blob:x"}]}), ("datetime", datetime(2024, 7, 23, 1, 2, 3, 456789, tzinfo=UTC)),
        (DataType("p", codec="pickle", encodable="artifact"), {1, 2}), (DataType("p", codec="pickle", encodable="encodable"), {1}),
        (DataType("t", codec="text"), "text"), (DataType("t", codec="text", encodable="encodable"), "text"),
        (DataType("j", codec="json"), [1]), (DataType("j", codec="json", encodable="artifact"), [1]),
        (DataType("b", codec="bytes", encodable="encodable", bytes_encoding="Str"), b"\0\xff"),
    ],
    ids=lambda part: f"{part.codec}-{part.encodable}" if isinstance(part, DataType) else str(part),
)  # fmt: skip
def test_a_value_comes_back_as_it_went_in(source: Source, kind: Any, value: Any) -> None:
    (row,) = through(codec({"x": kind}), source, {"id": "a", "x": value})
    assert row["x"] == value
    assert type(row["x"]) is type(value)
    (row,) = through(codec({"x": kind}), source, {"id": "a", "x": None})
    assert row["x"] is None


def test_numbers_of_numpy_are_plain_numbers(source: Source) -> None:
    import numpy as np

    (row,) = through(
        codec({"n": "int", "f": "float", "b": "bool"}), source, {"n": np.int64(3), "f": np.float32(0.5), "b": np.True_}
    )
    assert (type(row["n"]), type(row["f"]), type(row["b"])) == (int, float, bool)


def test_times_are_in_utc(source: Source) -> None:
    given = datetime(2024, 7, 23, 12, tzinfo=timezone(timedelta(hours=2)))
    (row,) = through(codec({"d": "datetime"}), source, {"d": given})
    assert row["d"] == given
    assert row["d"].tzinfo is UTC


def test_a_key_is_made_where_it_is_missing_and_may_be(source: Source) -> None:
    first, second = through(codec({"x": "int"}), source, {"x": 1}, {"x": 2})
    assert first["id"] != second["id"]
    with pytest.raises(SchemaMismatch, match="'id' is the primary key and is not given"):
        through(codec({"id": "int"}), source, {})


def test_the_fold_follows_from_the_key() -> None:
    assert fold("a", 0.05) == fold("a", 0.05)
    share = sum(fold(f"key-{n}", 0.05) == "valid" for n in range(10_000)) / 10_000
    assert 0.04 < share < 0.06
    assert {fold(n, 0.0) for n in range(100)} == {"train"}
    assert {fold(n, 1.0) for n in range(100)} == {"valid"}


def test_a_fold_that_is_given_is_kept(source: Source) -> None:
    rows = codec({})
    assert [
        row["_fold"] for row in through(rows, source, {"id": "a", "_fold": "valid"}, {"id": "a", "_fold": "train"})
    ] == [
        "valid",
        "train",
    ]


def test_lazy_values_are_empty_until_unpacked_and_may_be_inserted_again(source: Source) -> None:
    rows = codec({"x": DataType("p", codec="pickle", encodable="lazy_artifact")})
    (row,) = through(rows, source, {"id": "a", "x": [1]})
    assert isinstance(row["x"], LazyArtifact)
    assert row["x"].x is EMPTY
    (copy,) = through(rows, source, {"id": "b", "x": row["x"]})
    assert copy["x"].reference == row["x"].reference
    assert copy.unpack()["x"] == [1]
    assert copy["x"].x == [1]


def test_undeclared_fields_are_kept_where_the_database_can(source: Source) -> None:
    (row,) = through(codec({"x": "int"}, schemaless=True), source, {"id": "a", "x": 1, "other": {"y": [1]}})
    assert row["other"] == {"y": [1]}
    with pytest.raises(SchemaMismatch, match=r"no such field; did you mean 'number'"):
        through(codec({"number": "int"}), source, {"id": "a", "nunber": 1})
    with pytest.raises(SchemaMismatch, match="starts? with"):
        through(codec({}, schemaless=True), source, {"id": "a", "$set": 1})


@pytest.mark.parametrize(
    ("value", "kind"),
    [(float("nan"), "json"), ((1, 2), "json"), ({1: 2}, "json"), ("x", "bytes"), (1, "str"), (2.5, "int")],
)
def test_what_would_come_back_as_something_else_is_refused(source: Source, value: Any, kind: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"table 't', row 1 \('b'\), field 'x'"):
        through(codec({"x": kind}), source, {"id": "a"}, {"id": "b", "x": value})


def test_a_row_that_is_no_document_is_refused(source: Source) -> None:
    with pytest.raises(EncodeError, match="row 0: a list is no document"):
        through(codec({}), source, [("id", "a")])  # type: ignore[arg-type]


def test_two_data_types_of_one_name_with_other_content_are_two(source: Source) -> None:
    first = DataType("d", encoder=lambda x: b"1" + x, decoder=lambda x: x[1:], encodable="artifact")
    with pytest.raises(SuperduperError):
        through(codec({"x": first}), source, {"id": "a", "x": 5})
    assert through(codec({"x": first}), source, {"id": "a", "x": b"5"})[0]["x"] == b"5"


@pytest.mark.parametrize("name", ["_id", "_outputs", "_schema", "_blobs"])
def test_what_is_not_kept_is_refused_unless_the_row_was_read(source: Source, name: str) -> None:
    for rows in (codec({"x": "int"}), codec({"x": "int"}, schemaless=True)):
        with pytest.raises(SchemaMismatch, match=f"row 0: '{name}' is not kept, and the primary key 'id' is not given"):
            through(rows, source, {name: "9", "x": 1})
        (row,) = through(rows, source, {"id": "a", name: "9", "x": 1})
        assert name not in row


def test_a_fold_that_is_none_of_the_two_is_refused(source: Source) -> None:
    with pytest.raises(SchemaMismatch, match=r"row 0 \('a'\): '_fold' is 'train' or 'valid', not 'vald'; did you mean"):
        through(codec({}), source, {"id": "a", "_fold": "vald"})


@pytest.mark.parametrize("value", ["foo", b"foo", {"a": 1}, [["a"]], [[1], [2, 3]], object()])
def test_what_is_no_array_is_refused_by_the_numpy_codec(source: Source, value: Any) -> None:
    rows = codec({"x": DataType("n", codec="numpy")})
    with pytest.raises(EncodeError, match=r"row 0 \('a'\), field 'x': the encoder of DataType 'n' raised"):
        through(rows, source, {"id": "a", "x": value})
    (row,) = through(rows, source, {"id": "a", "x": [1, 2]})
    assert row["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("made", "other"),
    [
        (DataType("d", codec="numpy", shape=(2, 2)), "array"),
        (DataType("d", codec="json", shape=(2, 2)), "list"),
        (DataType("d", codec="pickle", encodable="artifact", shape=(2, 2)), "array"),
        (DataType("d", encoder=lambda x: x.tobytes(), shape=(2, 2)), "array"),
        (DataType("d", codec="image", shape=(2, 2)), "image"),
    ],
    ids=["numpy", "json", "pickle", "own", "image"],
)
def test_a_value_of_another_shape_is_refused(source: Source, made: DataType, other: str) -> None:
    import numpy as np
    from PIL import Image

    def value(*shape: int) -> Any:
        array = np.zeros(shape, "uint8")
        return {"array": array, "list": array.tolist(), "image": Image.fromarray(array)}[other]

    rows = codec({"x": made})
    through(rows, source, {"id": "a", "x": value(2, 2)}, {"id": "b", "x": None})
    with pytest.raises(EncodeError, match=r"field 'x': DataType 'd' has the shape \(2, 2\), and the value \(3, 2\)"):
        through(rows, source, {"id": "a", "x": value(3, 2)})
    with pytest.raises(EncodeError, match="field 'x'"):
        through(rows, source, {"id": "a", "x": "text"})


def test_bytes_that_are_encoded_already_are_held_to_the_shape(source: Source) -> None:
    rows = codec({"x": DataType("d", codec="json", encodable="artifact", shape=(2,))})
    through(rows, source, {"id": "a", "x": Encoded(b"[1, 2]")})
    with pytest.raises(EncodeError, match=r"has the shape \(2,\), and the value \(3,\)"):
        through(rows, source, {"id": "a", "x": Encoded(b"[1, 2, 3]")})


@pytest.mark.parametrize("encodable", ["file", "lazy_file"])
def test_links_in_a_folder_are_refused_or_kept_by_an_option(source: Source, tmp_path: Path, encodable: Any) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.txt").write_text("content")
    (tmp_path / "given" / "link").symlink_to("a.txt")
    row = {"id": "a", "x": str(tmp_path / "given")}
    with pytest.raises(EncodeError, match=r"symbolic link; .* info=\{'symlinks': 'keep'\}"):
        through(codec({"x": DataType("f", codec="file", encodable=encodable)}), source, row)
    kept = DataType("f", codec="file", encodable=encodable, info={"symlinks": "keep"})
    (read,) = through(codec({"x": kept}), source, row)
    copy = Path(read.unpack()["x"])
    assert (copy / "link").is_symlink()
    assert (copy / "link").read_text() == "content"
    with pytest.raises(ConfigError, match=r"info\['symlinks'\] is 'refuse' or 'keep', not 'kep'"):
        DataType("f", codec="file", info={"symlinks": "kep"})
