"""The metadata store in a PostgreSQL database, which may be the user's own."""

from __future__ import annotations

from sqlalchemy import Double, literal_column

from superduper.backends.postgres.engine import open_postgres
from superduper.backends.sql.metadata import SQLMetaDataStore


class PostgresMetaDataStore(SQLMetaDataStore):
    """``postgresql://user:password@host/database``."""

    clock = literal_column("CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)", Double)

    def __init__(self, uri: str) -> None:
        """Raises UriError, MissingExtra, Unreachable after 10 seconds, AccessDenied, VersionError."""
        super().__init__(uri, open_postgres(uri))
