"""The reconcilers on a real API server: children, dependents, jobs, mistakes, deletion. Servers are stood in for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operator.fake_server import FakeServers
from tests.operator.running import SYSTEM, Cluster, datalayer, model, operator, table
from tests.servers.apiserver import ApiServer

CRDS = Path(__file__).resolve().parents[2] / "crds"
ALL_KINDS = "models,tables,datatypes,datalayers"
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def running(apiserver_server: ApiServer) -> Iterator[FakeServers]:
    apiserver_server.install_crds(CRDS)
    apiserver_server.tried("create", "namespace", SYSTEM)
    # It works for all namespaces: what other tests left is not its business.
    apiserver_server.kubectl("delete", ALL_KINDS, "--all", "--all-namespaces", "--wait=false")
    servers = FakeServers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(apiserver_server.kubeconfig))
        with operator(apiserver_server, servers):
            yield servers


@pytest.fixture
def cluster(apiserver_server: ApiServer, running: FakeServers) -> Iterator[Cluster]:
    with apiserver_server.fresh() as namespace:
        found = Cluster(apiserver_server, running, namespace)
        yield found
        found.kubectl("delete", ALL_KINDS, "--all", "--wait=false")


@pytest.fixture
def shop(cluster: Cluster) -> Cluster:
    """A Datalayer and a Table, Ready."""
    cluster.apply(datalayer(), table())
    cluster.ready("table", "numbers")
    return cluster


def job(cluster: Cluster, name: str = "adds") -> Manifest:
    """The model's one job, once it is there."""

    def look() -> list[Manifest]:
        return [
            each
            for each in cluster.list("jobs", f"superduper.io/model={name}")
            if not each["metadata"].get("deletionTimestamp")
        ]

    found = cluster.until("a job", look)
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def finished(kind: str, reason: str = "x") -> Manifest:
    at = "2026-01-01T00:00:00Z"
    before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[kind]
    conditions = [
        {"type": t, "status": "True", "reason": reason, "lastTransitionTime": at, "lastProbeTime": at}
        for t in (before, kind)
    ]
    return {
        "startTime": at,
        **({"completionTime": at, "succeeded": 1} if kind == "Complete" else {}),
        "conditions": conditions,
    }


WORK = {"key": "0123456789abcdef", "training": False, "predicting": 20, "validating": False, "by": "job"}


# Datalayers


def test_a_datalayer_gets_its_children_and_says_where_its_server_is(cluster: Cluster) -> None:
    cluster.apply(
        datalayer(databackend={"provision": {"engine": "postgres"}}, artifactStore={"provision": {"engine": "s3"}})
    )
    found = cluster.ready("datalayer", "shop")
    assert found["status"]["endpoint"] == f"http://shop-server.{cluster.namespace}.svc:8000"
    assert found["status"]["tokenSecret"] == "shop-token"
    for kind, names in {
        "deployment": ["shop-server"], "statefulset": ["shop-postgres", "shop-s3"],
        "service": ["shop-server", "shop-postgres", "shop-s3"], "secret": ["shop-token", "shop-postgres", "shop-s3"],
        "networkpolicy": ["shop-server", "shop-job", "shop-postgres", "shop-s3"],
    }.items():  # fmt: skip
        for name in names:
            cluster.get(kind, name)
    secret = {k: base64.b64decode(v).decode() for k, v in cluster.get("secret", "shop-postgres")["data"].items()}
    assert set(secret) == {"username", "password", "database", "host", "port", "uri"}
    assert secret["password"] in secret["uri"]


def test_a_child_that_is_deleted_comes_back_the_same(shop: Cluster) -> None:
    before = shop.get("service", "shop-server")
    shop.delete("service", "shop-server")
    after = shop.until("it is back", lambda: shop.find("service", "shop-server"), 5)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["ports"] == before["spec"]["ports"]


