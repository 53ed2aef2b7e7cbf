"""Objects that are deleted: what stays, what goes, what waits."""

from __future__ import annotations

import pytest

from tests.e2e_cluster.kube import Kube, Manifest, eventually
from tests.e2e_cluster.test_digits import outside_database
from tests.e2e_cluster.test_mistakes import datalayer, model, table


def postgres(policy: str) -> Manifest:
    return datalayer(
        databackend={"provision": {"engine": "postgres", "storage": "1Gi"}}, deletionPolicy=policy,
        server={"resources": {"requests": {"cpu": "10m"}}},
    )  # fmt: skip


def filled(kube: Kube, first: Manifest) -> None:
    kube.apply([first, table(), model("adds")])
    found = kube.wait_ready("model", "adds", seconds=240)
    assert found["status"]["coverage"] == "20/20"


def test_a_datalayer_in_use_waits_and_retained_data_is_there_when_it_comes_again(kube: Kube) -> None:
    filled(kube, postgres("Retain"))
    kube("delete", "datalayer", "shop", "--wait=false")
    said = kube.wait_reason("datalayer", "shop", "InUse")
    assert "adds" in said or "numbers" in said
    kube("delete", "model", "adds", "--timeout=60s")
    kube("delete", "table", "numbers", "--timeout=60s")
    kube.wait_gone("datalayer", "shop")
    eventually("the server is gone", lambda: not kube.list("deployments"), seconds=60, see=kube.overview)
    claims = {claim["metadata"]["name"] for claim in kube.list("persistentvolumeclaims")}
    assert claims, "the volumes were to be retained"
    emptied = table()
    del emptied["spec"]["source"]
    kube.apply([postgres("Retain"), emptied])
    found = kube.wait_ready("table", "numbers", seconds=180)
    assert found["status"]["rows"] == 20


def test_delete_removes_the_data(kube: Kube) -> None:
    filled(kube, postgres("Delete"))
    for kind, name in (("model", "adds"), ("table", "numbers"), ("datalayer", "shop")):
        kube("delete", kind, name, "--timeout=90s")
    eventually(
        "no volume is left", lambda: not kube.list("persistentvolumeclaims"), seconds=90, see=kube.overview
    )  # fmt: skip
    eventually("no pod is left", lambda: not kube.list("pods"), seconds=60, see=kube.overview)
    assert [s["metadata"]["name"] for s in kube.list("secrets")] == []


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_everything_can_be_deleted_while_the_database_is_down(kube: Kube, policy: str) -> None:
    kube.apply([datalayer(databackend={"uri": "postgresql://u:p@nowhere:5432/x"}, deletionPolicy=policy)])
    kube.apply([table(deletionPolicy=policy), model("adds", deletionPolicy=policy)])
    kube.wait_reason("datalayer", "shop", "Unreachable")
    for kind, name in (("model", "adds"), ("table", "numbers"), ("datalayer", "shop")):
        kube("delete", kind, name, "--timeout=90s", seconds=100)
        assert kube.find(kind, name) is None


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_everything_can_be_deleted_when_a_database_with_data_in_it_is_gone(kube: Kube, policy: str) -> None:
    kube.apply(outside_database("outside"))
    kube("rollout", "status", "statefulset/outside", "--timeout=90s")
    by_secret = {"uriFrom": {"secretKeyRef": {"name": "outside-app", "key": "uri"}}}
    kube.apply([datalayer(databackend=by_secret, deletionPolicy=policy)])
    kube.apply([table(deletionPolicy=policy), model("adds", deletionPolicy=policy)])
    kube.wait_ready("model", "adds", seconds=240)
    kube("delete", "statefulset", "outside", "--timeout=60s")
    eventually(
        "the database is gone", lambda: not kube.list("pods", "app=outside"), seconds=60, see=kube.overview
    )  # fmt: skip
    for kind, name in (("model", "adds"), ("table", "numbers"), ("datalayer", "shop")):
        kube("delete", kind, name, "--timeout=90s", seconds=100)
    if policy == "Delete":
        said = [event for event in kube.list("events") if event["reason"] == "LeftBehind"]
        assert {event["involvedObject"]["name"] for event in said} == {"adds", "numbers"}
