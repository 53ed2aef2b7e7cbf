"""What is told of a Model, from the server's answer and its jobs; and what is to be done about its jobs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from superduper.api.v1alpha1 import Reason
from superduper_operator import labels
from superduper_operator.compute.base import TEMPLATE, Observation
from superduper_operator.kinds import manifests
from superduper_operator.kinds.component import with_answer
from superduper_operator.pods import Trouble
from superduper_operator.podspec import Manifest
from superduper_operator.runtime_client import Answer, Work

ATTEMPTS = 3
"""Jobs for the same work, before it is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 10, 300
"""Seconds between a job's end and the next one for the same work."""
MENDED_OUTSIDE = frozenset(
    {
        Reason.UNREACHABLE, Reason.ACCESS_DENIED, Reason.STORE_FAILED, Reason.IN_USE, Reason.DEPENDENCY_NOT_READY,
        Reason.UNSCHEDULABLE,
    }
)  # fmt: skip
"""Why jobs fail that may succeed later though nobody changes the object: what `superduper work` ends with 1 for, and no node."""
KEPT = 3
"""Finished jobs of a model that stay, for their logs."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One job of the model."""

    live: Manifest
    observation: Observation

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.live["metadata"]["name"])

    @property
    def key(self) -> str:
        """Which work it is for."""
        return str(self.live["metadata"]["labels"].get(labels.WORK, ""))

    @property
    def run(self) -> int:
        """How many for the same work came before it."""
        return int(self.live["metadata"]["labels"].get(labels.RUN, "0"))

    @property
    def template(self) -> str:
        """A print of what it was made from."""
        return str((self.live["metadata"].get("annotations") or {}).get(TEMPLATE, ""))


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done next about the jobs."""

    do: Literal["start", "wait", "stop", "give up"]
    run: int = 0
    """Of a job that is to be started."""
    seconds: float | None = None
    """When to look again."""


def next_step(work: Work, template: str, jobs: Sequence[Seen], now: datetime) -> Step:
    """For work that a job does. ``template`` is the print of the job as it would be made now.

    There is never a second job beside one that has not ended.
    """
    unfinished = [job for job in jobs if not job.observation.over]
    if unfinished:
        job = unfinished[-1]
        idle = job.observation.phase != "Running"
        outdated = job.key != work.key or (idle and job.template != template)
        return Step("stop", seconds=1.0) if outdated or len(unfinished) > 1 else Step("wait", seconds=10.0)
    same = sorted((job for job in jobs if job.key == work.key), key=lambda job: job.run)
    if not same:
        return Step("start")
    last, failed = same[-1], [job for job in same if job.observation.phase == "Failed" and job.template == template]
    if last.observation.phase == "Failed" and last.template != template:
        # Somebody has changed what it runs in: the image, the resources.
        return Step("start", run=last.run + 1)
    if failed and not _passing(last.observation) and (last.observation.final or len(failed) >= ATTEMPTS):
        return Step("give up")
    trouble = last.observation.trouble
    if trouble is not None and trouble.reason is Reason.UNSCHEDULABLE:
        # It has waited for a node for long already.
        pause = LONGEST_PAUSE
    else:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**last.run)
    ready = (last.observation.ended or now) + timedelta(seconds=pause)
    left = (ready - now).total_seconds()
    return Step("wait", seconds=max(left, 1.0)) if left > 0 else Step("start", run=last.run + 1)


def _passing(observation: Observation) -> bool:
    return observation.trouble is not None and observation.trouble.reason in MENDED_OUTSIDE


def submitted_apart(jobs: Sequence[Seen]) -> bool:
    """Whether jobs here are submitted by pods of their own: one was refused, or was made so before this process began.

    Else an operator that starts would take a job that is starting for an outdated one, and stop it.
    """
    return any(job.observation.refused or job.live["spec"].get("submissionMode") == "K8sJobMode" for job in jobs)


def superfluous(jobs: Sequence[Seen]) -> list[Seen]:
    """Finished jobs beyond those that are kept, oldest first."""
    over = [job for job in jobs if job.observation.over]
    return over[:-KEPT]


def told(live: Manifest, answer: Answer, job: Seen | None, *, given_up: bool) -> Manifest:
    """The server's answer; a trouble that only the cluster sees takes the place of its conditions."""
    name = job.name if job is not None else (live.get("status") or {}).get("job")
    status = with_answer(live, answer, {"job": name} if name else {})
    stalled = manifests.condition(answer.status, "Stalled").get("status") == "True"
    trouble = None if job is None or answer.work is None else job.observation.trouble
    if given_up and not stalled:
        trouble = trouble or Trouble(Reason.JOB_FAILED, "the job failed and does not say why: see its pod's log")
    elif job is not None and job.observation.over and not _passing(job.observation):
        trouble = None
    if trouble is None:
        return status
    fields = {key: value for key, value in status.items() if key not in ("conditions", "observedGeneration")}
    message = f"job {name}: {trouble.message}"
    return manifests.with_condition(live, "Stalled", trouble.reason, message, fields)
