"""A model's work in one pod: a Job of Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from superduper.api.v1alpha1 import Reason
from superduper_operator import pods as pods_
from superduper_operator.compute import base
from superduper_operator.compute.base import FAILED_FOR_GOOD, Observation, Order
from superduper_operator.pods import Trouble
from superduper_operator.podspec import Manifest

CONTAINER = "job"
RETRIES = 3


def desired(order: Order) -> Manifest:
    """The Job. A pod that is killed or evicted is repeated; one that failed for good is not."""
    command = ["superduper", "work", order.model.identifier, *(["--asked"] if order.asked else [])]
    containers = [base.worker(order, "Job", CONTAINER, command=command)]
    # The first process of a namespace ignores signals from within, SIGKILL among them: a model that kills its process
    # would go on without it. With the pause container as the first one it is killed, and seen to be.
    template = base.pod(order, containers, restartPolicy="Never", shareProcessNamespace=True)
    name = base.name(order, template)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": base.meta(order, name, template),
        "spec": {
            "backoffLimit": RETRIES,
            "completions": 1,
            "parallelism": 1,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob",
                     "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [FAILED_FOR_GOOD]}},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            # One pod ends before the next begins: two would compute the same rows.
            "podReplacementPolicy": "Failed",
            "template": {"metadata": {"labels": base.pod_labels(order, name)}, "spec": template},
        },
    }  # fmt: skip


def observe(live: Manifest, pods: Sequence[Manifest], now: datetime) -> Observation:
    """Its conditions decide; until then, its newest pod says what is wrong."""
    status = live.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions") or () if each["status"] == "True"}
    done = conditions.get("Complete") or conditions.get("SuccessCriteriaMet")
    if done is not None:
        return Observation("Succeeded", ended=pods_.moment(done.get("lastTransitionTime")))
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    newest = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
    if failed is not None:
        ended = pods_.moment(failed.get("lastTransitionTime"))
        return Observation("Failed", _why(failed, newest), final=True, ended=ended)
    found = pods_.trouble(newest[-1:], now)
    if status.get("failed") or any(pod.get("status", {}).get("phase") == "Failed" for pod in newest):
        return Observation("Retrying", found or _last(newest))
    if newest and pods_.running(newest[-1]):
        return Observation("Running", found)
    return Observation("Starting", found)


def _why(condition: Manifest, pods: Sequence[Manifest]) -> Trouble:
    """What the last pod said; else what Kubernetes says of the Job."""
    found = _last(pods)
    if found is None:
        return Trouble(Reason.JOB_FAILED, f"{condition.get('reason', '')}: {condition.get('message', '')}")
    if found.reason is Reason.CRASHING:
        return Trouble(Reason.JOB_FAILED, found.message)
    return found


def _last(pods: Sequence[Manifest]) -> Trouble | None:
    for pod in reversed(pods):
        said = pods_.told(pods_.last_words(pod, CONTAINER).get("message"))
        found = said or pods_.trouble([pod])
        if found is not None:
            return found
    return None