def test_while_nothing_changes_nothing_is_written(shop: Cluster) -> None:
    def versions() -> dict[str, str]:
        kinds = "datalayers,tables,deployments,services,persistentvolumeclaims,networkpolicies"
        return {f"{e['kind']}/{e['metadata']['name']}": e["metadata"]["resourceVersion"] for e in shop.list(kinds)}

    before = shop.until("two looks agree", lambda: (v := versions()) == versions() and v)
    polls = 6
    start = len(shop.of("shop").puts)
    import time

    time.sleep(polls * 0.5)
    assert versions() == before
    assert len(shop.of("shop").puts) == start


def test_what_the_server_says_becomes_the_datalayers_condition_and_heals(cluster: Cluster) -> None:
    cluster.of("shop").refusals["info"] = (502, "AccessDenied", "postgresql://u@h/d: password authentication failed")
    cluster.apply(datalayer(), table())
    assert "password authentication failed" in cluster.reason("datalayer", "shop", "AccessDenied")
    assert "'shop' is not ready" in cluster.reason("table", "numbers", "DependencyNotReady")
    cluster.of("shop").refusals.clear()
    cluster.ready("datalayer", "shop")
    cluster.ready("table", "numbers")


def test_a_pod_in_trouble_becomes_the_datalayers_condition_and_heals(cluster: Cluster) -> None:
    cluster.apply(datalayer())
    cluster.ready("datalayer", "shop")
    labels = cluster.get("deployment", "shop-server")["spec"]["template"]["metadata"]["labels"]
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop-server-1", "labels": labels},
        "spec": {"containers": [{"name": "server", "image": "localhost/nowhere:1"}]},
    }  # fmt: skip
    cluster.apply(pod)
    state = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "late-app" not found'}}
    status = {"name": "server", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    cluster.set_status("pod", "shop-server-1", {"containerStatuses": [status]})
    assert "late-app" in cluster.reason("datalayer", "shop", "SecretMissing")
    cluster.kubectl("delete", "pod", "shop-server-1", "--grace-period=0", "--force")
    cluster.ready("datalayer", "shop")


def test_an_object_of_somebody_else_is_not_taken(cluster: Cluster) -> None:
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop-server"},
        "spec": {"ports": [{"port": 1}], "selector": {"a": "b"}},
    }  # fmt: skip
    cluster.apply(service)
    cluster.apply(datalayer())
    assert "Service shop-server" in cluster.reason("datalayer", "shop", "Conflict")
    assert cluster.get("service", "shop-server")["spec"]["selector"] == {"a": "b"}


def test_a_paused_object_is_left_alone_until_the_pause_ends(shop: Cluster) -> None:
    shop.annotate("datalayer", "shop", "superduper.io/paused=true")
    shop.reason("datalayer", "shop", "Paused")
    shop.delete("networkpolicy", "shop-server")
    shop.gone("networkpolicy", "shop-server")
    shop.annotate("datalayer", "shop", "superduper.io/paused-")
    shop.until("it is back", lambda: shop.find("networkpolicy", "shop-server"))
    shop.ready("datalayer", "shop")


# Components


def test_components_are_handed_over_as_soon_as_their_datalayer_is_ready(cluster: Cluster) -> None:
    cluster.apply(model(), table())
    assert "no Datalayer 'shop'" in cluster.reason("model", "adds", "DependencyNotReady")
    cluster.apply(datalayer())
    found = cluster.ready("model", "adds")
    assert found["status"]["coverage"] == "20/20"
    assert "Model/adds" in cluster.of("shop").objects


def test_a_broken_reference_is_named_and_heals(shop: Cluster) -> None:
    shop.apply(model("early", predict={"table": "later", "inputs": ["n"]}))
    assert "Table 'later'" in shop.reason("model", "early", "DependencyNotReady")
    shop.apply(table("later"))
    shop.ready("model", "early")


