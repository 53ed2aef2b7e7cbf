"""An SQLAlchemy engine on a DuckDB file, and who may have it open.

One process at a time opens a file for writing: DuckDB itself locks it. Within the process all handles share one
instance, of which each of the engine's connections is a part. An instance does not survive a fork.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, make_url
from sqlalchemy.pool import QueuePool

from superduper.backends.sql.engine import MEMORY, sqlite_path
from superduper.errors import MissingExtra, StoreError, Unreachable, UriError

try:
    import duckdb
    from duckdb_engine import ConnectionWrapper, Dialect, DuckDBIdentifierPreparer
except ImportError as error:
    raise MissingExtra(error.name or "duckdb", "duckdb", "duckdb://") from error

_open: dict[str, int] = {}
_inherited: set[str] = set()
_lock = threading.Lock()


def _forked() -> None:
    # The parent's instances are here as memory, without the threads that run them.
    _inherited.update(_open)
    _open.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forked)


class _Preparer(DuckDBIdentifierPreparer):
    """Every name is quoted: DuckDB's grammar reserves more words than it lists as reserved."""

    def _requires_quotes(self, value: str) -> bool:
        return True


class _Dialect(Dialect):
    # Statements hold no literal of ours, so one that was compiled serves again.
    supports_statement_cache = True
    preparer = _Preparer
    identifier_preparer: _Preparer


class Instance:
    """A database file in this process, open from ``connect`` to ``close``, which may both be called again."""

    def __init__(self, uri: str) -> None:
        """Raises UriError for a folder, StoreError where the file's folder cannot be made."""
        self.uri = uri
        path = sqlite_path(uri)
        self.in_memory = path == MEMORY
        self.path = path if self.in_memory else str(Path(path).resolve())
        self._root: duckdb.DuckDBPyConnection | None = None
        if not self.in_memory:
            try:
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                folder = Path(self.path).parent
                raise StoreError(f"{uri}: cannot make the folder {folder}: {error.strerror}") from error

    def connect(self) -> None:
        """Raises Unreachable where another process has the file, StoreError, UriError where it is no database."""
        with _lock:
            if self.path in _inherited:
                raise StoreError(
                    f"{self.uri}: it was open when this process was forked, and DuckDB does not survive that; open it "
                    "in one process only, or start processes by spawn"
                )
            try:
                self._root = duckdb.connect(self.path)
                # Nothing is fetched from outside behind anybody's back, and no variable of a caller is a table.
                self._root.execute("SET GLOBAL autoinstall_known_extensions = false")
                self._root.execute("SET python_enable_replacements = false")
            except duckdb.Error as error:
                raise opening_error(self.uri, error) from error
            _open[self.path] = _open.get(self.path, 0) + 1

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same instance."""
        if self._root is None:
            raise StoreError(f"{self.uri}: this connection was closed; open the database again")
        cursor = self._root.cursor()
        cursor.execute("SET python_enable_replacements = false")
        return cursor

    def close(self) -> None:
        """Let go of the file, unless another handle of this process has it."""
        root, self._root = self._root, None
        if root is None:
            return
        with _lock:
            if self.path not in _inherited:
                root.close()
                _open[self.path] -= 1
                if not _open[self.path]:
                    del _open[self.path]


def open_duckdb(instance: Instance) -> Engine:
    """An engine whose connections are parts of the instance."""
    dialect = _Dialect(paramstyle="numeric_dollar", dbapi=_Dialect.import_dbapi())

    def connect() -> Any:
        return ConnectionWrapper(instance.cursor())

    pool = QueuePool(connect, 8, 64, dialect=dialect)
    return Engine(pool, dialect, make_url("duckdb://"))


def opening_error(uri: str, error: BaseException) -> Exception:
    """What is wrong with a file that cannot be opened."""
    text = " ".join(str(error).split())
    if holder := re.search(r"Conflicting lock is held in (.*? ?\(PID \d+\)|PID \d+)", text):
        return Unreachable(
            f"{uri}: another process has it open: {holder[1]}. DuckDB allows one process per file: end that one, or "
            "speak to it over HTTP (superduper serve)"
        )
    if "not a valid DuckDB database" in text or "Could not read enough bytes" in text:
        return UriError(f"{uri}: this file is not a database of DuckDB's ({text}); correct the URI")
    return StoreError(f"{uri}: {text}. Check the file, its folder's rights and the free space")
