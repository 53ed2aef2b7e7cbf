"""Connecting: again, to a newer store, after a restart, with wrong passwords, to nobody."""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superduper.backends.base.metadata import SCHEMA_VERSION, MetaDataStore
from superduper.backends.sqlite.metadata import SQLiteMetaDataStore
from superduper.errors import AccessDenied, MissingExtra, StoreError, Unreachable, UriError, VersionError
from tests.conformance.metadata.conftest import DIRECT, SERVERS, SHARED, SYSTEMS, System, of


def execute(system: System, uri: str, version: int) -> None:
    """Say in the store itself that it has that layout."""
    if system.module == "mongodb":
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](uri) as client:
            meta = client.get_default_database()["_superduper_meta"]
            assert meta.update_one({"_id": "schema_version"}, {"$set": {"value": version}}).matched_count == 1
        return
    import sqlalchemy

    from superduper.backends.sql.engine import open_server, open_sqlite

    engine = open_sqlite(uri) if system.module == "sqlite" else open_server(uri)
    with engine.execution_options(write=True).begin() as connection:
        statement = sqlalchemy.text("update _superduper_meta set value = :version where name = 'schema_version'")
        assert connection.execute(statement, {"version": str(version)}).rowcount == 1
    engine.dispose()


@pytest.mark.parametrize("system", SHARED, indirect=True)
def test_what_was_stored_is_there_after_connecting_again(system: System, uri: str) -> None:
    first = system.open(uri)
    record, _ = first.add_component("model", "m", digest="d", spec={"n": 1}, artifacts=["a" * 40])
    first.close()
    second = system.open(uri)
    assert second.component("model", "m") == record
    second.close()


@pytest.mark.parametrize("system", DIRECT, indirect=True)
def test_a_store_of_a_newer_superduper_is_refused(system: System, uri: str) -> None:
    system.open(uri).close()
    execute(system, uri, SCHEMA_VERSION + 1)
    with pytest.raises(VersionError, match=r"written by a newer superduper \(layout 2, this one knows 1\); upgrade"):
        system.open(uri)
    execute(system, uri, SCHEMA_VERSION)
    system.open(uri).close()


def test_a_dropped_store_is_empty_and_can_be_made_again(system: System, uri: str) -> None:
    store = system.open(uri)
    store.add_component("model", "m", digest="d", spec={}, artifacts=["a" * 40])
    store.set_status("model", "m", {"ready": True})
    assert store.acquire("gc", "one", 60)
    store.drop()
    store.drop()
    store.close()
    again = system.open(uri)
    assert (again.components(), list(again.artifacts()), again.status("model", "m")) == ([], [], {})
    assert again.acquire("gc", "two", 60)
    again.close()


def test_the_store_leaves_the_users_own_tables_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table components (x)")
        connection.execute("insert into components values (7)")
    store = SQLiteMetaDataStore(f"sqlite:///{path}")
    store.add_component("model", "m", digest="d", spec={})
    store.drop()
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("select name from sqlite_master where type = 'table'").fetchall() == [("components",)]
        assert connection.execute("select x from components").fetchall() == [(7,)]


