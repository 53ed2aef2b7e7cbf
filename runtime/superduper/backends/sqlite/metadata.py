"""The metadata store in a SQLite file, which may be the user's own database."""

from __future__ import annotations

from sqlalchemy import Double, literal_column

from superduper.backends.sql.engine import open_sqlite
from superduper.backends.sql.metadata import SQLMetaDataStore


class SQLiteMetaDataStore(SQLMetaDataStore):
    """``sqlite://name.db``. Readers never wait; one writer at a time, the others for up to 30 seconds."""

    clock = literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double)

    def __init__(self, uri: str) -> None:
        """Raises UriError, StoreError where the file cannot be opened, VersionError."""
        super().__init__(uri, open_sqlite(uri))
