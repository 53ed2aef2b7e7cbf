"""What is wrong with a pod, as one of our reasons and a sentence that says what to do. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from superduper.api.v1alpha1 import Reason
from superduper_operator.podspec import Manifest

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CREATE = ("CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun", "PreCreateHookError")
_SLOW_SECONDS = 20
"""After that long, a container that is still being created waits for something."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not do what it should."""

    reason: Reason
    message: str


def trouble(pods: Iterable[Manifest], now: datetime | None = None) -> Trouble | None:
    """The worst trouble of the pods; None where there is none. Pods that are being deleted do not count."""
    found = [each for pod in _newest_first(pods) for each in _of_pod(pod, now or datetime.now(UTC))]
    return found[0] if found else None


def ready(pod: Manifest) -> bool:
    """Whether the pod is ready, and stays."""
    return not _leaving(pod) and _condition(pod, "Ready").get("status") == "True"


def running(pod: Manifest) -> bool:
    """Whether its containers run."""
    return pod.get("status", {}).get("phase") == "Running" and not _leaving(pod)


def started(pod: Manifest) -> datetime | None:
    """When the pod was made."""
    return moment(pod.get("metadata", {}).get("creationTimestamp"))


def moment(text: str | None) -> datetime | None:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text) if text else None


def last_words(pod: Manifest, container: str | None = None) -> Mapping[str, Any]:
    """The ``terminated`` state in which a container of the pod ended last; empty where none has."""
    for status in _statuses(pod):
        if container is not None and status["name"] != container:
            continue
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            if "terminated" in state:
                found: Mapping[str, Any] = state["terminated"]
                return found
    return {}


def told(text: str | None) -> Trouble | None:
    """What `superduper work` says last: ``{"reason": …, "message": …}`` in the termination message, and in a log
    ``error: Reason: message``.
    """
    for line in reversed((text or "").splitlines()):
        printed = re.search(r"error: (\w+): (.+)", line)
        if printed is not None and printed[1] in set(Reason):
            return Trouble(Reason(printed[1]), printed[2])
        start = line.find('{"')
        try:
            said = json.loads(line[start:]) if start >= 0 else None
        except ValueError:
            continue
        if isinstance(said, dict) and isinstance(said.get("message"), str):
            known = said.get("reason") in set(Reason)
            return Trouble(Reason(said["reason"]) if known else Reason.JOB_FAILED, said["message"])
    return None


def _newest_first(pods: Iterable[Manifest]) -> list[Manifest]:
    staying = [pod for pod in pods if not _leaving(pod)]
    return sorted(staying, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)


def _leaving(pod: Manifest) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _statuses(pod: Manifest) -> list[Manifest]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _condition(pod: Manifest, kind: str) -> Manifest:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})


def _of_pod(pod: Manifest, now: datetime) -> Iterator[Trouble]:
    name = pod["metadata"]["name"]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") in ("Unschedulable", "SchedulerError"):
        remedy = "ask for less in resources, add a node, or mend nodeSelector and tolerations"
        yield Trouble(Reason.UNSCHEDULABLE, f"pod {name}: {scheduled.get('message', '')}; {remedy}")
        return
    if pod.get("status", {}).get("reason") == "Evicted":
        yield Trouble(Reason.CRASHING, f"pod {name} was evicted: {pod['status'].get('message', '')}")
        return
    for status in _statuses(pod):
        found = _of_container(pod, status)
        if found is not None:
            yield found
            return
    yield from _slow(pod, now)


def _of_container(pod: Manifest, status: Manifest) -> Trouble | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    where = f"pod {pod['metadata']['name']}"
    if reason in _PULL:
        image = status.get("image") or _image(pod, status["name"])
        remedy = "correct the image, or give the pod access to its registry (imagePullSecrets)"
        # The kubelet alternates between two texts; ours stays the same.
        return Trouble(Reason.IMAGE_PULL_FAILED, f"{where}: image {image} cannot be pulled; {remedy}")
    if reason == "CreateContainerConfigError":
        return _configuration(pod, status, where, message)
    ended = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    if ended.get("reason") == "OOMKilled" and not status.get("ready"):
        remedy = "raise resources.limits.memory"
        return Trouble(
            Reason.OUT_OF_MEMORY, f"{where}: container {status['name']} used more memory than its limit; {remedy}"
        )
    if reason in _CREATE:
        return Trouble(Reason.CRASHING, f"{where}: container {status['name']} does not start: {message}")
    if reason == "CrashLoopBackOff" or _failed(status):
        said = told(ended.get("message"))
        if said is not None:
            # It knows better than its exit code.
            return Trouble(said.reason, f"{where}: {said.message}")
        return Trouble(Reason.CRASHING, f"{where}: container {status['name']} ended with {_how(ended)}")
    return None


def _failed(status: Manifest) -> bool:
    ended = (status.get("state") or {}).get("terminated") or {}
    return bool(ended) and ended.get("exitCode", 0) != 0


def _how(ended: Mapping[str, Any]) -> str:
    code = ended.get("exitCode", 0)
    how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    words = _tail(ended.get("message"))
    return f"{how}: {words}" if words else how


def _tail(text: str | None) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:1000] if lines else ""


def _image(pod: Manifest, container: str) -> str:
    spec = pod.get("spec", {})
    everyone = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return next((str(each["image"]) for each in everyone if each["name"] == container), "of the container")


def _configuration(pod: Manifest, status: Manifest, where: str, message: str) -> Trouble:
    missing = re.search(r'secret "([^"]+)" not found', message)
    key = re.search(r"couldn't find key (\S+) in Secret \S*?/?([^/\s]+)$", message)
    if missing is not None:
        keys = sorted(_keys(pod, status["name"], missing[1]))
        which = f", key {', '.join(keys)}" if keys else ""
        return Trouble(
            Reason.SECRET_MISSING, f"there is no Secret {missing[1]}{which}; create it, and the pod goes on by itself"
        )
    if key is not None:
        text = f"Secret {key[2]} has no key {key[1]}; add it, and the pod goes on by itself"
        return Trouble(Reason.SECRET_MISSING, text)
    return Trouble(Reason.SECRET_MISSING, f"{where}: {message}")


def _keys(pod: Manifest, container: str, secret: str) -> Iterator[str]:
    for each in pod.get("spec", {}).get("containers") or ():
        for variable in each.get("env") or () if each["name"] == container else ():
            ref = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
            if ref.get("name") == secret:
                yield ref["key"]


def _slow(pod: Manifest, now: datetime) -> Iterator[Trouble]:
    """A volume that cannot be mounted shows in no status: after a while, what the pod waits for is named."""
    creating = any(
        ((each.get("state") or {}).get("waiting") or {}).get("reason") in ("ContainerCreating", "PodInitializing")
        for each in _statuses(pod)
    )
    since = started(pod)
    if not creating or since is None or (now - since).total_seconds() < _SLOW_SECONDS:
        return
    volumes = pod.get("spec", {}).get("volumes") or ()
    secrets = [v["secret"]["secretName"] for v in volumes if "secret" in v]
    if secrets:
        named = ", ".join(sorted(secrets))
        yield Trouble(
            Reason.SECRET_MISSING,
            f"pod {pod['metadata']['name']} waits to mount the Secret {named}: see that it is there, with all its keys",
        )
