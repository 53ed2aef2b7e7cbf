"""From what the cluster and the server say to one reason and a sentence: tables of troubles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from superduper.api.v1alpha1 import Reason
from superduper_operator import labels, pods
from superduper_operator.compute import job, kuberay
from superduper_operator.compute.base import TEMPLATE, KubeRay, MissingCompute, Observation, choose, effective
from superduper_operator.kinds.datalayer import status
from superduper_operator.kinds.datalayer.status import Children
from superduper_operator.kinds.model.status import Seen, next_step, submitted_apart, superfluous, told
from superduper_operator.pods import Trouble
from superduper_operator.runtime_client import Answer, Info, Refused, ServerDown, Work
from superduper_operator.stores.connections import resolve
from tests.operator.desired_cases import CASES, datalayer, model, place

Manifest = dict[str, Any]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    *containers: Manifest, age: float = 60, part: str = "server", phase: str = "Pending", **status_: Any
) -> Manifest:
    spec: Manifest = {
        "containers": [
            {
                "name": "server", "image": "localhost/nowhere:1",
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "late-app", "key": "uri"}}}],
            }
        ],
        "volumes": [{"name": "tls", "secret": {"secretName": "digits-tls"}}],
    }  # fmt: skip
    return {
        "kind": "Pod", "metadata": {"name": "p-1", "creationTimestamp": at(age), "labels": {labels.NAME: part}},
        "spec": spec, "status": {"phase": phase, "containerStatuses": list(containers), **status_},
    }  # fmt: skip


def waiting(reason: str, message: str = "", last: Manifest | None = None) -> Manifest:
    found: Manifest = {
        "name": "server",
        "image": "localhost/nowhere:1",
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return {**found, "lastState": {"terminated": last}} if last else found


def ended(code: int, reason: str = "Error", message: str = "") -> Manifest:
    return {"name": "server", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


UNSCHEDULABLE = [
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: 1 Insufficient cpu."}
]
SAID = '{"reason": "CodeFailed", "message": "no module named no.such.module"}'


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        pytest.param(pod(waiting("CreateContainerConfigError", 'secret "late-app" not found')), Reason.SECRET_MISSING,
                     ["late-app", "uri"], id="a Secret that is missing is named with the key"),
        pytest.param(pod(waiting("CreateContainerConfigError", "couldn't find key uri in Secret shop/late-app")),
                     Reason.SECRET_MISSING, ["late-app", "uri"], id="a key that is missing is named with its Secret"),
        pytest.param(pod(waiting("ImagePullBackOff", "Back-off")), Reason.IMAGE_PULL_FAILED, ["localhost/nowhere:1"],
                     id="an image that cannot be pulled is named"),
        pytest.param(pod(waiting("ErrImageNeverPull")), Reason.IMAGE_PULL_FAILED, ["localhost/nowhere:1"],
                     id="so is one that may not be pulled"),
        pytest.param(pod(conditions=UNSCHEDULABLE), Reason.UNSCHEDULABLE, ["cpu", "resources"],
                     id="what no node has is told"),
        pytest.param(pod(waiting("CrashLoopBackOff", "", {"exitCode": 1, "message": "first\nConfigError: no token\n"})),
                     Reason.CRASHING, ["exit code 1", "ConfigError: no token"], id="the last words of a crash are kept"),
        pytest.param(pod(waiting("CrashLoopBackOff", "", {"exitCode": 137, "reason": "OOMKilled"})),
                     Reason.OUT_OF_MEMORY, ["limits.memory"], id="too little memory is told apart from a crash"),
        pytest.param(pod(ended(139)), Reason.CRASHING, ["signal 11"], id="a signal is named"),
        pytest.param(pod(ended(42, message=SAID)), Reason.CODE_FAILED, ["no.such.module"], id="what a job left is read"),
        pytest.param(pod(waiting("RunContainerError", "exec: superduper: not found")), Reason.CRASHING, ["not found"],
                     id="a command that is not in the image is told"),
        pytest.param(pod(waiting("ContainerCreating")), Reason.SECRET_MISSING, ["digits-tls"],
                     id="a volume that does not come is named after a while"),
        pytest.param(pod(phase="Failed", reason="Evicted", message="low on disk"), Reason.CRASHING, ["low on disk"],
                     id="an eviction is told"),
    ],
)  # fmt: skip
def test_a_pod_in_trouble_says_why_and_what_to_do(seen: Manifest, reason: Reason, words: list[str]) -> None:
    found = pods.trouble([seen], NOW)
    assert found is not None
    assert found.reason is reason
    assert all(word in found.message for word in words), found.message


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(pod(waiting("ContainerCreating"), age=3), id="one that is being made"),
        pytest.param(
            pod({"name": "server", "ready": True, "state": {"running": {}}}, phase="Running"), id="one that runs"
        ),
        pytest.param(pod(ended(0), phase="Succeeded"), id="one that has ended well"),
        pytest.param(
            {**pod(ended(1)), "metadata": {**pod()["metadata"], "deletionTimestamp": at(1)}}, id="one that goes"
        ),
    ],
)
def test_a_pod_without_trouble_says_nothing(seen: Manifest) -> None:
    assert pods.trouble([seen], NOW) is None


LOG = f"Job entrypoint command failed with exit code 42, last available logs (truncated to 20,000 chars):\nx\n{SAID}\n"
PRINTED = (
    "Job entrypoint command failed with exit code 1, last available logs:\nerror: Unreachable: db does not answer\n"
)
REFUSED = [
    {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: violates PodSecurity "restricted"'}
]


@pytest.mark.parametrize(
    ("seen", "phase", "reason", "final"),
    [
        pytest.param({"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}, "Succeeded", None, False,
                     id="SUCCEEDED is success"),
        pytest.param({"jobStatus": "STOPPED", "jobDeploymentStatus": "Complete"}, "Failed", Reason.JOB_FAILED, False,
                     id="a job that was stopped ends as Complete, and is none"),
        pytest.param({"jobStatus": "FAILED", "message": LOG}, "Failed", Reason.CODE_FAILED, True,
                     id="exit code 42 is for good, and its reason is read from the log"),
        pytest.param({"jobStatus": "FAILED", "message": PRINTED}, "Failed", Reason.UNREACHABLE, False,
                     id="another exit code is not for good"),
        pytest.param({"jobDeploymentStatus": "ValidationFailed", "message": "bad name"}, "Failed", Reason.JOB_FAILED, True,
                     id="ValidationFailed never mends itself"),
        pytest.param({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "too late"}, "Failed",
                     Reason.JOB_FAILED, False, id="a deadline is a failure"),
        pytest.param({"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded", "message": "too late"}, "Failed",
                     Reason.UNSCHEDULABLE, False, id="one that never came to run had no room, as a rule"),
        pytest.param({"jobStatus": "RUNNING"}, "Running", None, False, id="it runs"),
        pytest.param({"jobDeploymentStatus": "Initializing"}, "Starting", None, False, id="it starts"),
        pytest.param({"jobDeploymentStatus": "Retrying"}, "Starting", None, False, id="Retrying is no end"),
        pytest.param({"jobDeploymentStatus": "Initializing", "rayClusterStatus": {"conditions": REFUSED}}, "Starting",
                     Reason.UNSCHEDULABLE, False, id="a pod that is not admitted is told"),
    ],
)  # fmt: skip
def test_a_rayjob_is(seen: Manifest, phase: str, reason: Reason | None, final: bool) -> None:
    found = kuberay.observe({"status": seen}, [], NOW)
    assert (found.phase, found.trouble and found.trouble.reason, found.final) == (phase, reason, final)


def done(type_: str, reason: str = "", message: str = "") -> Manifest:
    return {
        "conditions": [
            {"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at(5)}
        ]
    }


@pytest.mark.parametrize(
    ("seen", "own", "phase", "reason"),
    [
        pytest.param(done("Complete"), [], "Succeeded", None, id="Complete is success"),
        pytest.param(done("Failed", "PodFailurePolicy"), [pod({**ended(42, message=SAID), "name": "job"}, phase="Failed")],
                     "Failed", Reason.CODE_FAILED, id="the pod's own reason is taken"),
        pytest.param(done("Failed", "BackoffLimitExceeded", "too often"), [pod({**ended(137), "name": "job"}, phase="Failed")],
                     "Failed", Reason.JOB_FAILED, id="a killed pod says how it ended"),
        pytest.param(done("Failed", "BackoffLimitExceeded", "too often"), [], "Failed", Reason.JOB_FAILED,
                     id="without a pod Kubernetes' words are told"),
        pytest.param({"failed": 1}, [pod({**ended(137), "name": "job"}, phase="Failed")], "Retrying", Reason.CRASHING,
                     id="a pod that is repeated is told meanwhile"),
        pytest.param({}, [pod(waiting("ImagePullBackOff"))], "Starting", Reason.IMAGE_PULL_FAILED, id="its image is told"),
        pytest.param({}, [], "Starting", None, id="it starts"),
    ],
)  # fmt: skip
def test_a_job_is(seen: Manifest, own: list[Manifest], phase: str, reason: Reason | None) -> None:
    found = job.observe({"status": seen}, own, NOW)
    assert (found.phase, found.trouble and found.trouble.reason) == (phase, reason)


def seen(key: str, observation: Observation, run: int = 0, template: str = "t", spec: Manifest | None = None) -> Seen:
    meta = {
        "name": f"m-{key}-{run}",
        "labels": {labels.WORK: key, labels.RUN: str(run)},
        "annotations": {TEMPLATE: template},
    }
    return Seen({"kind": "Job", "metadata": meta, "spec": spec or {}}, observation)


def failed(seconds: float, *, final: bool = False, reason: Reason = Reason.JOB_FAILED) -> Observation:
    return Observation("Failed", Trouble(reason, "x"), final=final, ended=NOW - timedelta(seconds=seconds))


OVER = Observation("Succeeded", ended=NOW - timedelta(seconds=3600))


@pytest.mark.parametrize(
    ("jobs", "do", "run"),
    [
        pytest.param([], "start", 0, id="nothing yet: a job is started"),
        pytest.param([seen("a", Observation("Running"))], "wait", 0, id="one that runs is waited for"),
        pytest.param([seen("b", Observation("Running"))], "stop", 0, id="one for work of yesterday is stopped"),
        pytest.param([seen("a", Observation("Starting"), template="u")], "stop", 0,
                     id="one that cannot start is made anew as the spec is now"),
        pytest.param([seen("a", Observation("Running"), template="u")], "wait", 0,
                     id="one that runs is not disturbed by a changed image"),
        pytest.param([seen("b", OVER)], "start", 0, id="a finished one for other work leads to a next one"),
        pytest.param([seen("a", OVER)], "start", 1, id="a finished one whose work is not done leads to a next one"),
        pytest.param([seen("a", Observation("Succeeded", ended=NOW))], "wait", 0, id="but not before the server has seen it"),
        pytest.param([seen("a", failed(3))], "wait", 0, id="a failed one is repeated after a pause"),
        pytest.param([seen("a", failed(60))], "start", 1, id="a failed one is repeated"),
        pytest.param([seen("a", failed(60, final=True))], "give up", 0, id="one that failed for good is not"),
        pytest.param([seen("a", failed(60, final=True), template="u")], "start", 1,
                     id="unless what it runs in has changed"),
        pytest.param([seen("a", failed(9000), n) for n in range(3)], "give up", 0, id="three attempts are enough"),
        pytest.param([seen("b", failed(60, final=True))], "start", 0, id="other work is another chance"),
        pytest.param([seen("a", failed(9000, final=True, reason=Reason.UNREACHABLE), n) for n in range(3)], "start", 3,
                     id="a database that was away too long is asked again and again"),
        pytest.param([seen("a", failed(200, final=True, reason=Reason.UNREACHABLE), 40)], "wait", 0,
                     id="but each five minutes only"),
        pytest.param([seen("a", failed(301, reason=Reason.UNSCHEDULABLE), n) for n in range(3)], "start", 3,
                     id="a node that was missing may come"),
        pytest.param([seen("a", failed(60, reason=Reason.UNSCHEDULABLE))], "wait", 0,
                     id="but it was waited for long enough to pause"),
    ],
)  # fmt: skip
def test_the_next_step_with_jobs(jobs: list[Seen], do: str, run: int) -> None:
    found = next_step(Work("a", "job"), "t", jobs, NOW)
    assert (found.do, found.run) == (do, run)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        pytest.param(seen("a", Observation("Starting", refused=True)), True, id="KubeRay's container was refused"),
        pytest.param(seen("a", Observation("Starting"), spec={"submissionMode": "K8sJobMode"}), True,
                     id="another operator's process was told so before"),
        pytest.param(seen("a", Observation("Starting"), spec={"submissionMode": "SidecarMode"}), False, id="it is admitted"),
        pytest.param(seen("a", Observation("Starting")), False, id="a plain Job has no submitter"),
    ],
)  # fmt: skip
def test_an_operator_that_starts_knows_by_the_jobs_how_they_are_submitted(job: Seen, expected: bool) -> None:
    assert submitted_apart([job]) is expected


def test_the_last_three_finished_jobs_are_kept() -> None:
    jobs = [seen(str(n), OVER) for n in range(5)] + [seen("x", Observation("Running"))]
    assert [each.key for each in superfluous(jobs)] == ["0", "1"]


LIVE: Manifest = {"kind": "Model", "metadata": {"name": "m", "generation": 3}, "status": {}}


def said(reason: str, type_: str) -> list[Manifest]:
    base = {"reason": reason, "message": "said by the server", "observedGeneration": 1, "lastTransitionTime": at(9)}
    found = [{"type": "Ready", "status": "True" if type_ == "Ready" else "False", **base}]
    return found if type_ == "Ready" else [*found, {"type": type_, "status": "True", **base}]


@pytest.mark.parametrize(
    ("by_server", "observation", "given_up", "reason"),
    [
        pytest.param(("Training", "Reconciling"), Observation("Running"), False, "Training", id="the server's own words"),
        pytest.param(("Training", "Reconciling"), Observation("Starting", Trouble(Reason.UNSCHEDULABLE, "no node")), False,
                     "Unschedulable", id="a pod's trouble, which the server cannot see"),
        pytest.param(("Training", "Reconciling"), failed(60, final=True), True, "JobFailed", id="a job that was given up"),
        pytest.param(("TrainingFailed", "Stalled"), failed(60, final=True), True, "TrainingFailed",
                     id="the server knows more exactly"),
        pytest.param(("Training", "Reconciling"), failed(3), False, "Training", id="a job that will be repeated"),
        pytest.param(("Training", "Reconciling"), failed(3, reason=Reason.UNREACHABLE), False, "Unreachable",
                     id="why a job is repeated until somebody mends it"),
        pytest.param(("Training", "Reconciling"), failed(3, reason=Reason.UNSCHEDULABLE), False, "Unschedulable",
                     id="no room, also between two jobs"),
    ],
)  # fmt: skip
def test_what_is_told_of_a_model(
    by_server: tuple[str, str], observation: Observation, given_up: bool, reason: str
) -> None:
    answer = Answer({"rows": 5, "conditions": said(*by_server)}, Work("a", "job"), "1")
    found = told(LIVE, answer, seen("a", observation), given_up=given_up)
    assert found["conditions"][0]["reason"] == reason
    assert (found["rows"], found["job"], found["observedGeneration"]) == (5, "m-a-0", 3)
    assert all(each["observedGeneration"] == 3 for each in found["conditions"])


INFO = Info("0.1.0", "postgresql://u@h/d", "postgresql://u@h/d", "filesystem:///data/artifacts", "auto", True, {})


def children(age: float = 60, **more: Any) -> Children:
    running = pod({"name": "server", "ready": True, "state": {"running": {}}}, age=age, phase="Running")
    return Children(**{"deployment": None, "stores": [], "pods": [running], **more})


@pytest.mark.parametrize(
    ("answer", "seen_", "state", "reason"),
    [
        pytest.param(INFO, children(), "Ready", Reason.AVAILABLE, id="connected"),
        pytest.param(Refused("AccessDenied", "no", status=502), children(), "Stalled", Reason.ACCESS_DENIED, id="a wrong password"),
        pytest.param(Refused("Unreachable", "no", status=503), children(), "Stalled", Reason.UNREACHABLE, id="no such host"),
        pytest.param(Refused("NotFound", "no database", status=404), children(), "Stalled", Reason.UNREACHABLE, id="no such database"),
        pytest.param(Refused("UriError", "no", status=400), children(), "Stalled", Reason.INVALID, id="a URI that is none"),
        pytest.param(Refused("Unreachable", "just started", status=503), children(age=2), "Reconciling", Reason.PROVISIONING,
                     id="a server that is still connecting"),
        pytest.param(Refused("Unreachable", "no", status=503), children(stores=[{"metadata": {"name": "d"}, "status": {}}]),
                     "Reconciling", Reason.PROVISIONING, id="a store that is still being started"),
        pytest.param(ServerDown("no answer"), children(), "Reconciling", Reason.SERVER_UNAVAILABLE, id="no answer"),
    ],
)  # fmt: skip
def test_a_datalayer_is_as_its_server_says(answer: Any, seen_: Children, state: str, reason: Reason) -> None:
    found = status.asked(datalayer(), answer, seen_, NOW)
    assert (found.state, found.reason) == (state, reason)


@pytest.mark.parametrize(
    ("case", "age", "expected"),
    [
        pytest.param("outside-by-secret", 90, True, id="a server that is refused with a Secret sees it anew"),
        pytest.param("outside-by-secret", 30, False, id="not at once"),
        pytest.param("postgres-s3", 90, False, id="a generated Secret does not change"),
    ],
)
def test_a_refused_server_starts_anew(case: str, age: float, expected: bool) -> None:
    connections = resolve(datalayer(**CASES[case]), place())
    answer = Refused("AccessDenied", "no", status=502)
    assert status.starts_anew(connections, answer, children(age=age), NOW) is expected


def test_the_status_of_a_datalayer_shows_no_password() -> None:
    info = Info("0.1.0", "postgresql://u:geheim@h/d", "", "", "auto", False, {})
    found = status.fields(resolve(datalayer(), place()), info, {}, kuberay=True)
    assert "geheim" not in str(found)
    assert found["compute"] == "rayjob"


@pytest.mark.parametrize(
    ("compute", "kuberay_", "expected"),
    [
        pytest.param(None, True, "RayJob", id="auto takes KubeRay where it is"),
        pytest.param(None, False, "Job", id="auto takes a Job where it is not"),
        pytest.param({"engine": "job"}, True, "Job", id="job is a Job"),
        pytest.param({"engine": "dask", "address": "s:8786"}, True, "Job", id="a dask cluster is reached from a Job"),
        pytest.param({"engine": "ray", "address": "r:10001"}, False, "Job", id="a Ray cluster that is there too"),
        pytest.param({"engine": "ray"}, False, "install it", id="ray needs KubeRay"),
        pytest.param({"workers": 2}, False, "leave workers out", id="so do workers"),
    ],
)
def test_which_way_a_job_runs(compute: Manifest | None, kuberay_: bool, expected: str) -> None:
    asked = effective(model(compute=compute).spec.compute, datalayer().spec.compute)
    if expected in ("Job", "RayJob"):
        assert choose(asked, kuberay=kuberay_) == expected
    else:
        with pytest.raises(MissingCompute, match=expected):
            choose(asked, kuberay=kuberay_)


NEW = KubeRay(sidecar=True, token=True, deadline=True)


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        pytest.param(".spec.preRunningDeadlineSeconds: field not declared in schema", KubeRay(True, True, False), id="1.5"),
        pytest.param(
            "errors:\n  .spec.preRunningDeadlineSeconds: field not declared in schema\n"
            "  .spec.rayClusterSpec.authOptions: field not declared in schema", KubeRay(), id="1.4",
        ),
        pytest.param("admission webhook denied the request", None, id="it is about something else"),
    ],
)  # fmt: skip
def test_a_field_that_a_crd_does_not_have_tells_the_version_of_kuberay(refusal: str, expected: KubeRay | None) -> None:
    assert kuberay.without(refusal, NEW) == expected
