"""What the scenarios take for granted of the cluster: `tests/cluster/kc -- .venv/bin/python -m pytest -q tests/cluster`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e_cluster.kube import Failed, Kube, eventually, run

HERE = Path(__file__).parent
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "containerd", "coredns")


BOUNDS = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
NOBODY = {"runAsUser": 65532, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_POD = {
    "securityContext": NOBODY,
    "containers": [{"name": "a", "image": "localhost/python-base:1", "command": ["true"], "securityContext": BOUNDS}],
}


@contextlib.contextmanager
def namespace(labels: dict[str, str]) -> Iterator[Kube]:
    kube = Kube(f"check-{uuid.uuid4().hex[:6]}")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kube.namespace, "labels": labels}}
    kube.apply([body])
    try:
        yield kube
    finally:
        run("kubectl", "delete", "namespace", kube.namespace, "--timeout=90s")


@pytest.fixture(scope="module")
def kube() -> Iterator[Kube]:
    """A namespace with the workloads, Ready; its volumes go away with it."""
    with namespace(RESTRICTED) as found:
        found.apply(HERE / "checks" / "workloads.yaml")
        found("rollout", "status", "deployment/web", "--timeout=60s")
        found("rollout", "status", "statefulset/db", "--timeout=60s")
        yield found
    eventually("the volumes are gone", lambda: not volumes(found.namespace), seconds=20)


def volumes(of: str) -> list[str]:
    claims = json.loads(run("kubectl", "get", "persistentvolumes", "-o", "json"))["items"]
    return [claim["metadata"]["name"] for claim in claims if claim["spec"]["claimRef"]["namespace"] == of]


def from_pod(kube: Kube, program: str) -> str:
    return kube("exec", "db-0", "--", "python3", "-c", program)


def test_logs_and_exec_reach_a_pod(kube: Kube) -> None:
    assert "listening" in kube("logs", "deployment/web")
    assert kube("exec", "db-0", "--", "id", "-u").strip() == "1000"


def test_names_of_services_and_pods_resolve_in_a_pod(kube: Kube) -> None:
    for name in ("web", f"web.{kube.namespace}.svc.cluster.local", "db-0.db", "kubernetes.default"):
        assert from_pod(kube, f"import socket; print(socket.gethostbyname('{name}'))").strip()


def test_a_service_spreads_over_its_pods(kube: Kube) -> None:
    look = "import urllib.request as u; print(len({u.urlopen('http://web', timeout=5).read() for _ in range(40)}))"
    assert from_pod(kube, look).strip() == "2"


def test_a_service_answers_the_node_by_name(kube: Kube) -> None:
    assert run("curl", "-fsS", "--max-time", "5", f"http://web.{kube.namespace}.svc.cluster.local").strip()


def test_a_port_can_be_forwarded(kube: Kube) -> None:
    command = ["kubectl", "-n", kube.namespace, "port-forward", "deployment/web", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            port = forward.stdout.readline().split(":")[1].split()[0]
            assert run("curl", "-fsS", "--max-time", "5", f"http://127.0.0.1:{port}").strip()
        finally:
            forward.terminate()


def test_a_pod_reaches_nothing_outside_of_the_cluster(kube: Kube) -> None:
    with pytest.raises(Failed, match="OSError|TimeoutError"):
        from_pod(kube, "import socket; socket.create_connection(('192.0.2.2', 22), timeout=4)")


def test_data_outlives_its_pod(kube: Kube) -> None:
    kube("delete", "pod", "db-0")
    kube("rollout", "status", "statefulset/db", "--timeout=60s")
    assert len(kube("exec", "db-0", "--", "cat", "/data/starts").splitlines()) >= 2


def test_a_service_account_may_do_what_its_role_says_and_nothing_else(kube: Kube) -> None:
    kube("create", "serviceaccount", "reader")
    kube("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kube("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kube.namespace}:reader")
    token = kube("create", "token", "reader").strip()
    # Over the service, as a pod asks.
    get = f"""
import json, ssl, sys, urllib.request as u
request = u.Request("https://kubernetes.default.svc/api/v1/namespaces/{kube.namespace}/" + sys.argv[1],
                    headers={{"Authorization": "Bearer {token}"}})
authority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
print(json.load(u.urlopen(request, context=ssl.create_default_context(cafile=authority), timeout=5))["kind"])
"""
    assert kube("exec", "db-0", "--", "python3", "-c", get, "pods").strip() == "PodList"
    with pytest.raises(Failed, match="403"):
        kube("exec", "db-0", "--", "python3", "-c", get, "secrets")


def test_a_restricted_namespace_refuses_a_pod_that_asks_for_more(kube: Kube) -> None:
    with pytest.raises(Failed, match="violates PodSecurity"):
        kube("run", "root", "--image=localhost/python-base:1")


def test_a_second_field_manager_meets_a_conflict(kube: Kube) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}}
    kube.apply([{**config, "data": {"size": "1"}}], "--field-manager=a")
    with pytest.raises(Failed, match="conflict"):
        kube.apply([{**config, "data": {"size": "2"}}], "--field-manager=b")


def test_too_much_memory_ends_a_container_and_is_said() -> None:
    with namespace({}) as kube:
        container = {
            "name": "greedy",
            "image": "localhost/python-base:1",
            "command": ["python3", "-c", "bytearray(400 << 20)"],
            "resources": {"limits": {"memory": "64Mi"}},
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy"}}
        kube.apply([{**pod, "spec": {"restartPolicy": "Never", "containers": [container]}}])
        reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
        eventually("killed", lambda: kube("get", "pod", "greedy", "-o", reason) == "OOMKilled", seconds=30)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_killed_component_comes_back_and_pods_go_on(kube: Kube, component: str) -> None:
    containers = "jsonpath={.items[*].status.containerStatuses[0].containerID}"
    before = kube("get", "pods", "-l", "app=db", "-o", containers)
    run(str(HERE / "crash"), component)
    look = f"import urllib.request as u; u.urlopen('http://web.{kube.namespace}', timeout=5).read(); print(1)"
    eventually("exec, names and services work", lambda: from_pod(kube, look), seconds=60)
    assert kube("get", "pods", "-l", "app=db", "-o", containers) == before
    # Every component has a part in a new Job's pod.
    spec = {**RESTRICTED_POD, "restartPolicy": "Never"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"after-{component}"}}
    kube.apply([{**job, "spec": {"template": {"spec": spec}}}])
    kube("wait", f"job/after-{component}", "--for=condition=Complete", "--timeout=60s")


@pytest.mark.timeout(400)
def test_a_rayjob_runs_on_two_nodes_in_a_restricted_namespace() -> None:
    run(str(HERE / "kuberay" / "install"), seconds=180)
    ray = importlib.metadata.version("ray")
    with namespace(RESTRICTED) as kube:
        kube.apply((HERE / "checks" / "rayjob.yaml").read_text().replace("RAY_VERSION", ray))

        def ended() -> str | None:
            status = kube.get("rayjob", "check").get("status", {})
            return status.get("jobStatus") if status.get("jobDeploymentStatus") in {"Complete", "Failed"} else None

        assert eventually("the job ends", ended, seconds=290, see=lambda: seen(kube)) == "SUCCEEDED", seen(kube)


def seen(kube: Kube) -> str:
    return kube("get", "rayjobs,rayclusters,jobs,pods") + kube("get", "events", "--sort-by=.lastTimestamp")
