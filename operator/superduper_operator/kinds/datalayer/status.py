"""What is told of a Datalayer, from what was observed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any

from superduper.api.v1alpha1 import Datalayer, Reason
from superduper.api.v1alpha1.compute import Compute
from superduper.uris import without_password
from superduper_operator import labels, pods
from superduper_operator.compute.base import MissingCompute, choose
from superduper_operator.kinds.manifests import State
from superduper_operator.pods import Trouble
from superduper_operator.podspec import Manifest
from superduper_operator.runtime_client import Info, Refused, ServerDown
from superduper_operator.stores.connections import Connections

YOUNG_SECONDS = 10
"""A server that was started so recently is still connecting, whatever it says."""
CREDENTIALS_SECONDS = 60
"""A server that is refused starts anew this long after its pod was made: a Secret may have been mended meanwhile."""
PASSING = (Reason.UNSCHEDULABLE, Reason.PROVISIONING)


@dataclass(frozen=True, slots=True)
class Children:
    """What is there of a Datalayer."""

    deployment: Manifest | None
    stores: Sequence[Manifest]
    """StatefulSets of provisioned stores."""
    pods: Sequence[Manifest]
    """Pods of the server and of the stores; none of jobs."""

    @property
    def server_pods(self) -> list[Manifest]:
        """Pods of the server."""
        return [pod for pod in self.pods if pod["metadata"]["labels"].get(labels.NAME) == "server"]

    @property
    def store_pods(self) -> list[Manifest]:
        """Pods of the stores."""
        return [pod for pod in self.pods if pod["metadata"]["labels"].get(labels.NAME) != "server"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state, and why."""

    state: State
    reason: Reason
    message: str


def trouble(children: Children, now: datetime) -> Verdict | None:
    """What keeps pods from running, worst first: stores, since the server waits for them; None where they come up."""
    found = pods.trouble(children.store_pods, now) or pods.trouble(_current(children), now) or _refused(children)
    if found is None:
        return None
    return Verdict("Stalled", found.reason, found.message)


def _current(children: Children) -> list[Manifest]:
    """Server pods of the newest template; while a rollout goes on, the trouble of older ones is being mended."""
    hashes = {pod["metadata"]["labels"].get("pod-template-hash") for pod in children.server_pods}
    if len(hashes) < 2:
        return children.server_pods
    newest = max(children.server_pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
    current = newest["metadata"]["labels"].get("pod-template-hash")
    return [pod for pod in children.server_pods if pod["metadata"]["labels"].get("pod-template-hash") == current]


def _refused(children: Children) -> Trouble | None:
    """A pod that is not even admitted shows on the Deployment only: quota, admission, a bad podTemplate."""
    status = (children.deployment or {}).get("status") or {}
    for each in status.get("conditions") or ():
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            return Trouble(Reason.UNSCHEDULABLE, f"no pod of the server is admitted: {each.get('message', '')}")
    return None


def waiting(children: Children) -> Verdict | None:
    """What is still being started; None where a server pod runs and can be asked."""
    if any(pods.running(pod) for pod in children.server_pods):
        return None
    names = [each["metadata"]["name"] for each in children.stores if not _available(each)]
    started = f"{', '.join(sorted(names))} and the server are" if names else "the server is"
    return Verdict("Reconciling", Reason.PROVISIONING, f"{started} being started")


def _available(stateful: Manifest) -> bool:
    return bool((stateful.get("status") or {}).get("readyReplicas"))


def asked(datalayer: Datalayer, answer: Info | Refused | ServerDown, children: Children, now: datetime) -> Verdict:
    """What the server's own answer comes to."""
    if isinstance(answer, Info):
        if datalayer.spec.suspend:
            return Verdict("Ready", Reason.SUSPENDED, "spec.suspend is true: no model is run")
        return Verdict("Ready", Reason.AVAILABLE, "the server is connected to its stores")
    if any(not _available(each) for each in children.stores) or _seconds(children, now) < YOUNG_SECONDS:
        return Verdict("Reconciling", Reason.PROVISIONING, f"the server is connecting to its stores: {_words(answer)}")
    if isinstance(answer, ServerDown):
        return Verdict("Reconciling", Reason.SERVER_UNAVAILABLE, str(answer))
    reason = Reason.UNREACHABLE if answer.code == "NotFound" else answer.reason
    return Verdict("Stalled", reason, answer.message)


def _words(answer: Refused | ServerDown) -> str:
    return answer.message if isinstance(answer, Refused) else str(answer)


def _seconds(children: Children, now: datetime) -> float:
    """Age of the newest server pod; without end where none is known, as for a server elsewhere."""
    found = [made for pod in children.server_pods if (made := pods.started(pod)) is not None]
    return (now - max(found)).total_seconds() if found else inf


def starts_anew(
    connections: Connections, answer: Info | Refused | ServerDown, children: Children, now: datetime
) -> bool:
    """Whether the server's pods are to be made anew, to see a user's Secret as it is now.

    The operator does not read Secrets, and a container sees one as it was when it started.
    """
    refused = isinstance(answer, Refused) and answer.code in ("AccessDenied", "Unreachable", "NotFound", "UriError")
    return refused and connections.by_secret and _seconds(children, now) >= CREDENTIALS_SECONDS


def _compute(compute: Compute, *, kuberay: bool) -> str:
    """Where models run: `rayjob`, `job`, or the URI of what is there already."""
    if compute.engine in ("local", "dask") or compute.address is not None:
        return compute.uri or "local"
    try:
        return choose(compute, kuberay=kuberay).lower()
    except MissingCompute:
        return "rayjob"


def fields(connections: Connections, info: Info | None, previous: Manifest, *, kuberay: bool) -> dict[str, Any]:
    """What the status says beside conditions. What only the server knows is kept while it does not answer."""
    spec = connections.datalayer.spec
    found: dict[str, Any] = {
        "endpoint": connections.server,
        "tokenSecret": connections.token.secret,
        "compute": _compute(spec.compute, kuberay=kuberay),
    }
    for name in ("databackend", "metadata", "artifactStore", "serverVersion"):
        if previous.get(name):
            found[name] = previous[name]
    if info is not None:
        stores = {"databackend": info.databackend, "metadata": info.metadata, "artifactStore": info.artifact_store}
        found |= {name: without_password(uri)[:2048] for name, uri in stores.items() if uri}
        found["serverVersion"] = info.version[:63] or None
    return found
