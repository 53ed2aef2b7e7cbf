"""PostgreSQL by psycopg 3."""

from __future__ import annotations

from superduper.backends.postgres.engine import open_postgres
from superduper.backends.sql.database import SqlDatabase
from superduper.errors import (
    AccessDenied,
    DuplicateKey,
    NotFound,
    SchemaMismatch,
    StoreError,
    SuperduperError,
    Unreachable,
)

# By the beginning of the SQLSTATE; longer beginnings first. https://www.postgresql.org/docs/15/errcodes-appendix.html
_STATES: dict[str, type[SuperduperError]] = {
    "23505": DuplicateKey,
    "23502": SchemaMismatch,
    "25006": StoreError,
    "42501": AccessDenied,
    "42P01": NotFound,
    "42703": SchemaMismatch,
    "42804": SchemaMismatch,
    "53300": Unreachable,
    "08": Unreachable,
    "22": SchemaMismatch,
    "28": AccessDenied,
    "3D": NotFound,
    "53": StoreError,
    "54": SchemaMismatch,
    "57": Unreachable,
}

# While it connects, psycopg knows no SQLSTATE: the server's own words are all there is.
_WORDS: dict[str, type[SuperduperError]] = {
    "password authentication failed": AccessDenied,
    "no password supplied": AccessDenied,
    "authentication failed": AccessDenied,
    "no pg_hba.conf entry": AccessDenied,
    "permission denied": AccessDenied,
    'role "': AccessDenied,
    'database "': NotFound,
}


class PostgresDatabase(SqlDatabase):
    """A PostgreSQL database, 10 s to connect, dead connections replaced."""

    system = "PostgreSQL"

    def __init__(self, uri: str) -> None:
        super().__init__(uri, open_postgres(uri))

    def classify(self, error: BaseException) -> type[SuperduperError] | None:
        state = getattr(error, "sqlstate", None)
        if state:
            return next((kind for start, kind in _STATES.items() if state.startswith(start)), None)
        kind = type(error).__name__
        if kind == "DataError":
            return SchemaMismatch
        if kind in ("OperationalError", "ConnectionTimeout", "InterfaceError"):
            text = str(error)
            return next((found for word, found in _WORDS.items() if word in text), Unreachable)
        return None
