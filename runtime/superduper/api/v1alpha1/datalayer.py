"""Datalayer: which database, artifact store, metadata store and compute."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from superduper.api.v1alpha1.common import (
    Address,
    CredentialsFrom,
    DeletionPolicy,
    Flag,
    Quantity,
    Resource,
    Rule,
    Spec,
    Uri,
    UriFrom,
    exactly_one_of,
)
from superduper.api.v1alpha1.conditions import Status

ONE_CONNECTION = Rule(
    "exactly_one_of_uri_uri_from_provision",
    "exactly one of uri, uriFrom and provision must be given",
    exactly_one_of("uri", "uri_from", "provision"),
)

Quantities = Annotated[dict[Annotated[str, StringConstraints(max_length=63)], Quantity], Field(max_length=16)]


class Resources(Spec):
    """Resources of a pod, as Kubernetes has them."""

    requests: Quantities = Field(default_factory=dict)
    """What is set aside, as `cpu: 500m` and `memory: 1Gi`."""
    limits: Quantities = Field(default_factory=dict)
    """What is never exceeded."""


class DatabaseProvision(Spec):
    """A database that is started for you; without a cluster, a SQLite file in its place."""

    engine: Literal["sqlite", "postgres"]
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


class Compute(Spec):
    """Where models run."""

    engine: Literal["auto", "local", "dask"] = "auto"
    """`local` is in this process; `dask` is on the workers of a dask cluster; left out (`auto`), a Datalayer runs
    models in this process, and a Model runs where its Datalayer says."""
    address: Address | None = None
    """Scheduler of the dask cluster; left out: a cluster of its own on this machine."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "address_needs_engine_dask",
            "address goes with engine dask",
            lambda spec: spec.address is None or spec.engine == "dask",
        ),
    )

    @property
    def uri(self) -> str | None:
        """`local`, `dask` or `dask://host:8786`, as Python has it; None for `auto`."""
        if self.engine == "auto":
            return None
        return self.engine if self.address is None else f"{self.engine}://{self.address}"


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
    deletion_policy: DeletionPolicy = "Retain"
    """Whether the data of provisioned stores is removed together with the object."""
    suspend: Flag = False
    """While true, nothing is run."""


class DatalayerStatus(Status):
    """What is there."""

    databackend: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URI in use, without its password."""
    metadata: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URI in use, without its password."""
    artifact_store: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """URI in use, without its password."""


class Datalayer(Resource):
    """Which database, artifact store, metadata store and compute belong together."""

    kind: Literal["Datalayer"] = "Datalayer"
    """Kind of the object."""
    spec: DatalayerSpec
    """What is wanted."""
    status: DatalayerStatus | None = None
    """What was observed; ignored when applied."""
