"""The metadata store in a MySQL or MariaDB database, which may be the user's own."""

from __future__ import annotations

from sqlalchemy import Double, literal_column

from superduper.backends.mysql.engine import open_mysql
from superduper.backends.sql.metadata import SQLMetaDataStore


class MySQLMetaDataStore(SQLMetaDataStore):
    """``mysql://user:password@host/database`` and ``mariadb://…``."""

    clock = literal_column("(UNIX_TIMESTAMP(NOW(6)) + 0e0)", Double)

    def __init__(self, uri: str) -> None:
        """Raises UriError, MissingExtra, Unreachable after 10 seconds, AccessDenied, VersionError."""
        super().__init__(uri, open_mysql(uri))
