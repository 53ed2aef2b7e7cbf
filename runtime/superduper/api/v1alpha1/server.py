"""The server of a datalayer in a cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, StringConstraints

from superduper.api.v1alpha1.common import FreeMap, SecretRef, ShortText, Spec
from superduper.api.v1alpha1.compute import Resources

Annotations = Annotated[
    dict[ShortText, Annotated[str, StringConstraints(max_length=4096)]],
    Field(max_length=32),
]


class ServerService(Spec):
    """The Service in front of the server."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Who reaches it: the cluster (`ClusterIP`), or also the outside."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service, as load balancers ask for them."""


class Tls(Spec):
    """How the server proves who it is."""

    secret_ref: SecretRef
    """A Secret of type kubernetes.io/tls, with the keys tls.crt and tls.key, and ca.crt where an authority of your
    own has signed."""


class Server(Spec):
    """The server of the datalayer: one HTTP door for notebooks, pods and the command line."""

    replicas: Annotated[StrictInt, Field(ge=1, le=16)] = 1
    """Number of pods; more than one only where several may write: not with SQLite, DuckDB and the file system."""
    resources: Resources | None = None
    """Resources of each pod."""
    service: ServerService = ServerService()
    """The Service in front of it."""
    tls: Tls | None = None
    """Certificate of the server; left out: plain HTTP."""
    pod_template: FreeMap | None = None
    """Fields of a pod template, as `{spec: {nodeSelector: {disk: fast}}}`, merged over the server's own."""