def test_of_two_objects_with_one_identifier_the_older_one_wins(shop: Cluster) -> None:
    shop.apply(model("first", identifier="same"))
    shop.ready("model", "first")
    import time

    time.sleep(1.1)  # Kubernetes' times are whole seconds
    shop.apply(model("second", identifier="same"))
    assert "'first'" in shop.reason("model", "second", "Conflict")
    shop.delete("model", "second")
    shop.gone("model", "second")
    assert "Model/first" in shop.of("shop").objects


def test_code_comes_from_a_config_map_once_it_is_there(shop: Cluster) -> None:
    code = {"callable": "run", "sourceFrom": {"configMapKeyRef": {"name": "code", "key": "run.py"}}}
    shop.apply(model(object=code))
    assert "ConfigMap code" in shop.reason("model", "adds", "ConfigMapMissing")
    text = "def run(n):\n    return n\n"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}}
    shop.apply({**config, "data": {"other.py": text}})
    shop.until("the key is named", lambda: "run.py" in shop.condition("model", "adds").get("message", ""))
    shop.apply({**config, "data": {"run.py": text}})
    shop.ready("model", "adds")
    given = shop.of("shop").objects["Model/adds"]["spec"]["object"]
    assert (given["source"], "sourceFrom" in given) == (text, False)


def test_what_the_server_refuses_is_told_and_heals(shop: Cluster) -> None:
    shop.of("shop").refusals["Model/adds"] = (422, "CodeError", "no module named no.such.module")
    shop.apply(model())
    assert "no.such.module" in shop.reason("model", "adds", "CodeFailed")
    shop.of("shop").refusals.clear()
    shop.apply(model(source="def run(n):\n    return n\n"))
    shop.ready("model", "adds")


# Jobs


def test_a_job_is_started_once_and_its_end_makes_the_model_ready(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model())
    first = job(shop)
    assert first["metadata"]["labels"]["superduper.io/work"] == WORK["key"]
    shop.reason("model", "adds", "Predicting")
    assert shop.get("model", "adds")["status"]["job"] == first["metadata"]["name"]
    shop.of("shop").work.clear()
    shop.set_status("job", first["metadata"]["name"], finished("Complete"))
    found = shop.ready("model", "adds")
    assert found["status"]["job"] == first["metadata"]["name"]
    assert job(shop)["metadata"]["uid"] == first["metadata"]["uid"]


