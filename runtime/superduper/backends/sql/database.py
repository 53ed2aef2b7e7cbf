"""One SQL database, opened: an SQLAlchemy engine with transactions that nest, and our errors.

Each system derives from ``SqlDatabase`` in its own folder and says how its driver's errors are to be read.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy import exc

from superduper.backends.sql.engine import without_password
from superduper.errors import StoreError, SuperduperError, Unreachable


class SqlDatabase(ABC):
    """Connections on demand, from any thread, also after a fork.

    Its constructor connects once and raises Unreachable, AccessDenied or NotFound.
    """

    system: ClassVar[str]
    """The system's name in messages."""
    server_side: bool = True
    """A streamed result waits on the server; else the driver itself steps through the rows."""

    def __init__(self, uri: str, engine: sa.Engine) -> None:
        self.uri = without_password(uri)
        self._pid = os.getpid()
        self._own = threading.local()
        self._closed = False
        self._engine = engine
        with self.read():
            pass

    @property
    def streams(self) -> bool:
        """Whether results may be fetched bit by bit while others use the database."""
        return True

    def may_stream(self) -> bool:
        """Whether a result may wait on the server at this moment."""
        return self.server_side

    def abandon(self, connection: sa.Connection) -> None:
        """Make a connection ready to give back whose result was not read to its end. Most drivers need nothing."""
        return

    @abstractmethod
    def classify(self, error: BaseException) -> type[SuperduperError] | None:
        """Which of our errors the driver's ``error`` is, or None where it is none that a user can mend."""

    @property
    def engine(self) -> sa.Engine:
        """The client itself."""
        if self._closed:
            raise StoreError(f"{self.uri}: this connection was closed; open the database again")
        if self._pid != os.getpid():
            # The parent's open transaction is not this process's.
            self._pid = os.getpid()
            self._own = threading.local()
        return self._engine

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read by, within the thread's own transaction where one is open."""
        engine = self.engine
        own = self._current()
        with self.translated():
            if own is not None:
                yield own
                return
            with engine.connect() as connection, connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection in a transaction: committed at the end, rolled back on an error. May be nested."""
        engine = self.engine
        own = self._current()
        if own is not None:
            # What fails inside a transaction leaves it usable, and leaves nothing half done.
            with self.translated(), own.begin_nested():
                yield own
            return
        with self.translated(), self.exclusive(), engine.connect() as plain:
            connection = plain.execution_options(write=True)
            with connection.begin():
                self._own.connection = connection
                try:
                    yield connection
                finally:
                    self._own.connection = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while this process writes. Systems with many writers need nothing."""
        yield

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of the driver become ours, with the database's name and the remedy."""
        try:
            yield
        except exc.DBAPIError as error:
            raise self.translate(error.orig or error) from error
        except exc.TimeoutError as error:
            raise Unreachable(f"{self.uri}: every connection is in use; finish or close open results") from error
        except self.engine_errors() as error:
            raise self.translate(error) from error

    def engine_errors(self) -> tuple[type[BaseException], ...]:
        """The driver's own base error, for cursors used without SQLAlchemy."""
        return (self._engine.dialect.dbapi.Error,)  # type: ignore[union-attr]

    def translate(self, error: BaseException) -> BaseException:
        """Our error for the driver's."""
        kind = self.classify(error)
        text = " ".join(str(error).split())
        if kind is None:
            return StoreError(f"{self.uri}: {self.system} refused: {text}")
        return kind(f"{self.uri}: {text}{_REMEDIES.get(kind.__name__, '')}")

    def close(self) -> None:
        """Give back all connections."""
        if not self._closed:
            self.engine.dispose()
            self._closed = True

    def _current(self) -> sa.Connection | None:
        connection: sa.Connection | None = getattr(self._own, "connection", None)
        return connection


_REMEDIES = {
    "Unreachable": ". Check the host, the port and that the database is running",
    "AccessDenied": ". Check the user, the password and the rights that the user was given",
    "StoreError": ". Check free space, quotas and that the database may be written",
}
