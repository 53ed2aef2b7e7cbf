"""Connections to PostgreSQL, for rows and for metadata."""

from __future__ import annotations

from sqlalchemy import Engine

from superduper.backends.sql.engine import open_server


def open_postgres(uri: str) -> Engine:
    """An engine on a PostgreSQL server. Raises UriError, MissingExtra.

    Text is UTF-8 on the wire whatever the database says: one that was made with ``SQL_ASCII``, as initdb does where no
    locale is set, would hand out bytes.
    """
    return open_server(uri, client_encoding="utf8")