def test_a_model_that_waits_to_be_asked_has_its_job_told_that_it_was(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    predict = {"table": "numbers", "inputs": ["n"], "output": {"type": "int"}, "trigger": "Manual"}
    shop.apply(model(predict=predict))
    [container] = job(shop)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["superduper", "work", "adds", "--asked"]


def test_other_work_stops_the_job_and_starts_the_next(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model())
    first = job(shop)["metadata"]["name"]
    shop.of("shop").work["adds"] = {**WORK, "key": "fedcba9876543210"}
    shop.gone("job", first)
    assert job(shop)["metadata"]["labels"]["superduper.io/work"] == "fedcba9876543210"


def test_a_job_that_failed_for_good_is_told_and_not_repeated_until_the_work_changes(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model())
    first = job(shop)
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "adds-1", "labels": first["spec"]["template"]["metadata"]["labels"]},
        "spec": {"containers": [{"name": "job", "image": "x"}]},
    }  # fmt: skip
    shop.apply(pod)
    said = json.dumps({"reason": "PredictionFailed", "message": "every row failed"})
    state = {"terminated": {"exitCode": 42, "reason": "Error", "message": said}}
    status = {"name": "job", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    shop.set_status("pod", "adds-1", {"phase": "Failed", "containerStatuses": [status]})
    shop.set_status("job", first["metadata"]["name"], finished("Failed", "PodFailurePolicy"))
    assert "every row failed" in shop.reason("model", "adds", "PredictionFailed")
    assert job(shop)["metadata"]["uid"] == first["metadata"]["uid"]
    shop.of("shop").work["adds"] = {**WORK, "key": "fedcba9876543210"}
    shop.until("a next job", lambda: len(shop.list("jobs", "superduper.io/model=adds")) == 2)


def test_compute_that_is_not_installed_is_told(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model(compute={"engine": "ray"}))
    assert "KubeRay is not installed" in shop.reason("model", "adds", "ComputeMissing")
    shop.apply(model())
    job(shop)


def test_a_suspended_model_has_no_job(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model())
    name = job(shop)["metadata"]["name"]
    shop.apply(model(suspend=True))
    shop.gone("job", name)
    shop.reason("model", "adds", "Suspended")


# Deletion


def test_a_datalayer_in_use_waits_and_says_for_what(shop: Cluster) -> None:
    shop.delete("datalayer", "shop")
    assert "Table numbers" in shop.reason("datalayer", "shop", "InUse")
    shop.delete("table", "numbers")
    shop.gone("table", "numbers")
    shop.gone("datalayer", "shop")
    assert ("Table/numbers", "Retain") in shop.of("shop").deleted
    assert "shop-data" in shop.event("shop", "Retained")
    assert "ownerReferences" not in shop.get("pvc", "shop-data")["metadata"]


def test_with_delete_the_volumes_go_too(cluster: Cluster) -> None:
    cluster.apply(datalayer(deletionPolicy="Delete"), table(deletionPolicy="Delete"))
    cluster.ready("table", "numbers")
    cluster.delete("table", "numbers")
    cluster.gone("table", "numbers")
    assert ("Table/numbers", "Delete") in cluster.of("shop").deleted
    cluster.delete("datalayer", "shop")
    cluster.gone("datalayer", "shop")
    cluster.until("the claim is deleted", lambda: (found := cluster.find("pvc", "shop-data")) is None
                  or found["metadata"].get("deletionTimestamp"))  # fmt: skip


def test_data_that_was_to_go_and_is_to_stay_after_all_has_no_owner_left_when_the_datalayer_goes(
    cluster: Cluster,
) -> None:
    """The StatefulSet controller, which here nobody plays, may not have acted yet."""
    given = {"databackend": {"provision": {"engine": "postgres"}}}
    cluster.apply(datalayer(deletionPolicy="Delete", **given))
    cluster.ready("datalayer", "shop")
    stateful = cluster.get("statefulset", "shop-postgres")["metadata"]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": stateful["name"], "uid": stateful["uid"]}
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "somebodys", "uid": "0000-1111"}
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-shop-postgres-0", "labels": stateful["labels"], "ownerReferences": [owner, other]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }  # fmt: skip
    cluster.apply(claim)
    cluster.apply(datalayer(deletionPolicy="Retain", **given))
    cluster.delete("datalayer", "shop")
    cluster.gone("datalayer", "shop")
    left = cluster.get("pvc", "data-shop-postgres-0")["metadata"]
    assert [each["kind"] for each in left["ownerReferences"]] == ["ConfigMap"]
    assert "ownerReferences" not in cluster.get("pvc", "shop-data")["metadata"]
    assert "data-shop-postgres-0" in cluster.event("shop", "Retained")


def test_a_component_that_others_need_waits(shop: Cluster) -> None:
    shop.apply(model())
    shop.ready("model", "adds")
    shop.of("shop").refusals["delete Table/numbers"] = (409, "InUse", "table 'numbers' is used by model 'adds'")
    shop.delete("table", "numbers")
    assert "adds" in shop.reason("table", "numbers", "InUse")
    shop.of("shop").refusals.clear()
    shop.gone("table", "numbers")


def test_retained_objects_are_let_go_while_the_server_is_down(shop: Cluster) -> None:
    shop.of("shop").down = True
    shop.delete("table", "numbers")
    shop.gone("table", "numbers", 10)
    shop.delete("datalayer", "shop")
    shop.gone("datalayer", "shop", 10)


