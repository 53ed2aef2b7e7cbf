"""PostgreSQL in one pod: for development and small teams. Production points ``uriFrom`` at a cluster of its own."""

from __future__ import annotations

from superduper.api.v1alpha1.datalayer import DatabaseProvision
from superduper_operator.environment import SecretKey, to_env
from superduper_operator.podspec import POSTGRES_USER, Manifest, container, empty_dir, resources
from superduper_operator.stores import base
from superduper_operator.stores.base import Connection, Place, Role, Store

PORT = 5432
PART = "postgres"
USER = DATABASE = "superduper"


def build(place: Place, role: Role, provision: DatabaseProvision) -> Store:
    """A StatefulSet with a volume, its Service, its NetworkPolicy, and a Secret with a derived password."""
    name = place.name(PART if role == "databackend" else f"{role}-{PART}")
    return Store(
        connection=Connection(SecretKey(name, "uri")),
        secrets=(_secret(place, name),),
        objects=(
            base.service(place, name, PART, role, PORT),
            base.stateful_set(place, name, PART, role, _pod(place, name, provision), provision.storage),
            base.network_policy(place, name, PART, role, PORT),
        ),
        claims=(f"data-{name}-0",),
    )


def _secret(place: Place, name: str) -> Manifest:
    host, password = f"{name}.{place.namespace}.svc", place.derive(name)
    data = {
        "username": USER,
        "password": password,
        "database": DATABASE,
        "host": host,
        "port": str(PORT),
        "uri": f"postgresql://{USER}:{password}@{host}:{PORT}/{DATABASE}",
    }
    # Retained data stays readable: its password outlives the Datalayer.
    return base.secret(place, name, PART, data, owned=not place.retain)


def _image(place: Place, provision: DatabaseProvision) -> str:
    if provision.version is None:
        return place.defaults.postgres
    repository = place.defaults.postgres.partition("@")[0]
    head, colon, tag = repository.rpartition(":")
    # A colon before a slash is a registry's port.
    return f"{head if colon and '/' not in tag else repository}:{provision.version}"


def _pod(place: Place, name: str, provision: DatabaseProvision) -> Manifest:
    # Over TCP: while the image sets the database up, its server listens on a socket only, and is not ready.
    ready = {"exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-p", str(PORT), "-U", USER, "-d", DATABASE]}}
    given = provision.resources
    database = container(
        PART,
        _image(place, provision),
        env=to_env(
            {
                "POSTGRES_USER": SecretKey(name, "username"),
                "POSTGRES_PASSWORD": SecretKey(name, "password"),
                "POSTGRES_DB": SecretKey(name, "database"),
                # A folder in the volume, whose top may hold a lost+found; and not the image's own, which moves with
                # its major version.
                "PGDATA": "/data/pgdata",
                # UTF-8 whatever the image's locale is, in an order that no update of the image's C library changes.
                "LANG": "C.UTF-8",
            }
        ),
        mounts={"data": "/data", "run": "/var/run/postgresql", "tmp": "/tmp", "shm": "/dev/shm"},  # noqa: S108
        resources=resources(None if given is None else given.model_dump(), place.defaults.store_resources),
        ports=[{"name": PART, "containerPort": PORT, "protocol": "TCP"}],
        # Recovery after a crash may take minutes; until it ends, nobody kills the pod.
        startupProbe={**ready, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 600},
        readinessProbe={**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        livenessProbe={**ready, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        # SIGINT ends sessions and shuts down; SIGTERM, where an image does not say otherwise, waits for them for ever.
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "kill -INT 1"]}}},
    )
    volumes = [
        empty_dir("run", "16Mi"),
        empty_dir("tmp", "1Gi"),
        # The 64 MB that a container gets are too few for parallel queries.
        empty_dir("shm", "256Mi", memory=True),
    ]
    return place.pod([database], volumes, user=POSTGRES_USER, grace=60)
