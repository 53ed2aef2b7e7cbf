"""MySQL and MariaDB by PyMySQL: sessions of one kind, statements that fit the server, its errors read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from superduper.backends.mysql.engine import open_mysql
from superduper.backends.sql.database import SqlDatabase
from superduper.errors import (
    AccessDenied,
    DuplicateKey,
    NotFound,
    QueryError,
    SchemaMismatch,
    StoreError,
    SuperduperError,
    Unreachable,
)

# Strict: a value that does not fit is an error and never cut. Nothing of the server's own settings shines through.
SQL_MODE = "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION"
# A reader may think for long between two batches; nobody waits longer than a minute for another's table; texts are
# sorted by their first 32 KiB instead of 1, of which the buffer must hold fifteen for each field that is sorted by.
SESSION = (
    "SET SESSION time_zone = '+00:00', net_write_timeout = 86400, lock_wait_timeout = 60, "
    "max_sort_length = 32768, sort_buffer_size = GREATEST(@@sort_buffer_size, 4194304)"
)

DEADLOCK, LOCK_TIMEOUT, NO_TABLE, PACKET = 1213, 1205, 1146, 1153

# https://mariadb.com/kb/en/mariadb-error-code-reference and PyMySQL's own numbers from 2000 on.
_CODES: dict[int, type[SuperduperError]] = (
    dict.fromkeys((1062, 1586), DuplicateKey)
    | dict.fromkeys((1044, 1045, 1130, 1142, 1143, 1227, 1370, 1698, 1820, 2059), AccessDenied)
    | dict.fromkeys((1049, 1051, NO_TABLE), NotFound)
    | dict.fromkeys((1048, 1054, 1059, 1060, 1071, 1074, 1103, 1110, 1117, 1118, 1166, 1167, 1170), SchemaMismatch)
    | dict.fromkeys((PACKET, 1264, 1265, 1292, 1300, 1301, 1364, 1366, 1367, 1406, 3988), SchemaMismatch)
    | dict.fromkeys((1064, 1139, 3685, 3686, 3687, 3688, 3691, 3692, 3696, 3697, 3699), QueryError)
    | dict.fromkeys((1040, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927), Unreachable)
    | dict.fromkeys((2002, 2003, 2005, 2006, 2012, 2013, 2014, 2055), Unreachable)
    | dict.fromkeys((1021, 1041, 1114, 1290, 1836, DEADLOCK, LOCK_TIMEOUT), StoreError)
)

_REMEDIES = {
    DEADLOCK: "two transactions waited for each other and this one was given up: run it again",
    LOCK_TIMEOUT: "another transaction holds the rows: run it again",
    PACKET: "raise max_allowed_packet on the server, or keep the value as an artifact",
}


class MySQLDatabase(SqlDatabase):
    """A database on a MySQL or MariaDB server, 10 s to connect, dead connections replaced."""

    system = "MySQL"

    def __init__(self, uri: str) -> None:
        engine = open_mysql(uri, sql_mode=SQL_MODE, init_command=SESSION, charset="utf8mb4")
        super().__init__(uri, engine)
        with self.read() as connection:
            self.packet = int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one())
        event.listen(engine, "before_cursor_execute", self._check_size)

    @property
    def collation(self) -> str:
        """Order by code point; where the server knows one, trailing spaces count as well."""
        dialect: Any = self.engine.dialect
        if dialect.is_mariadb:
            return "utf8mb4_nopad_bin"
        return "utf8mb4_0900_bin" if dialect.server_version_info >= (8, 0, 17) else "utf8mb4_bin"

    @property
    def in_transaction(self) -> bool:
        """Whether this thread has a transaction open."""
        return self._current() is not None

    @contextmanager
    def apart(self) -> Iterator[sa.Connection]:
        """A connection outside the thread's transaction: the server commits whenever it meets DDL."""
        with self.translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    def may_stream(self) -> bool:
        # A result that waits on the server blocks its connection, and a transaction has only one.
        return not self.in_transaction

    def abandon(self, connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        result = driver._result
        if result is not None and result.unbuffered_active:
            # The protocol cannot stop a result: what is left, perhaps gigabytes, goes with its connection.
            result.unbuffered_active = False
            result.connection = None
            connection.invalidate()

    def fits(self, size: int, what: str) -> None:
        """Raises SchemaMismatch where a statement of so many bytes is more than the server takes."""
        if size >= self.packet:
            raise SchemaMismatch(
                f"{self.uri}: {what} takes a statement of {size:,} bytes, and the server takes {self.packet:,} "
                f"(max_allowed_packet; bytes are sent as two digits each): {_REMEDIES[PACKET]}"
            )

    def _check_size(self, connection: sa.Connection, _: object, text: str, given: Any, *__: object) -> None:
        # A server that is sent too much closes the connection, which would look like one that died.
        for row in given if isinstance(given, list) else [given]:
            values = row.values() if isinstance(row, dict) else row or ()
            if len(text) + sum(map(_size, values)) > self.packet // 8:
                driver: Any = connection.connection.driver_connection
                exact = byte_length(text) + sum(byte_length(driver.escape(value)) for value in values)
                self.fits(exact, "one of the values")

    def classify(self, error: BaseException) -> type[SuperduperError] | None:
        if isinstance(error, UnicodeEncodeError):
            return SchemaMismatch
        code = code_of(error)
        if code in _CODES:
            return _CODES[code]
        kind = type(error).__name__
        if kind == "DataError":
            return SchemaMismatch
        # Without a number, PyMySQL speaks of the connection itself.
        return Unreachable if kind == "InterfaceError" or (kind == "OperationalError" and not code) else None

    def translate(self, error: BaseException) -> BaseException:
        code = code_of(error)
        if code in _REMEDIES:
            return _CODES[code](f"{self.uri}: {error.args[-1]}; {_REMEDIES[code]}")
        return super().translate(error)

    def engine_errors(self) -> tuple[type[BaseException], ...]:
        return (*super().engine_errors(), UnicodeEncodeError)


def code_of(error: BaseException | None) -> int:
    """The server's or the driver's number of an error, 0 where it has none."""
    args = getattr(error, "args", ())
    return args[0] if args and isinstance(args[0], int) else 0


def byte_length(text: str) -> int:
    """Bytes that a text takes on the wire. Raises UnicodeEncodeError."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def _size(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    return sum(map(_size, value)) if isinstance(value, tuple) else 8
