"""SQLite: durable commits, one writer at a time, its errors read."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from superduper.backends.sql.database import SqlDatabase
from superduper.backends.sql.engine import MEMORY, open_sqlite, sqlite_path
from superduper.errors import DuplicateKey, NotFound, SchemaMismatch, StoreError, SuperduperError, Unreachable

_write_locks: dict[str, threading.RLock] = {}
# A lock held by another thread at the moment of the fork would stay locked in the child for ever.
os.register_at_fork(after_in_child=_write_locks.clear)

_ERRORS: dict[str, type[SuperduperError]] = {
    "SQLITE_CONSTRAINT_PRIMARYKEY": DuplicateKey,
    "SQLITE_CONSTRAINT_UNIQUE": DuplicateKey,
    "SQLITE_CONSTRAINT_ROWID": DuplicateKey,
    "SQLITE_CONSTRAINT_NOTNULL": SchemaMismatch,
    "SQLITE_TOOBIG": SchemaMismatch,
    "SQLITE_BUSY": Unreachable,
    "SQLITE_LOCKED": Unreachable,
    "SQLITE_CANTOPEN": StoreError,
    "SQLITE_NOTADB": StoreError,
    "SQLITE_FULL": StoreError,
    "SQLITE_READONLY": StoreError,
    "SQLITE_IOERR": StoreError,
}


def _connected(connection: sqlite3.Connection, _: object) -> None:
    connection.create_function("regexp", 2, _regexp, deterministic=True)
    # An acknowledged row survives a power cut: WAL alone promises that for FULL only.
    connection.execute("PRAGMA synchronous = FULL")


def _regexp(pattern: str, text: object) -> bool | None:
    return None if text is None else re.search(pattern, str(text)) is not None


class SQLiteDatabase(SqlDatabase):
    """A SQLite file, or a database in memory that lives as long as this object."""

    system = "SQLite"
    server_side = False

    def __init__(self, uri: str) -> None:
        path = sqlite_path(uri)
        self.in_memory = path == MEMORY
        self.path = path if self.in_memory else str(Path(path).resolve())
        self._memory_lock = threading.RLock()
        engine = open_sqlite(uri)
        event.listen(engine, "connect", _connected)
        super().__init__(uri, engine)

    @property
    def streams(self) -> bool:
        # In memory there is one connection for all threads: whoever reads must be done before the next one begins.
        return not self.in_memory

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One writing thread at a time: SQLite itself lets others wait by polling, which is slow and unfair."""
        with self._lock():
            yield

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        # The one connection of a database in memory cannot begin twice.
        if self.in_memory:
            with self._lock(), super().read() as connection:
                yield connection
        else:
            with super().read() as connection:
                yield connection

    def _lock(self) -> threading.RLock:
        return self._memory_lock if self.in_memory else _write_locks.setdefault(self.path, threading.RLock())

    def classify(self, error: BaseException) -> type[SuperduperError] | None:
        if isinstance(error, (OverflowError, UnicodeEncodeError, sqlite3.DataError)):
            return SchemaMismatch
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_ERROR" and "no such table" in str(error):
            return NotFound
        return next((kind for start, kind in _ERRORS.items() if name.startswith(start)), None)
