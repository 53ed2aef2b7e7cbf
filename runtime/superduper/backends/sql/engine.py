"""URIs to SQLAlchemy engines, and a driver's errors to ours.

``sqlite://name.db`` and ``sqlite:///name.db`` are relative to the working folder, ``sqlite:////abs.db`` is absolute,
``sqlite://`` and ``sqlite://:memory:`` live in this process alone.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import LRUCache

from superduper import config
from superduper.errors import AccessDenied, MissingExtra, StoreError, SuperduperError, Unreachable, UriError
from superduper.uris import without_password

__all__ = [
    "BUSY_TIMEOUT",
    "MEMORY",
    "errors_of",
    "open_server",
    "open_sqlite",
    "sqlite_path",
    "without_password",
]

BUSY_TIMEOUT = 30
"""Seconds that a writer of SQLite waits for another one."""
MEMORY = ":memory:"

_DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgres"),
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mysql+pymysql", "pymysql", "mysql"),
}
_DENIED = ("authentication failed", "access denied", "permission denied", "no password supplied", "command denied")
_NO_DATABASE = ("unknown database", "does not exist")
_REFUSED = ("readonly database", "disk is full", "disk full", "unable to open database file", "no space left")
_LOST = ("connection", "connect to", "server has gone away", "timeout", "closed", "terminating", "could not translate")


def sqlite_path(uri: str) -> str:
    """The file that the URI names, or ``:memory:``. Raises UriError."""
    rest = unquote(uri.partition("://")[2]).partition("?")[0]
    if rest in ("", "/", MEMORY, "/" + MEMORY):
        return MEMORY
    path = rest.removeprefix("/") if rest.startswith("/") else rest
    if path.endswith("/"):
        raise UriError(f"{uri}: {path!r} is a folder; name a file, as in sqlite://my.db")
    return path


def open_sqlite(uri: str) -> Engine:
    """An engine on a file, in WAL mode; a transaction that will write begins with the option ``write``."""
    path = sqlite_path(uri)
    if path != MEMORY:
        path = str(Path(path).absolute())
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{uri}: cannot make the folder {Path(path).parent}: {error.strerror}") from error

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        if path != MEMORY:
            _use_wal(connection)
        return connection

    # The memory of a connection is its own: all threads take turns on one.
    size, more = (1, 0) if path == MEMORY else (8, 64)
    like, compiled = _sqlite()
    pool = QueuePool(connect, size, more, dialect=like.dialect)  # type: ignore[arg-type]
    engine = Engine(pool, like.dialect, like.url, execution_options={"compiled_cache": compiled})

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A reader that becomes a writer fails when another wrote meanwhile; one that says so first waits its turn.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    if path != MEMORY:
        _forget_after_fork(engine)
    return engine


@cache
def _sqlite() -> tuple[Engine, LRUCache[Any, Any]]:
    """What all of this process's files have in common, so that a new handle compiles no statement anew."""
    engine = create_engine("sqlite://")
    with engine.connect():
        pass  # the dialect reads the library's version now
    engine.dispose()
    return engine, LRUCache(1000)


def open_server(uri: str, **arguments: object) -> Engine:
    """An engine on a PostgreSQL, MySQL or MariaDB server, with more arguments for its driver.

    Raises UriError, MissingExtra.
    """
    scheme, _, rest = uri.partition("://")
    # A driver may be named as SQLAlchemy does; there is but one for each.
    driver, package, extra = _DRIVERS[scheme.partition("+")[0]]
    if find_spec(package) is None:
        raise MissingExtra(package, extra, f"{scheme}://")
    try:
        url = make_url(f"{driver}://{rest}")
    except (ArgumentError, ValueError) as error:
        raise UriError(f"{without_password(uri)}: not a URI such as {scheme}://user:password@host/database") from error
    if not url.database:
        raise UriError(f"{without_password(uri)}: it names no database, as in {scheme}://user:password@host/database")
    engine = create_engine(
        url,
        connect_args={"connect_timeout": max(1, round(config.CFG.connect_timeout)), **arguments},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=64,
    )
    _forget_after_fork(engine)
    return engine


@contextmanager
def errors_of(uri: str) -> Iterator[None]:
    """Turn what the driver raises into an error of ours that names the store."""
    try:
        yield
    except DBAPIError as error:
        raise _ours(uri, error) from error


def _ours(uri: str, error: DBAPIError) -> SuperduperError:
    shown = without_password(uri)
    text = " ".join(str(error.orig).split())
    low = text.lower()
    if any(words in low for words in _DENIED):
        return AccessDenied(f"{shown}: {text}; check user, password and rights")
    if any(words in low for words in _REFUSED):
        return StoreError(f"{shown}: {text}; check the file, its folder's rights and the free space")
    if "locked" in low:
        return Unreachable(f"{shown}: another process has been writing for {BUSY_TIMEOUT} s; try again")
    if "not a database" in low or ("database" in low and any(words in low for words in _NO_DATABASE)):
        return UriError(f"{shown}: {text}; create the database, or correct the URI")
    if error.connection_invalidated or any(words in low for words in _LOST):
        return Unreachable(f"{shown} does not answer: {text}; check that the server runs and may be reached")
    return StoreError(f"{shown}: {text}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two first connections at once: SQLite does not wait for this lock by itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _forget_after_fork(engine: Engine) -> None:
    """A child opens its own connections and leaves the parent's alone."""
    kept = weakref.ref(engine)

    def forget() -> None:
        if (mine := kept()) is not None:
            mine.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