@pytest.mark.parametrize("system", SERVERS, indirect=True)
def test_a_store_goes_on_after_its_server_was_restarted(system: System, server: Any, store: MetaDataStore) -> None:
    store.add_component("model", "m", digest="1", spec={})
    server.restart()
    assert store.versions("model", "m") == ([0] if system.survives else [])
    record, new = store.add_component("model", "n", digest="2", spec={})
    assert (record.version, new) == (0, True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("system", SERVERS, indirect=True)
def test_a_server_that_went_away_is_named_within_the_deadline(
    system: System, server: Any, store: MetaDataStore
) -> None:
    server.stop()
    for action in (store.components, lambda: store.add_component("model", "m", digest="d", spec={})):
        begin = time.monotonic()
        with pytest.raises(Unreachable, match="127.0.0.1.* does not answer: .*check that the server runs"):
            action()
        assert time.monotonic() < begin + 11


@pytest.mark.parametrize("system", SERVERS, indirect=True)
def test_a_closed_port_is_named_within_ten_seconds(system: System, uri: str) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else gets the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        closed = re.sub(r":\d+/", f":{taken.getsockname()[1]}/", uri)
        begin = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer: .*check that the server runs"):
            system.open(closed)
        assert time.monotonic() < begin + 11


@pytest.mark.timeout(60)
@pytest.mark.parametrize("system", SERVERS, indirect=True)
def test_a_server_that_accepts_and_says_nothing_is_named_within_ten_seconds(system: System, uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = re.sub(r":\d+/", f":{silent.getsockname()[1]}/", uri)
        begin = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            system.open(mute)
        assert time.monotonic() < begin + 12


@pytest.mark.parametrize("system", of(lambda system: system.denies), indirect=True)
def test_a_wrong_password_is_refused_and_not_shown(system: System, uri: str) -> None:
    scheme, _, rest = uri.partition("://")
    user = rest.partition(":")[0]
    with pytest.raises(AccessDenied, match="check user, password and rights") as caught:
        system.open(f"{scheme}://{user}:not-the-p4ssword@{rest.rpartition('@')[2]}")
    assert "p4ssword" not in str(caught.value)


@pytest.mark.parametrize("system", of(lambda system: system.denies), indirect=True)
def test_a_database_that_is_not_there_is_named(system: System, uri: str) -> None:
    with pytest.raises(UriError, match="no_such_database.* create the database, or correct the URI"):
        system.open(f"{uri.rpartition('/')[0]}/no_such_database")


def test_no_store_shows_its_password(system: System, uri: str) -> None:
    store = system.open(uri)
    assert "s3cret" not in store.uri
    store.close()


@pytest.mark.parametrize(
    ("name", "uri", "says"),
    [
        ("postgres", "postgresql://me@127.0.0.1", "names no database"),
        ("postgres", "postgresql://me@127.0.0.1:port/db", "not a URI such as postgresql://"),
        ("mariadb", "mysql://me@127.0.0.1/", "names no database"),
        ("mongo", "mongodb://127.0.0.1:27017", "write mongodb://user:password@host:27017/database"),
        ("mongo", "mongodb://127.0.0.1:port/db", "write mongodb://user:password@host:27017/database"),
        ("mongomock", "mongomock://", "name a database, as in mongomock://test"),
        ("sqlite", "sqlite://folder/", "is a folder; name a file"),
    ],
)
def test_a_uri_that_cannot_be_understood_is_refused(name: str, uri: str, says: str) -> None:
    with pytest.raises(UriError, match=says):
        SYSTEMS[name].open(uri)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("postgres", "psycopg", "postgres"),
        ("mariadb", "pymysql", "mysql"),
        ("mongomock", "mongomock", "mongomock"),
    ],
)
def test_a_missing_driver_names_the_command_that_installs_it(
    name: str, package: str, extra: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = request.getfixturevalue(SYSTEMS[name].uri)
    expected = re.escape(f"pip install 'superduper[{extra}]'")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=expected):
            SYSTEMS[name].open(uri)


def _a_folder(path: Path) -> None:
    path.mkdir()


def _not_sqlite(path: Path) -> None:
    path.write_bytes(b"PNG and no database at all" * 100)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [(_a_folder, StoreError, "unable to open database file"), (_not_sqlite, UriError, "not a database")],
)
def test_a_file_that_is_no_database_is_refused(
    make: Callable[[Path], None], kind: type[Exception], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "it.db"
    make(path)
    with pytest.raises(kind, match=says):
        SQLiteMetaDataStore(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=f"cannot make the folder {tmp_path}/file/sub: Not a directory"):
        SQLiteMetaDataStore(f"sqlite:///{tmp_path}/file/sub/it.db")


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite://:memory:"])
def test_memory_is_a_store_of_its_own(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = SQLiteMetaDataStore(uri), SQLiteMetaDataStore(uri)
    one.add_component("model", "m", digest="d", spec={})
    assert one.components() == [("model", "m")]
    assert other.components() == []
    assert list(tmp_path.iterdir()) == []
    one.close()
    other.close()


@pytest.mark.parametrize("uri", ["sqlite://my.db", "sqlite:///my.db", "sqlite:////{}/my.db"])
def test_every_form_of_a_sqlite_uri_names_its_file(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SQLiteMetaDataStore(uri.format(str(tmp_path).lstrip("/"))).close()
    assert (tmp_path / "my.db").exists()
