"""Datalayer: which database, artifact store, metadata store and compute."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from superduper.api.v1alpha1.common import (
    CredentialsFrom,
    DeletionPolicy,
    Flag,
    Quantity,
    Resource,
    Rule,
    Spec,
    SubdomainName,
    Uri,
    UriFrom,
    cel_exactly_one_of,
    exactly_one_of,
)
from superduper.api.v1alpha1.compute import Compute, Resources
from superduper.api.v1alpha1.conditions import Status
from superduper.api.v1alpha1.server import Server

ONE_CONNECTION = Rule(
    "exactly_one_of_uri_uri_from_provision",
    "exactly one of uri, uriFrom and provision must be given",
    exactly_one_of("uri", "uri_from", "provision"),
    cel=cel_exactly_one_of("uri", "uriFrom", "provision"),
)


class DatabaseProvision(Spec):
    """A database that is started for you; without a cluster, a file in its place: of DuckDB for duckdb, else of SQLite."""

    engine: Literal["sqlite", "postgres", "duckdb"]
    """Which database."""
    version: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    """Version of the database in a cluster; left out: the newest one that is tested."""
    storage: Quantity | None = None
    """Size of its volume in a cluster, as 10Gi."""
    resources: Resources | None = None
    """Resources of its pod in a cluster."""


class ArtifactStoreProvision(Spec):
    """An artifact store that is started for you; without a cluster, a folder in its place."""

    engine: Literal["filesystem", "s3"]
    """Which store."""
    storage: Quantity | None = None
    """Size of its volume in a cluster, as 100Gi."""


class Database(Spec):
    """A connection to a databackend or a metadata store."""

    uri: Uri | None = None
    """URI, as `sqlite://data.db`, `postgresql://…`, `mongodb://…`; relative files lie in the current folder."""
    uri_from: UriFrom | None = None
    """Secret that holds the URI."""
    provision: DatabaseProvision | None = None
    """A database that is started for you."""

    RULES: ClassVar[tuple[Rule, ...]] = (ONE_CONNECTION,)


class ArtifactStoreSpec(Spec):
    """A connection to an artifact store."""

    uri: Uri | None = None
    """URI, as `filesystem://./artifacts`, `s3://bucket/prefix`, `mongodb://…`; relative folders lie in the
    current folder."""
    uri_from: UriFrom | None = None
    """Secret that holds the URI."""
    provision: ArtifactStoreProvision | None = None
    """A store that is started for you."""
    hash: Literal["sha1", "sha256"] = "sha1"
    """Hash that gives new artifacts their ids; readers accept both."""
    credentials_from: CredentialsFrom | None = None
    """Secret with the store's credentials in a cluster; without one, the usual AWS_* environment variables."""

    RULES: ClassVar[tuple[Rule, ...]] = (ONE_CONNECTION,)


SINGLE_WRITERS = ("sqlite", "duckdb", "filesystem", "memory", "mongomock")
"""Engines and schemes of stores that one process alone may write."""

_HOLDS_FILES = ("mongodb", "mongodb+srv")


def _writes_alone(part: Database | ArtifactStoreSpec) -> bool:
    if part.provision is not None:
        return part.provision.engine in SINGLE_WRITERS
    return part.uri is not None and re.split("[:+]", part.uri)[0] in SINGLE_WRITERS


def has_one_writer(spec: DatalayerSpec) -> bool:
    """Whether there is one server, or no store that only one process may write."""
    if spec.server.replicas == 1:
        return True
    databackend = spec.databackend.uri or ""
    if spec.artifact_store is None and databackend.partition(":")[0] not in _HOLDS_FILES:
        return False  # the file system, or what a Secret says, which nobody sees here
    return not any(_writes_alone(part) for part in (spec.databackend, spec.metadata, spec.artifact_store) if part)


def _cel_writes_alone(part: str) -> str:
    engines = ", ".join(f"'{engine}'" for engine in SINGLE_WRITERS[:3])
    return (
        f"(has({part}.provision) && {part}.provision.engine in [{engines}]) || "
        f"(has({part}.uri) && {part}.uri.matches('^({'|'.join(SINGLE_WRITERS)})[+:]'))"
    )


SINGLE_WRITER = Rule(
    "single_writer",
    "server.replicas must be 1 where sqlite, duckdb or filesystem is used, or artifactStore is left out: only one "
    "process may write these; give databackend (and metadata) as postgres or a server's uri, and artifactStore as s3",
    has_one_writer,
    cel=(
        "!has(self.server) || self.server.replicas == 1 || !("
        + _cel_writes_alone("self.databackend")
        + " || (has(self.metadata) && ("
        + _cel_writes_alone("self.metadata")
        + ")) || (has(self.artifactStore) ? ("
        + _cel_writes_alone("self.artifactStore")
        + ") : !(has(self.databackend.uri) && self.databackend.uri.matches('^mongodb([+]srv)?:'))))"
    ),
)


def metadata_is_no_duckdb(spec: DatalayerSpec) -> bool:
    """Whether metadata is kept by a database that can: DuckDB holds rows only."""
    part = spec.metadata
    if part is None:
        return True
    engine = part.provision.engine if part.provision is not None else re.split("[:+]", part.uri or "")[0]
    return engine != "duckdb"


METADATA_IS_NO_DUCKDB = Rule(
    "metadata_is_no_duckdb",
    "metadata cannot be duckdb, which holds rows only: give sqlite or postgres, or leave metadata out",
    metadata_is_no_duckdb,
    cel=(
        "!has(self.metadata) || !((has(self.metadata.provision) && self.metadata.provision.engine == 'duckdb') || "
        "(has(self.metadata.uri) && self.metadata.uri.matches('^duckdb[+:]')))"
    ),
)


class DatalayerSpec(Spec):
    """A databackend, an artifact store, a metadata store and compute."""

    databackend: Database
    """Database that holds the rows."""
    metadata: Database | None = None
    """Database that holds components, versions and jobs; left out: as the databackend."""
    artifact_store: ArtifactStoreSpec | None = None
    """Where large data lies; left out: the databackend where it can hold files, else the file system."""
    compute: Compute = Compute()
    """Where models run."""
    server: Server = Server()
    """Server of the datalayer in a cluster. Without effect outside Kubernetes."""
    deletion_policy: DeletionPolicy = "Retain"
    """Whether the data of provisioned stores is removed together with the object."""
    suspend: Flag = False
    """While true, nothing is run."""

    RULES: ClassVar[tuple[Rule, ...]] = (SINGLE_WRITER, METADATA_IS_NO_DUCKDB)


class DatalayerStatus(Status):
    """What is there."""

    databackend: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URI in use, without its password."""
    metadata: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URI in use, without its password."""
    artifact_store: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URI in use, without its password."""
    compute: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """Where models run, as Python has it, or `rayjob` and `job`."""
    endpoint: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URL of the datalayer's server in the cluster."""
    token_secret: SubdomainName | None = None
    """Name of the Secret whose key `token` opens the server."""
    server_version: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Version of superduper that the server runs."""


class Datalayer(Resource):
    """Which database, artifact store, metadata store and compute belong together."""

    kind: Literal["Datalayer"] = "Datalayer"
    """Kind of the object."""
    spec: DatalayerSpec
    """What is wanted."""
    status: DatalayerStatus | None = None
    """What was observed; ignored when applied."""
