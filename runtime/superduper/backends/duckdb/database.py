"""DuckDB: one writing thread at a time, no savepoints, its errors read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import sqlalchemy as sa

from superduper.backends.duckdb.engine import Instance, open_duckdb, opening_error
from superduper.backends.sql.database import SqlDatabase
from superduper.errors import DuplicateKey, NotFound, SchemaMismatch, StoreError, SuperduperError, Unreachable

_write_locks: dict[str, threading.RLock] = {}
os.register_at_fork(after_in_child=_write_locks.clear)

# The first that an error is an instance of: https://duckdb.org/docs/stable/clients/python/reference/
_ERRORS: tuple[tuple[type[BaseException], type[SuperduperError]], ...] = (
    (duckdb.CatalogException, NotFound),
    (duckdb.TransactionException, Unreachable),
    (duckdb.IOException, StoreError),
    (duckdb.OutOfMemoryException, StoreError),
    (duckdb.OutOfRangeException, SchemaMismatch),
    (duckdb.ConversionException, SchemaMismatch),
    (duckdb.TypeMismatchException, SchemaMismatch),
    (duckdb.InvalidInputException, SchemaMismatch),
    (duckdb.InvalidTypeException, SchemaMismatch),
    (duckdb.BinderException, SchemaMismatch),
    (duckdb.DataError, SchemaMismatch),
    (UnicodeEncodeError, SchemaMismatch),
)


class DuckDBDatabase(SqlDatabase):
    """A DuckDB file, or a database in memory that lives as long as this object."""

    system = "DuckDB"
    server_side = False

    def __init__(self, uri: str) -> None:
        self.instance = Instance(uri)
        self.in_memory, self.path = self.instance.in_memory, self.instance.path
        self._memory_lock = threading.RLock()
        self.instance.connect()
        super().__init__(uri, open_duckdb(self.instance))

    @property
    def streams(self) -> bool:
        # A connection has one result at a time, and within a transaction there is but one connection.
        return not self.in_transaction

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is in a transaction of its own."""
        return self._current() is not None

    @property
    def engine(self) -> sa.Engine:
        if self._pid != os.getpid():
            raise StoreError(f"{self.uri}: DuckDB does not survive a fork; open it in one process, or spawn processes")
        return super().engine

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One writing thread at a time: of two transactions that change the same row, DuckDB lets one fail."""
        lock = self._memory_lock if self.in_memory else _write_locks.setdefault(self.path, threading.RLock())
        with lock:
            yield

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        own = self._current()
        if own is None:
            self._own.broken = False
            with super().write() as connection:
                yield connection
                if self._own.broken:
                    raise StoreError(
                        f"{self.uri}: a write inside this transaction failed, and DuckDB has no savepoints to go back "
                        "to; nothing of the transaction was kept. Do it again without that write"
                    )
            return
        try:
            with self.translated():
                yield own
        except BaseException:
            # Part of the work may be done: the transaction as a whole must not be kept.
            self._own.broken = True
            raise

    def classify(self, error: BaseException) -> type[SuperduperError] | None:
        if isinstance(error, duckdb.ConstraintException):
            return DuplicateKey if "uplicate key" in str(error) else SchemaMismatch
        return next((ours for theirs, ours in _ERRORS if isinstance(error, theirs)), None)

    def translate(self, error: BaseException) -> BaseException:
        if isinstance(error, duckdb.IOException):
            return opening_error(self.uri, error)
        return super().translate(error)

    def engine_errors(self) -> tuple[type[BaseException], ...]:
        return (duckdb.Error, UnicodeEncodeError)

    def close(self) -> None:
        if self._pid == os.getpid():
            super().close()
        self.instance.close()
