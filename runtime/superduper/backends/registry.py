"""Which class serves which URI. Classes are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from superduper.errors import MissingExtra, UriError, nearest
from superduper.uris import without_password

if TYPE_CHECKING:
    from superduper.backends.base.artifacts import ArtifactStore
    from superduper.backends.base.compute import ComputeBackend
    from superduper.backends.base.data_backend import DataBackend
    from superduper.backends.base.metadata import MetaDataStore
    from superduper.config import Settings

_SQLITE = ("sqlite", "SQLite")
_POSTGRES = ("postgres", "Postgres")
_MYSQL = ("mysql", "MySQL")
_MONGO = ("mongodb", "Mongo")

DATA = {"sqlite": _SQLITE, "postgresql": _POSTGRES, "postgres": _POSTGRES} | dict.fromkeys(
    ("mongodb", "mongodb+srv", "mongomock"), _MONGO
)
DATA |= {"mysql": _MYSQL, "mariadb": _MYSQL}
_HTTP = ("http", "Http")
DATA |= {"http": _HTTP, "https": _HTTP}
METADATA = dict(DATA)
# It keeps rows only: what is written often and by many goes into a SQLite file beside it.
DATA["duckdb"] = ("duckdb", "DuckDB")
ARTIFACTS = {
    "filesystem": ("filesystem", "FileSystem"),
    "mongodb": _MONGO,
    "mongodb+srv": _MONGO,
    "mongomock": _MONGO,
    "s3": ("s3", "S3"),
    "memory": ("memory", "Memory"),
    "http": _HTTP,
    "https": _HTTP,
}
COMPUTE = {"local": ("local", "Local"), "dask": ("dask", "Dask"), "ray": ("ray", "Ray")}
EXTRAS = {
    "mongodb": ("pymongo", "mongodb"),
    "postgres": ("psycopg", "postgres"),
    "mysql": ("pymysql", "mysql"),
    "duckdb": ("duckdb", "duckdb"),
    "s3": ("obstore", "s3"),
    "dask": ("distributed", "dask"),
    "ray": ("ray", "ray"),
    "http": ("httpx", "http"),
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


def data_backend(uri: str, settings: Settings | None = None) -> DataBackend:
    """A connection to the database. Raises UriError, MissingExtra, Unreachable or AccessDenied.

    ``settings`` are for the classes that declare themselves ``configured``; left out, they read ``CFG``.
    """
    return _make(uri, "databackend", "data_backend", "DataBackend", settings)  # type: ignore[no-any-return]


def metadata_store(uri: str, settings: Settings | None = None) -> MetaDataStore:
    """A connection to the metadata store; errors as for ``data_backend``."""
    return _make(uri, "metadata store", "metadata", "MetaDataStore", settings)  # type: ignore[no-any-return]


def artifact_store(uri: str, settings: Settings | None = None) -> ArtifactStore:
    """A connection to the artifact store; errors as for ``data_backend``."""
    return _make(uri, "artifact store", "artifacts", "ArtifactStore", settings)  # type: ignore[no-any-return]


def compute_backend(uri: str) -> ComputeBackend:
    """The compute of that name: ``local``, ``dask``, ``dask://host:8786``, ``ray`` or ``ray://host:10001``.

    Raises UriError, MissingExtra, Unreachable.
    """
    if uri in ("auto", "job"):
        # What an operator makes of these is decided before this process is started.
        uri = "local"
    name = uri.partition("://")[0]
    if name not in COMPUTE or (name == "local" and uri != name):
        raise UriError(
            f"no compute {without_password(uri)!r}{nearest(name, COMPUTE)} "
            "(known: local, dask, dask://host:8786, ray, ray://host:10001)"
        )
    if name == "local":
        from superduper.backends.local.compute import LocalComputeBackend

        return LocalComputeBackend()
    return _class(*COMPUTE[name], "compute", "ComputeBackend", f"compute={name!r}")(uri)  # type: ignore[no-any-return]


def served(uri: str, what: str) -> tuple[str, str]:
    """Folder and prefix of the classes that serve the URI as ``what``: databackend, metadata store, artifact store.

    Raises UriError where none does.
    """
    known, name = _KNOWN[what], scheme(uri)
    if name not in known:
        hint = "; a folder is filesystem://" if name == "file" and "filesystem" in known else nearest(name, known)
        raise UriError(f"no {what} for {name}://{hint} (known: {', '.join(f'{k}://' for k in known)})")
    return known[name]


_KNOWN = {"databackend": DATA, "metadata store": METADATA, "artifact store": ARTIFACTS}


def _make(uri: str, what: str, module: str, suffix: str, settings: Settings | None) -> Any:
    made = _class(*served(uri, what), module, suffix, f"{scheme(uri)}://")
    return made(uri, settings) if getattr(made, "configured", False) else made(uri)


def _class(folder: str, prefix: str, module: str, suffix: str, what: str) -> Any:
    try:
        found = importlib.import_module(f"superduper.backends.{folder}.{module}")
    except MissingExtra:
        raise
    except ImportError as error:
        package, extra = EXTRAS.get(folder, (error.name or folder, folder))
        raise MissingExtra(package, extra, what) from error
    return getattr(found, prefix + suffix)
