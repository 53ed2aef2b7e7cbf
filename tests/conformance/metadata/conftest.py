"""The metadata stores under test: each behaviour is held against every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from superduper.backends.base.metadata import MetaDataStore


@dataclass(frozen=True)
class System:
    """One store: where its class is, which fixture gives a URI, which its server."""

    module: str
    name: str
    uri: str
    server: str = ""
    shared: bool = True
    """Other connections and processes see the same data."""
    survives: bool = True
    """The data is there after a restart of the server."""
    denies: bool = True
    """The server checks passwords."""
    direct: bool = True
    """The URI is that of the store itself, not of a datalayer's server before it."""

    def open(self, uri: str) -> MetaDataStore:
        store: MetaDataStore = getattr(import_module(f"superduper.backends.{self.module}.metadata"), self.name)(uri)
        return store


SYSTEMS = {
    "sqlite": System("sqlite", "SQLiteMetaDataStore", "sqlite_uri", denies=False),
    "postgres": System("postgres", "PostgresMetaDataStore", "postgres_uri", "postgres_server"),
    "mariadb": System("mysql", "MySQLMetaDataStore", "mariadb_uri", "mariadb_server"),
    # A double on the wire: it has no passwords, and keeps its data in memory.
    "mongo": System("mongodb", "MongoMetaDataStore", "mongo_uri", "mongo_server", survives=False, denies=False),
    "mongomock": System("mongodb", "MongoMetaDataStore", "mongomock_uri", shared=False, denies=False),
    # By way of a datalayer's server; it is the one that is stopped and started.
    "http-sqlite": System("http", "HttpMetaDataStore", "http_sqlite_uri", "seams_server", denies=False, direct=False),
    "http-postgres": System(
        "http", "HttpMetaDataStore", "http_postgres_metadata_uri", "seams_server", denies=False, direct=False
    ),
}


def of(needed: Callable[[System], bool]) -> list[str]:
    """Names of the systems that a test is about."""
    return [name for name, system in SYSTEMS.items() if needed(system)]


SHARED = of(lambda system: system.shared)
DIRECT = of(lambda system: system.shared and system.direct)
SERVERS = of(lambda system: bool(system.server))


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]


@pytest.fixture
def uri(system: System, request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(system.uri)
    return found


@pytest.fixture
def server(system: System, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(system.server)


@pytest.fixture
def store(system: System, uri: str) -> Iterator[MetaDataStore]:
    opened = system.open(uri)
    yield opened
    opened.close()
