"""Tables and rows: what goes in comes back, equal and of the same type, or is refused as a whole."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from superduper.backends.base.data_backend import DataBackend, Row
from superduper.errors import DuplicateKey, SchemaMismatch
from superduper.query.ast import Select
from superduper.query.tables import Column, TableDef

from .conftest import EVERYTHING, empty, find, keys


def test_a_table_is_made_once_listed_and_dropped(backend: DataBackend) -> None:
    assert backend.list_tables() == []
    backend.create_table(EVERYTHING)
    backend.create_table(EVERYTHING)
    assert backend.list_tables() == ["things"]
    backend.drop_table("things")
    backend.drop_table("things")
    assert backend.list_tables() == []


def test_new_columns_are_added_and_null_in_rows_that_are_there(backend: DataBackend) -> None:
    old = TableDef("t", (Column("id", "str"),), "id")
    new = TableDef("t", (Column("id", "str"), Column("x", "int")), "id")
    backend.create_table(old)
    backend.insert(old, [{"id": "a"}])
    backend.create_table(new)
    backend.insert(new, [{"id": "b", "x": 1}])
    assert find(backend, new) == [{"id": "a", "x": None}, {"id": "b", "x": 1}]


def test_another_primary_key_than_the_existing_one_is_refused(backend: DataBackend) -> None:
    backend.create_table(TableDef("t", (Column("id", "str"), Column("x", "str")), "id"))
    with pytest.raises(SchemaMismatch, match="primary key"):
        backend.create_table(TableDef("t", (Column("x", "str"), Column("id", "str")), "x"))


def test_another_type_than_the_existing_one_is_refused(backend: DataBackend) -> None:
    if backend.abilities.schemaless:
        return  # No types are kept that could contradict.
    backend.create_table(TableDef("t", (Column("id", "str"), Column("x", "str")), "id"))
    with pytest.raises(SchemaMismatch, match="'x'"):
        backend.create_table(TableDef("t", (Column("id", "str"), Column("x", "int")), "id"))


@pytest.mark.parametrize("kind", ["str", "int"])
def test_every_type_comes_back_as_it_went_in(backend: DataBackend, kind: str) -> None:
    table = TableDef("t", (Column("id", kind), *EVERYTHING.columns[1:]), "id")  # type: ignore[arg-type]
    backend.create_table(table)
    row = empty(
        "k" if kind == "str" else 7,
        n=-3,
        f=2.0,
        s="ü 'quoted' \"twice\" %s \\ \n 🜚",
        b=True,
        raw=b"\x00\xff\x80",
        meta={"a": [1, 2.5, None, True], "b": {"c": "ü"}},
        at=datetime(2024, 2, 29, 12, 30, 15, 123000, tzinfo=UTC),
        _fold="train",
    )
    backend.insert(table, [row])
    (found,) = find(backend, table)
    assert found == row
    assert {name: type(value) for name, value in found.items()} | {"at": datetime} == {
        name: type(value) for name, value in row.items()
    }


def test_datetimes_come_back_in_utc_with_the_digits_that_are_declared(backend: DataBackend, things: TableDef) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    moments = {
        "a": datetime(2024, 1, 1, 3, 0, 0, 123456, tzinfo=east),
        "b": datetime(1931, 1, 1, tzinfo=UTC),
        "c": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        "d": datetime(2024, 1, 1, 12, 0, 0),  # noqa: DTZ001 - without a zone it counts as UTC
    }
    backend.insert(things, [empty(key, at=at) for key, at in moments.items()])
    found = {row["id"]: row["at"] for row in find(backend, things)}
    unit = 10 ** (6 - backend.abilities.datetime_digits)
    for key, at in moments.items():
        aware = at if at.tzinfo else at.replace(tzinfo=UTC)
        expected = aware.astimezone(UTC)
        assert found[key] == expected.replace(microsecond=expected.microsecond // unit * unit)
        assert found[key].utcoffset() == timedelta(0)  # type: ignore[attr-defined]
    assert keys(backend, things, {"at": {"$lt": moments["a"] + timedelta(seconds=1)}}) == ["a", "b"]
    assert keys(backend, things, {"at": moments["d"]}) == ["d"]


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_integers_of_64_bits_are_exact(backend: DataBackend, things: TableDef, number: int) -> None:
    backend.insert(things, [empty("a", n=number)])
    assert find(backend, things)[0]["n"] == number
    assert keys(backend, things, {"n": number}) == ["a"]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_an_integer_beyond_64_bits_names_row_and_field(backend: DataBackend, things: TableDef, number: int) -> None:
    with pytest.raises(SchemaMismatch, match=r"'b'.*'n'.*64 bits"):
        backend.insert(things, [empty("a"), empty("b", n=number)])
    assert find(backend, things) == []


def test_nan_and_infinity_come_back(backend: DataBackend, things: TableDef) -> None:
    assert backend.abilities.nan
    backend.insert(things, [empty("a", f=math.nan), empty("b", f=math.inf), empty("c", f=-math.inf)])
    found = [row["f"] for row in find(backend, things)]
    assert math.isnan(found[0])  # type: ignore[arg-type]
    assert found[1:] == [math.inf, -math.inf]


def test_nan_is_refused_by_name_where_it_cannot_be_kept(backend: DataBackend, things: TableDef) -> None:
    if backend.abilities.nan:
        return
    with pytest.raises(SchemaMismatch, match=r"'a'.*'f'.*NaN"):
        backend.insert(things, [empty("a", f=math.nan)])


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", "3"), ("n", 3.5), ("n", True), ("f", "x"), ("s", 3), ("b", 1), ("raw", "text"), ("at", "2024-01-01")],
)
def test_a_value_of_another_type_names_row_and_field(
    backend: DataBackend, things: TableDef, field: str, value: object
) -> None:
    with pytest.raises(SchemaMismatch, match=f"'bad'.*'{field}'"):
        backend.insert(things, [empty("good"), empty("bad", **{field: value})])
    assert find(backend, things) == []


def test_a_row_without_its_key_is_refused(backend: DataBackend, things: TableDef) -> None:
    for row in ({"s": "x"}, {"id": None, "s": "x"}):
        with pytest.raises(SchemaMismatch, match="'id'"):
            backend.insert(things, [row])


def test_fields_that_are_not_declared_are_refused_or_kept(backend: DataBackend, things: TableDef) -> None:
    row = {"id": "a", "ss": "x"}
    if backend.abilities.schemaless:
        backend.insert(things, [row])
        assert find(backend, things)[0]["ss"] == "x"
    else:
        with pytest.raises(SchemaMismatch, match="'ss'; did you mean 's'"):
            backend.insert(things, [row])


def test_absent_fields_come_back_as_null(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [{"id": "a", "n": 1}])
    assert find(backend, things) == [empty("a", n=1)]


def test_whole_numbers_in_a_float_column_come_back_as_floats(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty("a", f=3)])
    assert type(find(backend, things)[0]["f"]) is float


@pytest.mark.parametrize("value", [{}, [], 5.0, "text", "5.0", True, [[1], {"a": None}], {"k": "ü"}])
def test_any_json_comes_back(backend: DataBackend, things: TableDef, value: object) -> None:
    backend.insert(things, [empty("a", meta=value)])
    found = find(backend, things)[0]["meta"]
    assert found == value
    assert type(found) is type(value)


def test_names_may_be_reserved_words_or_hold_quotes(backend: DataBackend) -> None:
    names = ("select", "Group", 'a"b', "per%cent", "with space", "größe", "colon:x", "q?m")
    table = TableDef("order by", (Column("id", "str"), *(Column(name, "int") for name in names)), "id")
    backend.create_table(table)
    rows = [{"id": "a"} | {name: number for number, name in enumerate(names)}, {"id": "b"} | dict.fromkeys(names)]
    backend.insert(table, rows)
    backend.upsert(table, rows)
    assert find(backend, table) == rows
    for number, name in enumerate(names):
        assert keys(backend, table, {name: number}) == ["a"]
        assert keys(backend, table, {name: {"$in": [number]}}) == ["a"]
    backend.drop_table(table.name)


def test_a_large_value_comes_back(backend: DataBackend, things: TableDef) -> None:
    raw = bytes(range(256)) * (60_000)  # 15.4 MB: just below what one document of MongoDB may hold
    backend.insert(things, [empty("a", raw=raw)])
    assert find(backend, things, {"id": "a"})[0]["raw"] == raw


def test_a_duplicate_key_leaves_nothing_and_is_named(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty("a", n=1)])
    with pytest.raises(DuplicateKey, match="'a'") as caught:
        backend.insert(things, [empty("z"), empty("a", n=2), empty("y")])
    assert caught.value.keys == ("a",)
    with pytest.raises(DuplicateKey, match="'q'"):
        backend.insert(things, [empty("q"), empty("r"), empty("q")])
    many = [empty(f"m{number:04}") for number in range(500)]
    with pytest.raises(DuplicateKey) as caught:
        backend.insert(things, [*many, empty("a")])
    assert caught.value.keys == ("a",)
    assert find(backend, things) == [empty("a", n=1)]


def test_upsert_replaces_whole_rows_and_adds_new_ones(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty("a", n=1, s="old"), empty("b", n=2)])
    backend.upsert(things, [empty("a", n=10), empty("c", n=30)])
    backend.upsert(things, [empty("d", n=1), empty("d", n=2)])
    assert [(row["id"], row["n"], row["s"]) for row in find(backend, things)] == [
        ("a", 10, None),
        ("b", 2, None),
        ("c", 30, None),
        ("d", 2, None),
    ]


def test_ten_thousand_rows_are_read_in_batches(backend: DataBackend, things: TableDef) -> None:
    rows = [{"id": f"{number:05}", "n": number} for number in range(10_000)]
    backend.insert(things, rows)
    batches = list(backend.select(things, Select("things", fields=("id", "n")), batch=999))
    assert {len(batch) for batch in batches[:-1]} == {999}
    assert sorted((row["id"], row["n"]) for batch in batches for row in batch) == [(r["id"], r["n"]) for r in rows]
    assert len(keys(backend, things, {"id": {"$in": [row["id"] for row in rows[:1000]]}})) == 1000
    assert len(keys(backend, things, {"n": {"$nin": list(range(500))}})) == 9500


def test_writing_while_a_result_is_read_does_not_disturb_it(backend: DataBackend, things: TableDef) -> None:
    backend.insert(things, [empty(f"{number:03}", n=number) for number in range(300)])
    seen = []
    for batch in backend.select(things, Select("things", sort=(("id", 1),)), batch=50):
        backend.update(things, _all(), _set("s", "seen"), many=True)
        seen += [row["id"] for row in batch]
    assert seen == [f"{number:03}" for number in range(300)]


def _all():  # type: ignore[no-untyped-def]
    from superduper.query.ast import And

    return And(())


def _set(field: str, value: object):  # type: ignore[no-untyped-def]
    from superduper.query.ast import Update

    return Update(set={field: value})


def test_a_record_of_a_document_store_carries_its_envelope(backend: DataBackend, things: TableDef) -> None:
    if not backend.abilities.envelope:
        return
    backend.insert(things, [{"id": "a", "s": "x", "_fold": "train"}])
    name = backend.uri.rpartition("/")[2].partition("?")[0]
    record = backend.conn[name].things.find_one()
    assert {k: v for k, v in record.items() if k != "_id"} == {
        "id": "a",
        "s": "x",
        "_fold": "train",
        "_schema": "schema",
        "_builds": {},
        "_files": {},
        "_blobs": {},
    }
    assert [k for k in record if k != "_id"] == ["id", "s", "_fold", "_schema", "_builds", "_files", "_blobs"]
    (row,) = [row for rows in backend.select(things, Select("things")) for row in rows]
    assert list(row)[-1] == "_id"
    assert not set(row) & {"_schema", "_builds", "_files", "_blobs"}


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([empty("a", n="x")], SchemaMismatch, "row 'a', field 'n': int expected"),
        ([empty("a", n=2**63)], SchemaMismatch, "64 bits"),
        ([empty("a"), empty("b"), empty("a")], DuplicateKey, "rows with 'id' 'a' exist or are given twice"),
    ],
)
def test_rows_are_checked_before_their_table_is_there(
    backend: DataBackend, rows: list[Row], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        backend.check(EVERYTHING, rows)
    backend.check(EVERYTHING, [empty("a", n=1, meta={"x": [1]})])
    backend.check(EVERYTHING, [])
    assert EVERYTHING.name not in backend.list_tables()


def test_a_record_beyond_what_mongodb_takes_is_found_before(backend: DataBackend) -> None:
    if not backend.abilities.envelope:
        return
    with pytest.raises(SchemaMismatch, match="at most 16 MB"):
        backend.check(EVERYTHING, [empty("a", raw=bytes(17_000_000))])
    with pytest.raises(SchemaMismatch, match="integers of 64 bits"):
        backend.check(EVERYTHING, [empty("a", meta={"x": 2**70})])


def test_names_that_differ_by_case_are_two_tables_or_refused(backend: DataBackend) -> None:
    lower = TableDef("cc", (Column("id", "str"), Column("x", "int")), "id")
    upper = TableDef("CC", (Column("id", "str"), Column("y", "str")), "id")
    backend.create_table(lower)
    backend.create_table(lower)
    backend.insert(lower, [{"id": "a", "x": 1}])
    if backend.abilities.case:
        backend.create_table(upper)
        backend.insert(upper, [{"id": "a", "y": "s"}])
        assert find(backend, upper) == [{"id": "a", "y": "s"}]
    else:
        with pytest.raises(SchemaMismatch, match="'CC': .* cannot tell it from the table 'cc'"):
            backend.create_table(upper)
        with pytest.raises(SchemaMismatch, match="cannot tell the field 'X' from 'x'"):
            backend.create_table(TableDef("dd", (Column("id", "str"), Column("x", "int"), Column("X", "int")), "id"))
    assert find(backend, lower) == [{"id": "a", "x": 1}]
