"""Which class serves which URI. Classes are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from superduper.errors import MissingExtra, UriError, nearest

if TYPE_CHECKING:
    from superduper.backends.base.artifacts import ArtifactStore
    from superduper.backends.base.compute import ComputeBackend
    from superduper.backends.base.data_backend import DataBackend
    from superduper.backends.base.metadata import MetaDataStore

_SQLITE = ("sqlite", "SQLite")
_POSTGRES = ("postgres", "Postgres")
_MYSQL = ("mysql", "MySQL")
_MONGO = ("mongodb", "Mongo")

DATA = {"sqlite": _SQLITE, "postgresql": _POSTGRES, "postgres": _POSTGRES} | dict.fromkeys(
    ("mongodb", "mongodb+srv", "mongomock"), _MONGO
)
DATA |= {"mysql": _MYSQL, "mariadb": _MYSQL}
METADATA = DATA
ARTIFACTS = {
    "filesystem": ("filesystem", "FileSystem"),
    "mongodb": _MONGO,
    "mongodb+srv": _MONGO,
    "mongomock": _MONGO,
    "s3": ("s3", "S3"),
    "memory": ("memory", "Memory"),
}
EXTRAS = {
    "mongodb": ("pymongo", "mongodb"),
    "postgres": ("psycopg", "postgres"),
    "mysql": ("pymysql", "mysql"),
    "s3": ("obstore", "s3"),
}


def scheme(uri: str) -> str:
    """What stands before ``://``. Raises UriError where nothing does."""
    found, separator, _ = uri.partition("://")
    if not separator or not found:
        raise UriError(
            f"{uri!r} is no URI: it needs a scheme, as sqlite://my.db or mongodb://localhost:27017/documents"
        )
    # A driver may be named as SQLAlchemy does: postgresql+psycopg://
    return found if found == "mongodb+srv" else found.partition("+")[0]


def data_backend(uri: str) -> DataBackend:
    """A connection to the database. Raises UriError, MissingExtra, Unreachable or AccessDenied."""
    return _make(uri, DATA, "data_backend", "DataBackend", "databackend")  # type: ignore[no-any-return]


def metadata_store(uri: str) -> MetaDataStore:
    """A connection to the metadata store; errors as for ``data_backend``."""
    return _make(uri, METADATA, "metadata", "MetaDataStore", "metadata store")  # type: ignore[no-any-return]


def artifact_store(uri: str) -> ArtifactStore:
    """A connection to the artifact store; errors as for ``data_backend``."""
    return _make(uri, ARTIFACTS, "artifacts", "ArtifactStore", "artifact store")  # type: ignore[no-any-return]


def compute_backend(uri: str) -> ComputeBackend:
    """The compute of that name: ``local``. Raises UriError."""
    if uri != "local":
        raise UriError(f"no compute {uri!r}{nearest(uri, ['local'])} (known: local)")
    from superduper.backends.local.compute import LocalComputeBackend

    return LocalComputeBackend()


def _make(uri: str, known: dict[str, tuple[str, str]], module: str, suffix: str, what: str) -> Any:
    name = scheme(uri)
    if name not in known:
        raise UriError(f"no {what} for {name}://{nearest(name, known)} (known: {', '.join(f'{k}://' for k in known)})")
    folder, prefix = known[name]
    try:
        found = importlib.import_module(f"superduper.backends.{folder}.{module}")
    except MissingExtra:
        raise
    except ImportError as error:
        package, extra = EXTRAS.get(folder, (error.name or folder, folder))
        raise MissingExtra(package, extra, f"{name}://") from error
    return getattr(found, prefix + suffix)(uri)
