"""What a provisioned store is: desired objects, generated Secrets, and how servers and jobs connect to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from superduper_operator import labels
from superduper_operator.core import names
from superduper_operator.environment import SecretKey, Value
from superduper_operator.podspec import USER, Manifest, pod_security

Role: TypeAlias = Literal["databackend", "metadata", "artifacts"]

DATA = "/data"
"""Where the volume of a Datalayer is mounted in its server."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator's settings say of everything that is started."""

    runtime: str
    """Image of servers."""
    runtime_ray: str
    """Image of jobs."""
    postgres: str
    """Image of PostgreSQL; its tag gives way to ``provision.version``."""
    s3: str
    """Image of S3 stores."""
    ray_version: str = ""
    """Version of Ray in the image of jobs; empty: left to KubeRay."""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    storage_class: str = ""
    """Empty: the cluster's default."""
    storage_size: str = "10Gi"
    server_resources: Manifest = field(default_factory=dict)
    store_resources: Manifest = field(default_factory=dict)
    job_resources: Manifest = field(default_factory=dict)
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    network_policies: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is built, and for whom."""

    datalayer: str
    namespace: str
    uid: str
    retain: bool
    """Whether its data outlives the Datalayer."""
    defaults: Defaults
    derive: Callable[[str], str] = field(repr=False)
    """A secret for that purpose: hexadecimal, and the same each time."""

    def name(self, part: str) -> str:
        """Name of the object for that part of the Datalayer."""
        return names.child(self.datalayer, part)

    def labels(self, part: str, **further: str) -> dict[str, str]:
        """Labels of every object for that part."""
        return labels.of(self.datalayer, part, **further)

    def pod_labels(self, part: str, **further: str) -> dict[str, str]:
        """Labels of the pods for that part: those of every object, and what the settings add."""
        return {**self.defaults.pod_labels, **self.labels(part, **further)}

    def pod(
        self,
        containers: Sequence[Manifest],
        volumes: Sequence[Manifest],
        *,
        user: int = USER,
        grace: int,
        **further: Any,
    ) -> Manifest:
        """The ``spec`` of a restricted pod. ``grace``: seconds that it has to end."""
        found: Manifest = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(user),
            "terminationGracePeriodSeconds": grace,
            "containers": [{**each, "imagePullPolicy": self.defaults.pull_policy} for each in containers],
            "volumes": list(volumes),
            **further,
        }
        if self.defaults.pull_secrets:
            found["imagePullSecrets"] = [{"name": name} for name in self.defaults.pull_secrets]
        return found

    def claim(self, size: str | None) -> Manifest:
        """The ``spec`` of a volume claim of that size, or of the settings'."""
        found: Manifest = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size or self.defaults.storage_size}},
        }
        if self.defaults.storage_class:
            found["storageClassName"] = self.defaults.storage_class
        return found

    @property
    def owner(self) -> list[Manifest]:
        """``ownerReferences`` to the Datalayer: what has them goes when it goes."""
        return [labels.owner("Datalayer", self.datalayer, self.uid)]

    def meta(self, name: str, part: str, *, owned: bool = True, **further: str) -> Manifest:
        """``metadata`` of an object."""
        found: Manifest = {"name": name, "namespace": self.namespace, "labels": self.labels(part, **further)}
        if owned:
            found["ownerReferences"] = self.owner
        return found


@dataclass(frozen=True, slots=True)
class Connection:
    """How a store is reached."""

    uri: Value
    environment: Mapping[str, Value] = field(default_factory=dict)
    """Further variables, as AWS_ACCESS_KEY_ID."""
    environment_from: tuple[str, ...] = ()
    """Secrets of which every key is a variable."""
    embedded: bool = False
    """It lies on the server's volume: the server alone opens it, and jobs go through the server."""

    @property
    def by_secret(self) -> bool:
        """Whether a Secret of the user says how it is reached."""
        return isinstance(self.uri, SecretKey) or bool(self.environment_from)


class Provision(Protocol):
    """What the spec says of a provisioned store."""

    @property
    def engine(self) -> str: ...
    @property
    def storage(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Store:
    """A provisioned store."""

    connection: Connection
    objects: tuple[Manifest, ...] = ()
    """Applied and kept as they are."""
    secrets: tuple[Manifest, ...] = ()
    """Made once; never read, never changed."""
    claims: tuple[str, ...] = ()
    """Volume claims that hold its data."""


Build: TypeAlias = Callable[[Place, Role, Any], Store]
"""Pure: place, role and ``provision`` to the store."""


def secret(place: Place, name: str, part: str, data: Mapping[str, str], *, owned: bool) -> Manifest:
    """A generated Secret; ``stringData``, since the API server encodes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": place.meta(name, part, owned=owned),
        "type": "Opaque",
        "stringData": dict(data),
    }


def service(place: Place, name: str, part: str, component: str, port: int) -> Manifest:
    """The Service of a store, reachable inside the cluster only."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": place.meta(name, part, component=component),
        "spec": {
            "type": "ClusterIP",
            "selector": place.labels(part, component=component),
            "ports": [{"name": part, "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }


def stateful_set(place: Place, name: str, part: str, component: str, pod: Manifest, size: str | None) -> Manifest:
    """One pod with a volume ``data``, which is kept or goes with the set as the Datalayer's deletionPolicy says."""
    labelled = place.labels(part, component=component)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": place.meta(name, part, component=component),
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "selector": {"matchLabels": labelled},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain" if place.retain else "Delete",
                "whenScaled": "Retain",
            },
            "template": {"metadata": {"labels": place.pod_labels(part, component=component)}, "spec": pod},
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "data", "labels": labelled},
                    "spec": place.claim(size),
                }
            ],
        },
    }


def network_policy(place: Place, name: str, part: str, component: str, port: int) -> Manifest:
    """Only the server and the jobs of this Datalayer reach the store."""
    peers = [
        {"podSelector": {"matchLabels": {labels.DATALAYER: place.datalayer, labels.NAME: peer}}}
        for peer in ("server", "job")
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place.meta(name, part, component=component),
        "spec": {
            "podSelector": {"matchLabels": place.labels(part, component=component)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"port": port, "protocol": "TCP"}]}],
        },
    }
