"""What every pod of ours has in common, so that a namespace that enforces ``restricted`` admits it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]

USER = 65532
POSTGRES_USER = 999
PLAIN, INSIDE = 8000, 8001
"""Ports of the datalayer server: the public door, and the one for probes, the operator and metrics."""

CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def pod_security(user: int = USER) -> Manifest:
    """A pod's ``securityContext``. The volume belongs to the user; large ones are not walked at each start."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container(
    name: str,
    image: str,
    *,
    env: Sequence[Manifest] = (),
    env_from: Sequence[Manifest] = (),
    mounts: Mapping[str, str] | None = None,
    resources: Manifest | None = None,
    **further: Any,
) -> Manifest:
    """A restricted container; its pod says how images are pulled. ``mounts`` is mount path by volume."""
    found: Manifest = {
        "name": name,
        "image": image,
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in (mounts or {}).items()],
        "resources": resources or {},
        # The last lines of the log stand in for a message that the process did not get to write.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **further,
    }
    if env:
        found["env"] = list(env)
    if env_from:
        found["envFrom"] = list(env_from)
    return found


def empty_dir(name: str, size: str, *, memory: bool = False) -> Manifest:
    """A writable folder that goes with the pod, never larger than ``size``."""
    return {"name": name, "emptyDir": {"sizeLimit": size, **({"medium": "Memory"} if memory else {})}}


def resources(given: Mapping[str, Mapping[str, Any]] | None, default: Manifest) -> Manifest:
    """``given`` resources; ``default`` where the spec names none."""
    asked = {
        kind: {key: str(value) for key, value in values.items()} for kind, values in (given or {}).items() if values
    }
    return asked or default


def http_probe(path: str, port: int | str, **timing: int) -> Manifest:
    """A probe by HTTP."""
    return {"httpGet": {"path": path, "port": port}, **timing}
