"""Connections to a MySQL or MariaDB server by PyMySQL, with a deadline that silent servers do not outlive."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from superduper import config
from superduper.backends.sql.engine import open_server


def open_mysql(uri: str, **arguments: object) -> Engine:
    """An engine, with more arguments for PyMySQL. Raises UriError, MissingExtra."""
    engine = open_server(uri, read_timeout=config.CFG.connect_timeout, **arguments)
    event.listen(engine, "connect", _patient)
    return engine


def _patient(connection: Any, _: object) -> None:
    # PyMySQL's deadline to connect ends with the socket: a server that accepts and says nothing is met by the one
    # for reading, which an ordinary statement must not have.
    connection._read_timeout = None
