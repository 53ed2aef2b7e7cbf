"""The databackends under test: each behaviour is held against every one.

What a system cannot do is declared here, with the test's name and the reason; a gap that is not declared
fails, and so does a declared one that turns out to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module

import pytest

from superduper.backends.base.data_backend import DataBackend, Row
from superduper.query.ast import Select
from superduper.query.parse import parse_filter, parse_projection, parse_sort
from superduper.query.tables import Column, TableDef


@dataclass(frozen=True)
class System:
    """One databackend: where its class is, and which fixtures give a URI and the server."""

    module: str
    name: str
    uri: str
    server: str = ""
    shared: bool = True
    """Other connections and processes see the same data."""
    survives: bool = True
    """The data is there after a restart of the server."""
    denies: bool = False
    """The server checks passwords."""
    gaps: dict[str, str] = field(default_factory=dict)
    """Tests that fail here, and why."""

    def open(self, uri: str) -> DataBackend:
        backend: DataBackend = getattr(import_module(f"superduper.backends.{self.module}.data_backend"), self.name)(uri)
        return backend


NO_CLIENT = dict.fromkeys(
    (
        "test_the_client_itself_is_there",
        "test_a_native_query_runs",
        "test_native_reads_see_what_was_just_written",
        "test_a_wrong_expression_is_an_error_of_ours",
    ),
    "the database's own client is with the server, and its expressions are not sent over HTTP",
)

SYSTEMS = {
    "sqlite": System(
        "sqlite",
        "SQLiteDataBackend",
        "sqlite_uri",
        gaps={"test_nan_and_infinity_come_back": "SQLite turns NaN into null, so it is refused"},
    ),
    "postgres": System("postgres", "PostgresDataBackend", "postgres_uri", "postgres_server", denies=True),
    # MariaDB, for MySQL.
    "mysql": System(
        "mysql",
        "MySQLDataBackend",
        "mariadb_uri",
        "mariadb_server",
        denies=True,
        gaps={"test_nan_and_infinity_come_back": "MySQL has neither, so they are refused"},
    ),
    "duckdb": System(
        "duckdb",
        "DuckDBDataBackend",
        "duckdb_uri",
        gaps={
            "test_processes_that_write_at_once_lose_nothing": "DuckDB lets one process open a file",
            "test_a_forked_child_reads_and_writes_by_itself": "a DuckDB instance does not survive a fork; it says so",
        },
    ),
    # A double on the wire: it has no passwords, and keeps its data in memory.
    "mongo": System("mongodb", "MongoDataBackend", "mongo_uri", "mongo_server", survives=False),
    "mongomock": System("mongodb", "MongoDataBackend", "mongomock_uri", shared=False),
    # The same by way of a datalayer's server; it is the one that is stopped and started.
    "http-sqlite": System(
        "http",
        "HttpDataBackend",
        "http_sqlite_uri",
        "seams_server",
        gaps=NO_CLIENT | {"test_nan_and_infinity_come_back": "SQLite turns NaN into null, so it is refused"},
    ),
    "http-postgres": System("http", "HttpDataBackend", "http_postgres_uri", "seams_server", gaps=NO_CLIENT),
    "http-mongo": System(
        "http",
        "HttpDataBackend",
        "http_mongo_uri",
        "seams_server",
        gaps=NO_CLIENT
        | {"test_a_record_of_a_document_store_carries_its_envelope": NO_CLIENT["test_the_client_itself_is_there"]},
    ),
}

EVERYTHING = TableDef(
    "things",
    (
        Column("id", "str"),
        Column("n", "int"),
        Column("f", "float"),
        Column("s", "str"),
        Column("b", "bool"),
        Column("raw", "bytes"),
        Column("meta", "json"),
        Column("at", "datetime"),
        Column("_fold", "str"),
    ),
    "id",
    "schema",
)


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> System:
    made = SYSTEMS[request.param]
    reason = made.gaps.get(getattr(request.node, "originalname", ""))
    if reason:
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return made


@pytest.fixture
def uri(system: System, request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(system.uri)
    return found


@pytest.fixture
def backend(system: System, uri: str) -> Iterator[DataBackend]:
    made = system.open(uri)
    yield made
    made.close()


@pytest.fixture
def things(backend: DataBackend) -> TableDef:
    backend.create_table(EVERYTHING)
    return EVERYTHING


def find(
    backend: DataBackend,
    table: TableDef,
    filter: dict[str, object] | None = None,
    projection: object = None,
    *,
    sort: object = "id",
    skip: int = 0,
    limit: int | None = None,
    batch: int = 1000,
) -> list[Row]:
    """The rows of a select; MongoDB's ``_id`` is left out unless it is asked for."""
    fields, exclude = parse_projection(projection)  # type: ignore[arg-type]
    exclude = (*exclude, "_id") if fields is None else exclude
    query = Select(table.name, parse_filter(filter), fields, exclude, parse_sort(sort), skip, limit)
    return [row for rows in backend.select(table, query, batch=batch) for row in rows]


def keys(backend: DataBackend, table: TableDef, filter: dict[str, object]) -> list[object]:
    """The primary keys of the rows that pass, in ascending order."""
    return [row["id"] for row in find(backend, table, filter, ["id"])]


def empty(key: object, **values: object) -> Row:
    """A whole row of EVERYTHING: null but for what is given."""
    return {column.name: None for column in EVERYTHING.columns} | {"id": key} | values
