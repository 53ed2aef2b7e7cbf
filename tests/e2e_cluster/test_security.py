"""What the operator and its pods may do: what the chart says, and nothing else."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e_cluster.conftest import SYSTEM
from tests.e2e_cluster.kube import Kube, run

ACCOUNT = f"system:serviceaccount:{SYSTEM}:superduper"

ALLOWED = [
    ("get", "datalayers.superduper.io"), ("patch", "datalayers.superduper.io/status"), ("create", "secrets"),
    ("patch", "deployments.apps"), ("patch", "statefulsets.apps"), ("create", "jobs.batch"), ("list", "pods"),
    ("get", "configmaps"), ("create", "rayjobs.ray.io"),
]  # fmt: skip
REFUSED = [
    ("get", "secrets"), ("list", "secrets"), ("watch", "secrets"), ("patch", "secrets"), ("update", "secrets"),
    ("delete", "secrets"), ("create", "pods"), ("create", "pods/exec"), ("get", "nodes"), ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"), ("impersonate", "users"), ("update", "configmaps"),
    ("delete", "namespaces"), ("create", "serviceaccounts/token"), ("delete", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "daemonsets.apps"), ("escalate", "clusterroles.rbac.authorization.k8s.io"),
]  # fmt: skip


def can(verb: str, resource: str, namespace: str) -> bool:
    done = subprocess.run(
        ["kubectl", "auth", "can-i", verb, resource, "-n", namespace, "--as", ACCOUNT],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    answer = done.stdout.strip().splitlines()
    assert answer, done.stderr
    return answer[-1] == "yes"


@pytest.mark.parametrize(("verb", "resource"), ALLOWED, ids=lambda word: word)
def test_the_operator_may(kube: Kube, verb: str, resource: str) -> None:
    assert can(verb, resource, kube.namespace)


@pytest.mark.parametrize(("verb", "resource"), REFUSED, ids=lambda word: word)
def test_the_operator_is_refused(kube: Kube, verb: str, resource: str) -> None:
    assert not can(verb, resource, kube.namespace)


def test_the_operator_runs_restricted_in_two_replicas_with_one_leader(system: Kube) -> None:
    pods = system.list("pods", "app.kubernetes.io/name=superduper")
    assert len([p for p in pods if p["status"]["phase"] == "Running"]) == 2
    holder = system.list("leases")
    assert any(lease["spec"]["holderIdentity"].startswith(p["metadata"]["name"]) for lease in holder for p in pods)
    for pod in pods:
        security = pod["spec"]["containers"][0]["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_helm_test_passes(system: Kube) -> None:
    assert "Succeeded" in run("helm", "test", "superduper", "-n", SYSTEM, "--timeout", "2m", seconds=180)