def test_data_that_cannot_be_removed_is_left_behind_after_a_while_and_named(
    shop: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superduper_operator.kinds.component.LETS_GO_SECONDS", 8)
    shop.apply(table("gone", deletionPolicy="Delete"))
    shop.ready("table", "gone")
    shop.of("shop").down = True
    shop.delete("table", "gone")
    shop.reason("table", "gone", "Deleting")
    shop.gone("table", "gone", 45)
    assert "Table 'gone'" in shop.event("gone", "LeftBehind")


def job_pod(cluster: Cluster) -> None:
    """A pod of the model's job, which ends when it is told to: only after its grace, as there is no kubelet."""
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "adds-1", "labels": job(cluster)["spec"]["template"]["metadata"]["labels"],
            "finalizers": ["example.org/still-writing"],
        },
        "spec": {"containers": [{"name": "job", "image": "x"}]},
    }  # fmt: skip
    cluster.apply(pod)
    cluster.set_status("pod", "adds-1", {"phase": "Running"})


def release(cluster: Cluster) -> None:
    cluster.kubectl("patch", "pod", "adds-1", "--type=merge", "-p", json.dumps({"metadata": {"finalizers": None}}))
    cluster.kubectl("delete", "pod", "adds-1", "--grace-period=0", "--force", "--ignore-not-found")


def test_a_model_is_removed_from_its_datalayer_only_when_the_pods_of_its_jobs_have_ended(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model(deletionPolicy="Delete"))
    job_pod(shop)
    shop.delete("model", "adds")
    assert "adds-1" in shop.reason("model", "adds", "Deleting")
    shop.gone("job", shop.get("model", "adds")["status"]["job"])
    shop.kubectl("delete", "pod", "adds-1", "--wait=false")
    assert shop.of("shop").deleted == []
    release(shop)
    shop.gone("model", "adds", 10)
    assert shop.of("shop").deleted == [("Model/adds", "Delete")]


def test_a_pod_that_never_ends_does_not_keep_a_model_for_ever(shop: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superduper_operator.kinds.model.controller.ENDED_SECONDS", 4)
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model(deletionPolicy="Delete"))
    job_pod(shop)
    shop.delete("model", "adds")
    shop.reason("model", "adds", "Deleting")
    shop.gone("model", "adds", 15)
    assert shop.of("shop").deleted == [("Model/adds", "Delete")]
    assert "adds-1" in shop.event("adds", "LeftBehind")
    release(shop)


# KubeRay


RAYJOBS: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "rayjobs.ray.io"},
    "spec": {
        "group": "ray.io", "scope": "Namespaced",
        "names": {"kind": "RayJob", "plural": "rayjobs", "singular": "rayjob", "listKind": "RayJobList"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}  # fmt: skip


def test_kuberay_that_is_installed_later_is_used_and_a_refused_submitter_gets_a_pod_of_its_own(shop: Cluster) -> None:
    shop.of("shop").work["adds"] = dict(WORK)
    shop.apply(model(compute={"engine": "ray"}))
    shop.reason("model", "adds", "ComputeMissing")
    shop.server.kubectl("apply", "--server-side", "-f", "-", given=json.dumps(RAYJOBS))
    try:

        def one(mode: str) -> Manifest | None:
            found = shop.list("rayjobs.ray.io", "superduper.io/model=adds")
            return found[0] if len(found) == 1 and found[0]["spec"]["submissionMode"] == mode else None

        first = shop.until("a RayJob", lambda: one("SidecarMode"), 60)
        refused = {"type": "ReplicaFailure", "status": "True", "message": 'violates PodSecurity "restricted:latest"'}
        shop.set_status("rayjob", first["metadata"]["name"], {"rayClusterStatus": {"conditions": [refused]}})
        second = shop.until("a RayJob with a submitter of its own", lambda: one("K8sJobMode"), 60)
        assert second["metadata"]["name"] != first["metadata"]["name"]
        shop.of("shop").work.clear()
        shop.set_status(
            "rayjob", second["metadata"]["name"], {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}
        )
        assert shop.ready("model", "adds")["status"]["job"] == second["metadata"]["name"]
    finally:
        shop.server.kubectl("delete", "crd", "rayjobs.ray.io", "--wait=false")
