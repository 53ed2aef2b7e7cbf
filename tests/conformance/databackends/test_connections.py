"""Reaching a database: what cannot be reached, entered or written says so, and a lost one is found again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from superduper import config
from superduper.backends.base.data_backend import DataBackend
from superduper.errors import (
    AccessDenied,
    NotFound,
    StoreError,
    SuperduperError,
    Unreachable,
    UriError,
)
from superduper.query.ast import And, Select
from superduper.query.tables import TableDef

from .conftest import EVERYTHING, SYSTEMS, System, empty, find

SERVERS = [name for name, known in SYSTEMS.items() if known.server]


def test_the_client_itself_is_there(backend: DataBackend) -> None:
    assert type(backend.conn).__name__ in ("Engine", "MongoClient")


def test_a_password_is_never_shown(system: System, backend: DataBackend, uri: str) -> None:
    password = uri.partition("@")[0].rpartition(":")[2] if system.denies else "no password"
    assert password not in backend.uri
    assert password not in repr(backend)


@pytest.mark.parametrize("name", SERVERS)
def test_a_closed_port_is_unreachable_within_the_deadline(name: str, request: pytest.FixtureRequest) -> None:
    scheme = request.getfixturevalue(SYSTEMS[name].uri).partition("://")[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=str(port)):
        SYSTEMS[name].open(f"{scheme}://user:secret@127.0.0.1:{port}/db")
    # A port where nobody listens says so; only silence takes the whole deadline.
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_silent_is_unreachable_at_the_deadline(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = request.getfixturevalue(SYSTEMS[name].uri).partition("://")[0]
    monkeypatch.setattr(config.CFG, "connect_timeout", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(Unreachable):
            SYSTEMS[name].open(f"{scheme}://user:secret@127.0.0.1:{silent.getsockname()[1]}/db")
    assert 1 < time.monotonic() - begun < 6


@pytest.mark.parametrize("name", [name for name, known in SYSTEMS.items() if known.denies])
def test_a_wrong_password_is_refused_without_being_shown(name: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue(SYSTEMS[name].uri)
    scheme, _, rest = uri.partition("://")
    user = rest.partition(":")[0]
    with pytest.raises(AccessDenied) as caught:
        SYSTEMS[name].open(f"{scheme}://{user}:wrong-one@{rest.rpartition('@')[2]}")
    assert "wrong-one" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, known in SYSTEMS.items() if known.denies])
def test_a_database_that_is_not_there_is_named(name: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue(SYSTEMS[name].uri)
    with pytest.raises(NotFound, match="nowhere"):
        SYSTEMS[name].open(uri.rpartition("/")[0] + "/nowhere")


@pytest.mark.parametrize("name", SERVERS)
def test_a_restarted_server_is_found_again(name: str, request: pytest.FixtureRequest) -> None:
    system = SYSTEMS[name]
    backend = system.open(request.getfixturevalue(system.uri))
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a")])
    request.getfixturevalue(system.server).restart()
    backend.create_table(EVERYTHING)
    if system.survives:
        assert find(backend, EVERYTHING) == [empty("a")]
    backend.insert(EVERYTHING, [empty("b")])
    assert "b" in [row["id"] for row in find(backend, EVERYTHING)]
    backend.close()


@pytest.mark.parametrize("name", [name for name, known in SYSTEMS.items() if known.denies])
def test_a_server_that_stops_is_unreachable(name: str, request: pytest.FixtureRequest) -> None:
    backend = SYSTEMS[name].open(request.getfixturevalue(SYSTEMS[name].uri))
    server = request.getfixturevalue(SYSTEMS[name].server)
    server.stop()
    try:
        with pytest.raises(Unreachable):
            backend.list_tables()
    finally:
        server.start()
    assert backend.list_tables() == []
    backend.close()


def test_a_table_that_is_not_there_is_an_error_of_ours(backend: DataBackend) -> None:
    if backend.abilities.schemaless:
        assert backend.count(EVERYTHING, And(())) == 0
        return
    for use in (
        lambda: backend.count(EVERYTHING, And(())),
        lambda: backend.insert(EVERYTHING, [empty("a")]),
        lambda: list(backend.select(EVERYTHING, Select("things"))),
    ):
        with pytest.raises(NotFound, match="things"):
            use()


def test_a_closed_backend_says_so(system: System, uri: str) -> None:
    backend = system.open(uri)
    backend.create_table(EVERYTHING)
    backend.close()
    backend.close()
    if system.shared:
        with pytest.raises(SuperduperError):
            backend.count(EVERYTHING, And(()))


def test_rows_outlive_the_connection(system: System, uri: str) -> None:
    backend = system.open(uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a", n=1)])
    backend.close()
    assert backend.abilities.persistent == system.shared
    if system.shared:
        again = system.open(uri)
        assert find(again, EVERYTHING) == [empty("a", n=1)]
        again.close()


@pytest.mark.parametrize("uri", ["sqlite://data.db", "sqlite:///data.db", "sqlite://./data.db"])
def test_sqlite_files_are_relative_to_the_working_folder(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = SYSTEMS["sqlite"].open(uri)
    backend.create_table(EVERYTHING)
    backend.close()
    assert (tmp_path / "data.db").exists()


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite://:memory:"])
def test_sqlite_in_memory_is_its_own_and_takes_threads(uri: str, things_rows: list[dict[str, object]]) -> None:
    backend, other = SYSTEMS["sqlite"].open(uri), SYSTEMS["sqlite"].open(uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, things_rows)
    for rows in backend.select(EVERYTHING, Select("things"), batch=2):
        backend.upsert(EVERYTHING, rows)
    assert len(find(backend, EVERYTHING)) == len(things_rows)
    assert not backend.abilities.persistent
    assert other.list_tables() == []
    backend.close()
    other.close()


@pytest.fixture
def things_rows() -> list[dict[str, object]]:
    return [empty(f"{number}") for number in range(5)]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is a text, and no database at all; " * 50)
    with pytest.raises(SuperduperError, match="not a database"):
        SYSTEMS["sqlite"].open(f"sqlite:///{tmp_path}/x.db")


def test_a_folder_is_no_sqlite_file(tmp_path: Path) -> None:
    with pytest.raises(UriError, match="folder"):
        SYSTEMS["sqlite"].open(f"sqlite:///{tmp_path}/")


def test_a_full_disk_refuses_the_insert_as_a_whole(sqlite_uri: str) -> None:
    backend = SYSTEMS["sqlite"].open(sqlite_uri)
    backend.create_table(EVERYTHING)
    backend.insert(EVERYTHING, [empty("a")])
    with backend.conn.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    from sqlalchemy import event

    # SQLite's own limit gives the very error of a full disk.
    backend.conn.pool.dispose()
    event.listen(backend.conn, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreError, match=r"full.*free space"):
        backend.insert(EVERYTHING, [empty(f"b{number}", raw=b"x" * 10_000) for number in range(50)])
    assert find(backend, EVERYTHING) == [empty("a")]
    backend.close()


def test_a_killed_writer_leaves_whole_inserts_only(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/k.db"
    code = (
        "import sys\n"
        "from superduper.backends.sqlite.data_backend import SQLiteDataBackend\n"
        "from superduper.query.tables import Column, TableDef\n"
        "t = TableDef('t', (Column('id', 'int'), Column('x', 'int')), 'id')\n"
        "b = SQLiteDataBackend(sys.argv[1])\n"
        "b.create_table(t)\n"
        "for turn in range(100000):\n"
        "    b.insert(t, [{'id': turn * 10 + part, 'x': turn} for part in range(10)])\n"
        "    print(turn, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, uri], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.kill()
    acknowledged = 20 + len(writer.stdout.read().split())
    writer.wait()
    writer.stdout.close()
    from superduper.query.tables import Column

    table = TableDef("t", (Column("id", "int"), Column("x", "int")), "id")
    backend = SYSTEMS["sqlite"].open(uri)
    count = backend.count(table, And(()))
    assert count % 10 == 0
    assert count >= acknowledged * 10
    backend.close()
