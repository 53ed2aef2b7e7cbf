"""A model's work on a Ray cluster that KubeRay starts for it: a RayJob."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from superduper.api.v1alpha1 import Reason
from superduper_operator import pods as pods_
from superduper_operator.compute import base
from superduper_operator.compute.base import FAILED_FOR_GOOD, KubeRay, Observation, Order
from superduper_operator.pods import Trouble
from superduper_operator.podspec import Manifest, container, empty_dir, http_probe

HEAD, WORKER, SUBMITTER = "ray-head", "ray-worker", "ray-job-submitter"
KEPT_SECONDS = 30
"""How long the cluster of a finished job stays, for its logs."""
START_SECONDS = 900
"""A job that has not come to run by then is ended, and a next one is made after a pause."""
_REFUSED = "violates PodSecurity"


NEWEST = KubeRay(sidecar=True, token=True, deadline=True)
"""What is assumed until an answer shows otherwise."""


def without(refusal: str, can: KubeRay) -> KubeRay | None:
    """What the installed KubeRay can after all, by the API server's refusal of a field; None where it is about another.

    A server-side apply of a field that the CRD does not have fails with its name. ``authOptions`` came with 1.5, as
    SidecarMode did, which is a plain string in every version of the CRD; ``preRunningDeadlineSeconds`` came with 1.6.
    """
    if "not declared in schema" not in refusal:
        return None
    found = can
    if "authOptions" in refusal:
        found = replace(found, sidecar=False, token=False)
    if "preRunningDeadlineSeconds" in refusal:
        found = replace(found, deadline=False)
    return found if found != can else None


def desired(order: Order) -> Manifest:
    """The RayJob. It is not repeated by KubeRay, which would repeat what failed for good too."""
    spec = _spec(order)
    name = base.name(order, spec)
    for template in _templates(spec):
        template["metadata"] = {"labels": base.pod_labels(order, name)}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": base.meta(order, name, _spec(order)), "spec": spec}


def _templates(spec: Manifest) -> list[Manifest]:
    cluster = spec["rayClusterSpec"]
    found = [cluster["headGroupSpec"]["template"], *(each["template"] for each in cluster.get("workerGroupSpecs", ()))]
    return [*found, *([spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else [])]


def _has_token(version: str) -> bool:
    """Whether that version of Ray knows tokens; KubeRay refuses them for an older one, and where it is told none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= (2, 52)


def _spec(order: Order) -> Manifest:
    cluster: Manifest = {
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - inside the pod's own network
            "template": {"spec": _pod(order, HEAD, _HEAD)},
        }
    }
    version = order.place.defaults.ray_version
    if version:
        cluster["rayVersion"] = version
    if order.kuberay.token and _has_token(version):
        cluster["authOptions"] = {"mode": "token"}
    if order.compute.workers:
        cluster["workerGroupSpecs"] = [_group(order, order.compute.workers)]
    spec: Manifest = {
        "entrypoint": f"superduper work {order.model.identifier}{' --asked' if order.asked else ''}",
        "submissionMode": "SidecarMode" if order.kuberay.sidecar else "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "backoffLimit": 0,
        "rayClusterSpec": cluster,
    }
    if order.kuberay.deadline:
        spec["preRunningDeadlineSeconds"] = START_SECONDS
    if not order.kuberay.sidecar:
        spec["submitterPodTemplate"] = {"spec": _submitter(order)}
        # A second submitter would find the job submitted, and follow it.
        spec["submitterConfig"] = {"backoffLimit": 2}
    return spec


def _group(order: Order, workers: int) -> Manifest:
    return {
        "groupName": "workers",
        "replicas": workers,
        "minReplicas": workers,
        "maxReplicas": workers,
        "rayStartParams": {},
        "template": {"spec": _pod(order, WORKER, _WORKER)},
    }


