"""What the operator and its pods may do: what the chart says, and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.e2e_cluster.conftest import SYSTEM
from tests.e2e_cluster.kube import Kube, run

ACCOUNT = f"system:serviceaccount:{SYSTEM}:superduper"
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{SYSTEM}", "system:authenticated"]

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


def can(verb: str, what: str, namespace: str) -> bool:
    """What the API server would decide, whether or not the resource is installed."""
    resource, _, group = what.partition(".")
    group, _, behind = group.partition("/")
    resource, _, before = resource.partition("/")
    attributes = {
        "verb": verb, "resource": resource, "group": group, "subresource": behind or before, "namespace": namespace,
    }  # fmt: skip
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "groups": GROUPS, "resourceAttributes": attributes},
    }
    said = json.loads(run("kubectl", "create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    return bool(said["status"]["allowed"])


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
