"""The metadata store in a MySQL or MariaDB database, which may be the user's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, event, literal_column

from superduper import config
from superduper.backends.sql.engine import open_server
from superduper.backends.sql.metadata import SQLMetaDataStore


class MySQLMetaDataStore(SQLMetaDataStore):
    """``mysql://user:password@host/database`` and ``mariadb://…``."""

    clock = literal_column("(UNIX_TIMESTAMP(NOW(6)) + 0e0)", Double)

    def __init__(self, uri: str) -> None:
        """Raises UriError, MissingExtra, Unreachable after 10 seconds, AccessDenied, VersionError."""
        engine = open_server(uri, read_timeout=config.CFG.connect_timeout)
        event.listen(engine, "connect", _patient)
        super().__init__(uri, engine)


def _patient(connection: Any, _: object) -> None:
    # PyMySQL's deadline to connect ends with the socket: a server that accepts and says nothing is met by the one
    # for reading, which an ordinary statement must not have.
    connection._read_timeout = None
