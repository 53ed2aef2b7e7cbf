"""The operator's settings: environment variables ``SUPERDUPER_OPERATOR_…``, set by the chart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from superduper_operator.core.manifest import Manifest

OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
Seconds = Annotated[float, Field(gt=0)]
Names = Annotated[tuple[str, ...], NoDecode]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


def own_namespace() -> str:
    """Where the operator itself runs: its pod's namespace, ``default`` outside a cluster."""
    return OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else "default"


class Settings(BaseSettings):
    """Lists are written with commas (``a,b``), maps as JSON, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="SUPERDUPER_OPERATOR_", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    namespaces: Names = ()
    """Namespaces to serve; none means all of the cluster."""
    namespace: str = Field(default_factory=own_namespace)
    """The operator's own namespace: its Lease and its master key are there."""
    pod_name: str = Field(default_factory=lambda: os.environ.get("HOSTNAME", "operator"))
    """Name of this replica, for its Lease and its events."""

    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """How many objects are reconciled at once."""
    resync: Seconds = 600
    """Every object is reconciled at least this often."""
    reconcile_deadline: Seconds = 60
    """A reconcile that takes longer is ended and tried again."""
    request_timeout: Seconds = 30
    """Longest wait for one answer of the API server."""
    runtime_timeout: Seconds = 10
    """Longest wait for one answer of a datalayer server."""
    poll: Seconds = 10
    """How often a Datalayer with components asks its server how far they are."""

    lease_enabled: bool = True
    """Whether replicas elect one that works. Off for a single process without rights on Leases."""
    lease_name: str = "superduper-operator"
    """Name of the Lease."""
    lease_duration: Seconds = 15
    """A Lease that was not renewed for so long may be taken."""
    lease_renew_deadline: Seconds = 10
    """A leader that could not renew for so long exits."""
    lease_retry: Seconds = 2
    """How often it is renewed, or tried to be taken."""
    key_secret: str = "superduper-operator-key"  # noqa: S105 - its name
    """Secret with the master key that passwords and tokens are derived from."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of /healthz, /readyz and /metrics; 0 takes a free one."""
    log_format: Literal["json", "text"] = "json"
    """Form of the log."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """What is logged."""

    server_url: str = ""
    """Where datalayer servers are asked, as http://host:8001/{namespace}/{name}; empty: their pods, directly."""
    runtime_image: str = "ghcr.io/superduper-on-kubernetes/runtime:0.1.0"
    """Image of datalayer servers, and of jobs without Ray."""
    runtime_ray_image: str = "ghcr.io/superduper-on-kubernetes/runtime-ray:0.1.0"
    """Image of jobs, with Ray."""
    ray_version: str = "2.60.0"
    """Version of Ray in that image, for RayJobs; empty leaves it out, and with it Ray's token, which needs 2.52 or later."""
    postgres_image: str = "docker.io/library/postgres:17"
    """Image of provisioned PostgreSQL."""
    s3_image: str = "docker.io/versity/versitygw:v1.8.0"
    """Image of provisioned S3 stores."""
    image_pull_policy: PullPolicy = "IfNotPresent"
    """Pull policy of all pods that the operator makes."""
    image_pull_secrets: Names = ()
    """Names of pull secrets, in the namespaces of the Datalayers."""
    storage_class: str = ""
    """Storage class of volumes; empty: the cluster's default."""
    storage_size: str = "10Gi"
    """Size of a volume where the Datalayer names none."""
    server_resources: Manifest = Field(
        default={"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
    )
    """Resources of a datalayer server whose spec names none."""
    store_resources: Manifest = Field(
        default={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    )
    """Resources of a provisioned store whose spec names none."""
    job_resources: Manifest = Field(default={"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}})
    """Resources of a job whose spec names none."""
    pod_labels: dict[str, str] = Field(default={})
    """Labels put on every pod that the operator makes."""
    network_policies: bool = True
    """Whether servers, stores and jobs get NetworkPolicies."""

    @field_validator("namespaces", "image_pull_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def clusterwide(self) -> bool:
        """Whether all namespaces are served."""
        return not self.namespaces
