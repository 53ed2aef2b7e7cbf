"""The kinds of objects that the operator works with: where the API server has them, and which of them it watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from superduper.api.v1alpha1 import API_VERSION

MANAGER: Final = "superduper-operator"
"""Field manager of all that we write, and value of the label on all that we made."""
MANAGED: Final = f"app.kubernetes.io/managed-by={MANAGER}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind. ``selector``: label selector of its watch; ``ours``: users write it and we reconcile it."""

    kind: str
    api_version: str
    plural: str
    selector: str = ""
    watched: bool = True
    ours: bool = False

    @property
    def collection(self) -> str:
        """The path of all of them, in all namespaces."""
        return f"{self._root}/{self.plural}"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The path of those of a namespace, of one, or of a part of one."""
        parts = [self._root, "namespaces", namespace, self.plural, *(part for part in (name, subresource) if part)]
        return "/".join(parts)

    @property
    def _root(self) -> str:
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"

    @property
    def right(self) -> str:
        """The resource as RBAC names it, as ``deployments.apps``."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural


def _made(kind: str, api_version: str, plural: str) -> Resource:
    return Resource(kind, api_version, plural, selector=MANAGED)


RESOURCES: Final = {
    resource.kind: resource
    for resource in (
        Resource("Datalayer", API_VERSION, "datalayers", ours=True),
        Resource("DataType", API_VERSION, "datatypes", ours=True),
        Resource("Table", API_VERSION, "tables", ours=True),
        Resource("Model", API_VERSION, "models", ours=True),
        _made("Deployment", "apps/v1", "deployments"),
        _made("StatefulSet", "apps/v1", "statefulsets"),
        _made("Service", "v1", "services"),
        _made("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
        _made("Pod", "v1", "pods"),
        _made("Job", "batch/v1", "jobs"),
        _made("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        _made("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        _made("RayJob", "ray.io/v1", "rayjobs"),
        Resource("Secret", "v1", "secrets", watched=False),
        Resource("ConfigMap", "v1", "configmaps", watched=False),
        Resource("Event", "v1", "events", watched=False),
        Resource("Lease", "coordination.k8s.io/v1", "leases", watched=False),
    )
}
OPTIONAL: Final = frozenset({"RayJob"})
"""Kinds that a cluster may lack: nobody waits for them."""
