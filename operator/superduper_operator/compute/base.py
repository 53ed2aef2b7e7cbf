"""The interface of both ways to run a model's job, and which way is taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

from superduper.api.v1alpha1 import Model
from superduper.api.v1alpha1.compute import Compute
from superduper_operator import labels
from superduper_operator.core import names
from superduper_operator.environment import Environment, to_env, to_env_from
from superduper_operator.pods import Trouble
from superduper_operator.podspec import Manifest, container, empty_dir
from superduper_operator.podspec import resources as over_least
from superduper_operator.stores.base import Place
from superduper_operator.stores.connections import CA_FILE, HOME, Connections

FAILED_FOR_GOOD = 42
"""Exit code of `superduper work` that no repetition mends."""
TEMPLATE = "superduper.io/template"

Phase: TypeAlias = Literal["Starting", "Running", "Retrying", "Succeeded", "Failed"]
Kind: TypeAlias = Literal["Job", "RayJob"]


class MissingCompute(Exception):
    """The cluster does not have what the spec asks for; the message says what to install, or to ask for instead."""


@dataclass(frozen=True, slots=True)
class KubeRay:
    """What the installed KubeRay can."""

    sidecar: bool = False
    """Submit a job from within the head's pod (1.5 and later)."""
    token: bool = False
    """Guard a cluster by a token (1.5 and later)."""
    deadline: bool = False
    """Give up a job that does not come to run (1.6 and later)."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job to be run for a model."""

    model: Model
    compute: Compute
    place: Place
    connections: Connections
    key: str
    """Which work: another key is other work."""
    run: int = 0
    """How many jobs for the same work came before."""
    asked: bool = False
    """Whether somebody asked for its missing outputs, which by its trigger nobody computes."""
    through_server: bool = False
    """Whether the server alone opens its stores, whatever the spec says."""
    kuberay: KubeRay = field(default_factory=KubeRay)


@dataclass(frozen=True, slots=True)
class Observation:
    """How far a job is."""

    phase: Phase
    trouble: Trouble | None = None
    final: bool = False
    """It failed in a way that no repetition mends."""
    ended: datetime | None = None
    refused: bool = False
    """The namespace does not admit a container that KubeRay adds by itself."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.phase in ("Succeeded", "Failed")


class JobKind(Protocol):
    """One way to run a job."""

    def desired(self, order: Order) -> Manifest:
        """The object, pure."""

    def observe(self, live: Manifest, pods: Sequence[Manifest], now: datetime) -> Observation:
        """What its status and its pods say, pure."""


def effective(model: Compute | None, datalayer: Compute) -> Compute:
    """The model's compute where it says one; what it leaves at `auto`, or out, is as the Datalayer says."""
    if model is None:
        return datalayer
    if model.engine != "auto":
        return model
    given = {
        name: getattr(model, name) for name in ("workers", "resources", "image") if getattr(model, name) is not None
    }
    return datalayer.model_copy(update=given) if given else datalayer


def choose(compute: Compute, *, kuberay: bool) -> Kind:
    """RayJob or Job. Raises MissingCompute.

    A cluster that is there already, of Ray or dask, is reached from a Job.
    """
    if compute.address is not None or compute.engine in ("job", "dask", "local"):
        return "Job"
    if kuberay:
        return "RayJob"
    if compute.engine == "ray":
        raise MissingCompute(
            "compute.engine is ray, and KubeRay is not installed in this cluster: install it, or set compute.engine "
            "to job (or auto, which takes whichever is there)"
        )
    if compute.workers:
        raise MissingCompute(
            f"compute.workers is {compute.workers}, and KubeRay, which starts them, is not installed in this cluster: "
            "install it, or leave workers out"
        )
    return "Job"


def job_setting(compute: Compute, kind: Kind) -> str:
    """The setting SUPERDUPER_COMPUTE of a job."""
    if kind == "RayJob":
        return "ray"
    if compute.engine in ("job", "local"):
        return "local"
    # One pod with Ray inside: the same actors, on the pod's own processors.
    return compute.uri or "ray"


def environment(order: Order, kind: Kind) -> Environment:
    """All variables of a job's container."""
    found = order.connections.job_environment(through_server=order.through_server)
    return found | {"SUPERDUPER_COMPUTE": job_setting(order.compute, kind), "RAY_USAGE_STATS_ENABLED": "0"}


def worker(order: Order, kind: Kind, name: str, **further: Any) -> Manifest:
    """The container that works, or in which Ray's processes do."""
    given = order.compute.resources
    mounts = {"home": HOME, "tmp": "/tmp"}  # noqa: S108
    found = container(
        name,
        order.compute.image or order.place.defaults.runtime_ray,
        env=to_env(environment(order, kind)),
        env_from=to_env_from(order.connections.environment_from),
        mounts=mounts,
        resources=over_least(None if given is None else given.model_dump(), order.place.defaults.job_resources),
        **further,
    )
    if _trusts(order) is not None:
        found["volumeMounts"].append({"name": "ca", "mountPath": CA_FILE.rpartition("/")[0], "readOnly": True})
    return found


def _trusts(order: Order) -> str | None:
    """The Secret with the authority that the server's certificate is from, where the job asks the server."""
    tls = order.connections.datalayer.spec.server.tls
    asked = "SUPERDUPER_CA_FILE" in order.connections.job_environment(through_server=order.through_server)
    return tls.secret_ref.name if tls is not None and asked else None


def pod(order: Order, containers: Sequence[Manifest], **further: Any) -> Manifest:
    """The ``spec`` of a pod of the job."""
    volumes = [empty_dir("home", "8Gi"), empty_dir("tmp", "16Gi")]
    trusted = _trusts(order)
    if trusted is not None:
        # The key of the server is no business of a job.
        volumes.append(
            {"name": "ca", "secret": {"secretName": trusted, "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
        )
    return order.place.pod(containers, volumes, grace=30, **further)


def meta(order: Order, name: str, template: Manifest) -> Manifest:
    """``metadata`` of the job: what it is for, and what it was made from."""
    model = order.model
    return {
        "name": name,
        "namespace": order.place.namespace,
        "labels": {
            **order.place.labels("job", model=model.metadata.name, job=name),
            labels.WORK: order.key,
            labels.RUN: str(order.run),
        },
        "annotations": {TEMPLATE: digest(template)},
        "ownerReferences": [labels.owner("Model", model.metadata.name, model.metadata.uid or "")],
    }


def pod_labels(order: Order, name: str) -> dict[str, str]:
    """Labels of its pods."""
    return order.place.pod_labels("job", model=order.model.metadata.name, job=name)


def name(order: Order, template: Manifest) -> str:
    """The same for the same work, run and template; so that a job is not started twice."""
    return names.job(order.model.metadata.name, f"{order.key}/{order.run}/{digest(template)}")


def digest(value: Any) -> str:
    """A short print of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