# KubeRay's own probes restart a head that is short of processors while it starts; these are patient.
_DASHBOARD = http_probe("/api/gcs_healthz", 8265, timeoutSeconds=10)
_RAYLET: Manifest = {
    "exec": {
        "command": ["bash", "-c", "wget -q -T 10 -O- http://localhost:52365/api/local_raylet_healthz | grep -q success"]
    },
    "timeoutSeconds": 15,
}
_GCS: Manifest = {"tcpSocket": {"port": 6379}, "timeoutSeconds": 10}
_HEAD: Manifest = {
    "startupProbe": {**_DASHBOARD, "periodSeconds": 2, "failureThreshold": 300},
    "readinessProbe": {**_DASHBOARD, "periodSeconds": 5, "failureThreshold": 12},
    "livenessProbe": {**_GCS, "periodSeconds": 10, "failureThreshold": 12},
    "ports": [
        {"name": "gcs-server", "containerPort": 6379, "protocol": "TCP"},
        {"name": "dashboard", "containerPort": 8265, "protocol": "TCP"},
        {"name": "client", "containerPort": 10001, "protocol": "TCP"},
    ],
}
_WORKER: Manifest = {
    "startupProbe": {**_RAYLET, "periodSeconds": 2, "failureThreshold": 300},
    "readinessProbe": {**_RAYLET, "periodSeconds": 10, "failureThreshold": 12},
    "livenessProbe": {**_RAYLET, "periodSeconds": 15, "failureThreshold": 12},
}


def _pod(order: Order, name: str, further: Manifest) -> Manifest:
    found = base.pod(order, [base.worker(order, "RayJob", name, **further)])
    if name == HEAD:
        found["restartPolicy"] = "Never"
    return found


def _submitter(order: Order) -> Manifest:
    image = order.compute.image or order.place.defaults.runtime_ray
    requests = {"requests": {"cpu": "50m", "memory": "200Mi"}}
    env = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108
    found = container(SUBMITTER, image, env=env, mounts={"tmp": "/tmp"}, resources=requests)  # noqa: S108
    return order.place.pod([found], [empty_dir("tmp", "1Gi")], grace=30, restartPolicy="Never")


def observe(live: Manifest, pods: Sequence[Manifest], now: datetime) -> Observation:
    """``jobStatus: SUCCEEDED`` alone is success: a stopped job ends as Complete too."""
    status = live.get("status", {})
    job, deployment = status.get("jobStatus"), status.get("jobDeploymentStatus")
    ended = pods_.moment(status.get("endTime"))
    if job == "SUCCEEDED":
        return Observation("Succeeded", ended=ended)
    if deployment == "ValidationFailed":
        return Observation("Failed", Trouble(Reason.JOB_FAILED, _message(status)), final=True, ended=ended)
    if job in ("FAILED", "STOPPED") or deployment in ("Failed", "Complete"):
        found = pods_.told(status.get("message")) or _died(pods, now) or _never_ran(status)
        found = found or Trouble(Reason.JOB_FAILED, _message(status))
        return Observation("Failed", found, final=_for_good(status), ended=ended)
    refused = _refusal(status)
    if refused is not None:
        return Observation("Starting", Trouble(Reason.UNSCHEDULABLE, refused), refused=_REFUSED in refused)
    found_ = pods_.trouble(pods, now)
    return Observation("Running" if job == "RUNNING" else "Starting", found_)


def _for_good(status: Manifest) -> bool:
    return re.search(rf"exit code {FAILED_FOR_GOOD}\b", status.get("message") or "") is not None


def _message(status: Manifest) -> str:
    lines = [line.strip() for line in (status.get("message") or "").splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    return ": ".join(filter(None, (status.get("reason"), text))) or "the RayJob failed and does not say why"


def _died(pods: Sequence[Manifest], now: datetime) -> Trouble | None:
    found = pods_.trouble(pods, now)
    return found if found is not None and found.reason is Reason.OUT_OF_MEMORY else None


def _never_ran(status: Manifest) -> Trouble | None:
    """KubeRay gave it up before it ran. Its pods go soon after, so by them nobody tells why for long."""
    if status.get("reason") != "PreRunningDeadlineExceeded":
        return None
    message = f"its pods did not come to run within {START_SECONDS} s, as a rule because no node has room for them"
    return Trouble(Reason.UNSCHEDULABLE, f"{message}; ask for less in resources, or add a node: it is tried again")


def _refusal(status: Manifest) -> str | None:
    """Why KubeRay cannot make a pod at all."""
    conditions = (status.get("rayClusterStatus") or {}).get("conditions") or ()
    for each in conditions:
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            return f"KubeRay cannot make a pod: {each.get('message', '')}"
    return None
