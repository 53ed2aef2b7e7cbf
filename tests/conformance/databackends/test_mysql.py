"""What is MySQL's own: its limits are said, and its oddities do not show."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from superduper import config
from superduper.backends import registry
from superduper.backends.base.data_backend import DataBackend
from superduper.errors import AccessDenied, DuplicateKey, NotFound, QueryError, SchemaMismatch, StoreError, Unreachable
from superduper.query.ast import And, Select
from superduper.query.parse import parse_update
from superduper.query.tables import Column, TableDef

from .conftest import EVERYTHING, SYSTEMS, empty, find, keys
from .test_native import LEFT, Runner


@pytest.fixture
def backend(mariadb_uri: str) -> Iterator[DataBackend]:
    made = SYSTEMS["mysql"].open(mariadb_uri)
    yield made
    made.close()


def administer(backend: DataBackend, *statements: str) -> None:
    with backend.conn.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_both_names_lead_to_it(mariadb_uri: str, scheme: str) -> None:
    made = registry.data_backend(scheme + mariadb_uri.removeprefix("mysql"))
    assert made.list_tables() == []
    made.close()


def test_a_silent_server_is_unreachable_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.CFG, "connect_timeout", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=r"Check the host"):
            SYSTEMS["mysql"].open(f"mysql://user:secret@127.0.0.1:{silent.getsockname()[1]}/db")
    assert time.monotonic() - begun < 5


def test_a_user_without_rights_is_refused(mariadb_uri: str, backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    database = backend.conn.url.database
    name = f"r{database[-12:]}"
    administer(
        backend,
        f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'pw'",
        f"GRANT SELECT ON {database}.* TO {name}@'127.0.0.1'",
    )
    rest = mariadb_uri.rpartition("@")[2]
    reader = SYSTEMS["mysql"].open(f"mysql://{name}:pw@{rest}")
    try:
        assert find(reader, EVERYTHING) == []
        with pytest.raises(AccessDenied, match="rights"):
            reader.insert(EVERYTHING, [empty("a")])
        with pytest.raises(AccessDenied, match="rights"):
            reader.create_table(TableDef("other", (Column("id", "str"),), "id"))
        with pytest.raises(AccessDenied, match="mysql"):
            SYSTEMS["mysql"].open(f"mysql://{name}:pw@{rest.partition('/')[0]}/mysql")
    finally:
        reader.close()
        administer(backend, f"DROP USER {name}@'127.0.0.1'")


def test_spaces_at_the_end_and_case_make_other_texts(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    rows = [empty(key, s=key) for key in ("A", "a", "a\x01", "a ", "á")]
    backend.insert(EVERYTHING, rows)
    assert find(backend, EVERYTHING) == rows
    assert find(backend, EVERYTHING, sort="s") == rows
    assert keys(backend, EVERYTHING, {"s": "a"}) == ["a"]
    assert keys(backend, EVERYTHING, {"id": "a "}) == ["a "]
    assert backend.distinct(EVERYTHING, "s", And(())) == ["A", "a", "a\x01", "a ", "á"]


def test_long_texts_are_sorted_by_their_ends(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", s="x" * 5000 + "2"), empty("b", s="x" * 5000 + "1")])
    assert [row["id"] for row in find(backend, EVERYTHING, sort="s")] == ["b", "a"]
    assert backend.distinct(EVERYTHING, "s", And(())) == ["x" * 5000 + "1", "x" * 5000 + "2"]
    sort = [(field, 1) for field in ("s", "meta.a", "meta.b", "meta.c", "_fold")]
    assert [row["id"] for row in find(backend, EVERYTHING, sort=sort)] == ["b", "a"]


def test_a_text_key_has_a_greatest_length_that_is_declared(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    most = backend.abilities.key_length
    assert most == 768
    row = empty("🜚" * most, n=1)
    backend.insert(EVERYTHING, [row])
    assert find(backend, EVERYTHING) == [row]
    for write in (backend.insert, backend.upsert):
        with pytest.raises(SchemaMismatch, match=r"at most 768 characters .* not 769.*shorter"):
            write(EVERYTHING, [empty("a"), empty("k" * (most + 1))])
    assert backend.count(EVERYTHING, And(())) == 1


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_floats_that_are_no_numbers_are_refused_everywhere(backend: DataBackend, number: float) -> None:
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", f=1.7e308)])
    with pytest.raises(SchemaMismatch, match=r"'b'.*'f'.*(NaN|infinity); store None"):
        backend.insert(EVERYTHING, [empty("b", f=number)])
    with pytest.raises(SchemaMismatch, match=r"'f'.*(NaN|infinity)"):
        backend.update(EVERYTHING, And(()), parse_update({"$set": {"f": number}}), many=True)
    with pytest.raises(SchemaMismatch, match=r"'f'.*infinity"):
        backend.update(EVERYTHING, And(()), parse_update({"$inc": {"f": 1.7e308}}), many=True)
    with pytest.raises(QueryError, match=r"NaN|infinity"):
        find(backend, EVERYTHING, {"f": {"$lt": number}})
    assert find(backend, EVERYTHING) == [empty("a", f=1.7e308)]


def test_json_keeps_its_order_and_its_numbers(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    value = {"z": 1, "a": 2**80, "m": 5.0, 'q"u\\o': {"ü 🜚": "\x00\n"}, "tiny": 5e-324, "deep": [[[[1]]]]}
    backend.insert(EVERYTHING, [empty("a", meta=value)])
    found: Any = find(backend, EVERYTHING)[0]["meta"]
    assert found == value
    assert list(found) == list(value)
    assert type(found["m"]) is float
    assert keys(backend, EVERYTHING, {'meta.q"u\\o.ü 🜚': "\x00\n"}) == ["a"]
    assert keys(backend, EVERYTHING, {"meta.deep.0.0.0.0": 1}) == ["a"]
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    backend.insert(EVERYTHING, [empty("b", meta=deep)])
    assert find(backend, EVERYTHING, {"meta": {"$exists": True}}, ["meta"], sort="id")[1] == {"meta": deep}


def test_a_field_inside_json_is_sorted_by_kind_then_value(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    values = [None, -3, 2.5, 10, "10", "9", "B", "a", {"x": 1}, [1], False, True]
    backend.insert(EVERYTHING, [empty(f"{at:02}", meta={"k": value}) for at, value in enumerate(values)])
    assert [row["meta"]["k"] for row in find(backend, EVERYTHING, sort="meta.k")] == values  # type: ignore[index]
    assert find(backend, EVERYTHING, None, ["id"], sort=[("meta.k", -1)])[0] == {"id": "11"}


def test_a_text_that_is_no_unicode_and_a_broken_pattern_are_refused(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", s="x")])
    for text in ("\ud800", "\udcff"):
        with pytest.raises(SchemaMismatch):
            backend.insert(EVERYTHING, [empty("b", s=text)])
    with pytest.raises(QueryError):
        find(backend, EVERYTHING, {"s": {"$regex": r"x(?<=a+)"}})


def test_a_table_that_others_made_is_understood_or_refused(backend: DataBackend) -> None:
    collation = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
    administer(
        backend,
        f"CREATE TABLE good (id VARCHAR(36) PRIMARY KEY, n INT NOT NULL, s TEXT) {collation}",
        "CREATE TABLE folds (id VARCHAR(36) PRIMARY KEY, s TEXT) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        f"CREATE TABLE typed (id VARCHAR(36) PRIMARY KEY, n VARCHAR(9)) {collation}",
    )
    good = TableDef("good", (Column("id", "str"), Column("n", "int"), Column("s", "str")), "id")
    backend.create_table(good)
    backend.insert(good, [{"id": "a", "n": 1, "s": "x"}])
    assert find(backend, good) == [{"id": "a", "n": 1, "s": "x"}]
    backend.update(good, And(()), parse_update({"$inc": {"n": 1}}), many=True)
    for bad in ({"id": "b" * 37, "n": 1}, {"id": "b", "n": 2**40}, {"id": "b", "s": "x"}):
        with pytest.raises(SchemaMismatch):
            backend.insert(good, [bad])
    with pytest.raises(SchemaMismatch, match=r"'id'.*utf8mb4_general_ci.*not utf8mb4_nopad_bin"):
        backend.create_table(TableDef("folds", (Column("id", "str"), Column("s", "str")), "id"))
    with pytest.raises(SchemaMismatch, match=r"'n' is varchar"):
        backend.create_table(TableDef("typed", (Column("id", "str"), Column("n", "int")), "id"))
    texts = TableDef("texts", (Column("id", "str"), Column("x", "str")), "id")
    backend.create_table(texts)
    with pytest.raises(SchemaMismatch, match="'x'"):
        backend.create_table(TableDef("texts", (Column("id", "str"), Column("x", "json")), "id"))


@pytest.mark.parametrize("name", ["n" * 65, "ends "])
def test_a_name_beyond_the_server_is_refused(backend: DataBackend, name: str) -> None:
    with pytest.raises(SchemaMismatch, match=name.strip()[:60]):
        backend.create_table(TableDef("t", (Column("id", "str"), Column(name, "int")), "id"))
    assert backend.list_tables() == []


def test_a_value_beyond_what_the_server_takes_is_refused_before_it_is_sent(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    row = empty("a", n=1, s="x" * 60_000_000)
    backend.insert(EVERYTHING, [row])
    large = b"r" * 33_600_000
    for turn in (
        lambda: backend.insert(EVERYTHING, [empty("y"), empty("z", raw=large)]),
        lambda: backend.upsert(EVERYTHING, [empty("y"), empty("a", s="\n" * 33_600_000)]),
        lambda: backend.update(EVERYTHING, And(()), parse_update({"$set": {"raw": large}}), many=True),
        lambda: backend.replace(EVERYTHING, And(()), empty("a", raw=large)),
    ):
        with pytest.raises(SchemaMismatch, match=r"67,108,864 \(max_allowed_packet.*raise max_allowed_packet"):
            turn()
    with pytest.raises(SchemaMismatch, match=r"table 'things': row 'z'"):
        backend.insert(EVERYTHING, [empty("z", raw=large)])
    assert find(backend, EVERYTHING) == [row]


def test_an_insert_is_cut_into_statements_that_fit(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    sent: list[int] = []
    event.listen(backend.conn, "before_cursor_execute", lambda c, cursor, text, *_: sent.append(len(text.encode())))
    backend.database.packet = 300_000  # type: ignore[attr-defined]
    rows = [empty(f"{at:03}", raw=b"r" * 40_000, s="ü" * 10_000) for at in range(30)]
    backend.insert(EVERYTHING, rows)
    assert max(sent) < 300_000
    assert len(sent) == 15
    assert find(backend, EVERYTHING) == rows


def test_a_result_that_is_left_costs_its_connection_only(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty(f"{at:04}", raw=b"r" * 20_000) for at in range(2000)])
    begun = time.monotonic()
    for _ in range(20):
        batches = backend.select(EVERYTHING, Select("things"), batch=10)
        assert len(next(batches)) == 10
        batches.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 5
    assert backend.conn.pool.checkedout() == 0
    assert backend.count(EVERYTHING, And(())) == 2000


def test_a_transaction_reads_while_it_writes_and_tables_stay_out_of_it(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    other = TableDef("other", (Column("id", "str"),), "id")
    with pytest.raises(DuplicateKey), backend.transaction():
        backend.insert(EVERYTHING, [empty(f"{at:03}") for at in range(100)])
        seen = []
        for batch in backend.select(EVERYTHING, Select("things", sort=(("id", 1),)), batch=10):
            seen += [row["id"] for row in batch]
            backend.upsert(EVERYTHING, [{**row, "n": 1} for row in batch])
        assert len(seen) == 100
        backend.create_table(other)
        backend.insert(other, [{"id": "a"}, {"id": "a"}])
    assert backend.count(EVERYTHING, And(())) == 0
    assert backend.list_tables() == ["other", "things"]


def test_writers_that_meet_in_opposite_order_both_finish(backend: DataBackend) -> None:
    backend.create_table(EVERYTHING)
    names = [f"{at:02}" for at in range(40)]
    errors: list[BaseException] = []

    def work(order: list[str], number: int) -> None:
        try:
            for turn in range(25):
                backend.upsert(EVERYTHING, [empty(key, n=number, s=str(turn)) for key in order])
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(order, number))
        for number, order in enumerate([names, names[::-1], names[20:] + names[:20]])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len({row["n"] for row in find(backend, EVERYTHING)}) == 1


def test_a_row_that_another_holds_is_an_error_that_says_so(backend: DataBackend, mariadb_uri: str) -> None:
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", n=1)])
    other = SYSTEMS["mysql"].open(mariadb_uri)
    event.listen(
        other.conn, "checkout", lambda driver, *_: driver.cursor().execute("SET SESSION innodb_lock_wait_timeout = 1")
    )
    try:
        with backend.transaction():
            backend.upsert(EVERYTHING, [empty("a", n=2)])
            failed: list[BaseException] = []

            def write() -> None:
                try:
                    other.upsert(EVERYTHING, [empty("a", n=3)])
                except StoreError as error:
                    failed.append(error)

            thread = threading.Thread(target=write)
            thread.start()
            thread.join(30)
    finally:
        other.close()
    assert "another transaction holds the rows: run it again" in str(failed[0])
    assert find(backend, EVERYTHING) == [empty("a", n=2)]


def test_settling_waits_for_a_transaction_that_writes(backend: DataBackend, mariadb_uri: str) -> None:
    backend.create_table(EVERYTHING)
    other = SYSTEMS["mysql"].open(mariadb_uri)
    settled = threading.Event()

    def settle() -> None:
        other.settle(["things"])
        settled.set()

    with backend.transaction():
        backend.insert(EVERYTHING, [empty("a")])
        thread = threading.Thread(target=settle)
        thread.start()
        assert not settled.wait(0.3)
    assert settled.wait(30)
    thread.join()
    assert find(other, EVERYTHING) == [empty("a")]
    other.close()


def test_native_expressions_give_values_of_every_type(backend: DataBackend) -> None:
    import ibis

    backend.create_table(EVERYTHING)
    row = empty(
        "a", n=2**60, f=0.1, s="50% 'x' \\", b=True, raw=b"\xff", meta={"k": 1}, at=datetime(2024, 1, 1, tzinfo=UTC)
    )
    backend.insert(EVERYTHING, [row])
    db = Runner(backend)
    db._tables["things"] = EVERYTHING
    things = db["things"]
    assert things.select(*row).execute() == [row]
    assert things.filter(things.s == "50% 'x' \\").b.execute() == [True]
    with pytest.raises(NotFound, match="'t'"):
        db["t"].count().execute()
    backend.create_table(LEFT)
    with pytest.raises(QueryError, match="insert the rows into a table"):
        db["t"].join(ibis.memtable([("a",)], schema={"id": "string"}), "id").execute()
