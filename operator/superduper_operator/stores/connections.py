"""How the server and the jobs of a Datalayer reach its stores: from the spec to the environment of their containers."""

from __future__ import annotations

from dataclasses import dataclass

from superduper.api.v1alpha1 import Datalayer
from superduper.api.v1alpha1.compute import Compute
from superduper.api.v1alpha1.datalayer import ArtifactStoreSpec, Database
from superduper_operator.environment import Environment, SecretKey, Value
from superduper_operator.podspec import PLAIN
from superduper_operator.stores import ENGINES
from superduper_operator.stores.base import DATA, Connection, Place, Role, Store

HOME = "/var/lib/superduper"
CA_FILE = "/tls/ca.crt"
EMBEDDED = ("sqlite", "duckdb", "filesystem")
"""Schemes of what lies on the server's volume."""
HOLDS_FILES = ("mongodb", "mongodb+srv", "mongomock")
"""Schemes of databases that keep artifacts too, where no artifact store is given."""
SETTINGS: dict[Role, str] = {
    "databackend": "SUPERDUPER_DATABACKEND",
    "metadata": "SUPERDUPER_METADATA",
    "artifacts": "SUPERDUPER_ARTIFACT_STORE",
}


@dataclass(frozen=True, slots=True)
class Connections:
    """All stores of one Datalayer."""

    datalayer: Datalayer
    token: SecretKey
    server: str
    """Where the server answers inside the cluster, as ``http://digits-server.shop.svc:8000``."""
    databackend: Connection
    metadata: Connection | None
    """None: the runtime's default, which is the databackend."""
    artifacts: Connection | None
    """None: the databackend, which holds artifacts too."""
    stores: tuple[Store, ...]
    home: str

    @property
    def parts(self) -> dict[Role, Connection]:
        """What is given or provisioned."""
        found: dict[Role, Connection | None] = {
            "databackend": self.databackend, "metadata": self.metadata, "artifacts": self.artifacts
        }  # fmt: skip
        return {role: each for role, each in found.items() if each is not None}

    @property
    def volume(self) -> bool:
        """Whether the server needs a volume."""
        return any(each.embedded for each in self.parts.values()) or self.home.startswith(DATA)

    @property
    def by_secret(self) -> bool:
        """Whether a Secret of the user says how a store is reached."""
        names = {secret["metadata"]["name"] for store in self.stores for secret in store.secrets}
        return any(
            each.by_secret and not (isinstance(each.uri, SecretKey) and each.uri.secret in names)
            for each in self.parts.values()
        )

    @property
    def environment_from(self) -> tuple[str, ...]:
        """Secrets of which every key is a variable."""
        return tuple(dict.fromkeys(name for each in self.parts.values() for name in each.environment_from))

    def _common(self) -> Environment:
        found: Environment = {"SUPERDUPER_TOKEN": self.token}
        store = self.datalayer.spec.artifact_store
        if store is not None:
            found["SUPERDUPER_HASH"] = store.hash
        for each in self.parts.values():
            found |= each.environment
        return found

    def server_environment(self) -> Environment:
        """The settings of the server."""
        found = self._common() | {"SUPERDUPER_HOME": self.home, "HOME": HOME}
        found["SUPERDUPER_COMPUTE"] = _compute(self.datalayer.spec.compute)
        for role, each in self.parts.items():
            found[SETTINGS[role]] = each.uri
        return found

    def job_environment(self, *, through_server: bool = False) -> Environment:
        """The settings of a job: the same stores, but for what lies on the server's volume, which it is asked for.

        ``through_server``: the server has found that a Secret's URI leads to its own volume.
        """
        found = self._common() | {"SUPERDUPER_HOME": HOME, "HOME": HOME}
        for role, setting in SETTINGS.items():
            value = self._for_job(role, through_server)
            if value is not None:
                found[setting] = value
        if self.server.startswith("https://") and self.server in found.values():
            found["SUPERDUPER_CA_FILE"] = CA_FILE
        return found

    def _for_job(self, role: Role, through_server: bool) -> Value | None:
        part = self.parts.get(role)
        if part is None:
            # The default follows the databackend, so where that is the server's, this is too.
            if role == "metadata":
                return self._for_job("databackend", through_server)
            return self.server if through_server or self.home == DATA else None
        own = isinstance(part.uri, SecretKey) and not any(
            secret["metadata"]["name"] == part.uri.secret for store in self.stores for secret in store.secrets
        )
        return self.server if part.embedded or (through_server and own) else part.uri


def resolve(datalayer: Datalayer, place: Place) -> Connections:
    """Pure: how everything is reached, and what has to be provisioned."""
    spec, stores, home = datalayer.spec, [], HOME

    def connect(role: Role, part: Database | ArtifactStoreSpec) -> Connection:
        credentials = getattr(part, "credentials_from", None)
        environment_from: tuple[str, ...] = () if credentials is None else (credentials.secret_ref.name,)
        if part.provision is not None:
            store = ENGINES[part.provision.engine](place, role, part.provision)
            stores.append(store)
            return store.connection
        if part.uri_from is not None:
            ref = part.uri_from.secret_key_ref
            return Connection(SecretKey(ref.name, ref.key), environment_from=environment_from)
        assert part.uri is not None
        return Connection(part.uri, environment_from=environment_from, embedded=_scheme(part.uri) in EMBEDDED)

    databackend = connect("databackend", spec.databackend)
    metadata = None if spec.metadata is None else connect("metadata", spec.metadata)
    if metadata is None and _is_duckdb(spec.databackend):
        metadata = Connection(f"sqlite:///{DATA}/{place.datalayer}-metadata.db", embedded=True)
    artifacts: Connection | None = None
    if spec.artifact_store is not None:
        artifacts = connect("artifacts", spec.artifact_store)
    elif isinstance(databackend.uri, SecretKey) and spec.databackend.provision is None:
        # Only the server sees what the Secret's URI leads to: it takes the database where that holds files, else a
        # folder in its home, which therefore lies on the volume. Jobs go through the server, whichever it is.
        home = DATA
    elif not isinstance(databackend.uri, str) or _scheme(databackend.uri) not in HOLDS_FILES:
        artifacts = Connection(f"filesystem://{DATA}/artifacts", embedded=True)
    secure = spec.server.tls is not None
    name = place.name("server")
    return Connections(
        datalayer=datalayer,
        token=SecretKey(place.name("token"), "token"),
        server=f"{'https' if secure else 'http'}://{name}.{place.namespace}.svc:{PLAIN}",
        databackend=databackend,
        metadata=metadata,
        artifacts=artifacts,
        stores=tuple(stores),
        home=home,
    )


def _compute(compute: Compute) -> str:
    """How the server decides what it computes by itself. A cluster of Ray is reached from jobs only."""
    return (compute.uri or "auto") if compute.engine in ("local", "dask") else compute.engine


def _scheme(uri: str) -> str:
    found = uri.partition(":")[0].lower()
    return found if found == "mongodb+srv" else found.partition("+")[0]


def _is_duckdb(part: Database) -> bool:
    if part.provision is not None:
        return part.provision.engine == "duckdb"
    return part.uri is not None and _scheme(part.uri) == "duckdb"
