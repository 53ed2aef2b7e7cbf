"""Where models run in a cluster: a RayJob, a Job, or the server itself. One interface, pure."""

from __future__ import annotations

from collections.abc import Mapping

from superduper_operator.compute import job, kuberay
from superduper_operator.compute.base import JobKind, Kind

KINDS: Mapping[Kind, JobKind] = {"Job": job, "RayJob": kuberay}
"""Both ways to run a job."""
