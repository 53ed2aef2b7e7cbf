"""What breaks while objects are applied: pods, the operator, the control plane. Nothing is lost, doubled or stuck."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e_cluster.conftest import CLUSTER, namespace
from tests.e2e_cluster.kube import Kube, eventually
from tests.e2e_cluster.test_deletion import postgres
from tests.e2e_cluster.test_mistakes import model, table

COMPONENTS = ["kube-apiserver", "etcd", "kubelet", "containerd"]
OURS_TO_BREAK = bool(os.environ.get("CLUSTER_IS_OURS"))


@pytest.fixture(scope="module")
def lasting(system: Kube) -> Iterator[Kube]:
    with namespace("faults") as kube:
        kube.apply([postgres("Retain"), table(), model("adds")])
        kube.wait_ready("model", "adds", seconds=240)
        yield kube


def whole(kube: Kube, tables: int = 1) -> None:
    """Everything Ready, each row there once with its output."""
    for number in range(tables):
        suffix = "" if number == 0 else str(number)
        found = kube.wait_ready("model", f"adds{suffix}", seconds=240)
        assert found["status"]["coverage"] == "20/20"
        rows = kube.rows("shop", f"numbers{suffix}", "--outputs", f"adds{suffix}")
        assert {row["n"]: row["_outputs"][f"adds{suffix}"] for row in rows.values()} == {n: n + 1 for n in range(20)}


def test_data_survives_each_pod_deleted_once(lasting: Kube) -> None:
    for pod in [p for p in lasting.list("pods") if p["status"]["phase"] == "Running"]:
        lasting("delete", "pod", pod["metadata"]["name"], "--timeout=60s")
    lasting.wait_ready("datalayer", "shop", seconds=120)
    whole(lasting)


def more(number: int) -> list[dict]:
    """A further table with a model on it."""
    further = model(f"adds{number}")
    further["spec"]["predict"]["table"] = f"numbers{number}"
    return [table(f"numbers{number}"), further]


def test_the_leader_killed_in_the_middle_of_an_apply_is_followed_by_the_other(lasting: Kube, system: Kube) -> None:
    lasting.apply(more(1))
    holder = eventually("a leader", lambda: system.list("leases"), seconds=30)[0]["spec"]["holderIdentity"]
    leader = next(p["metadata"]["name"] for p in system.list("pods") if holder.startswith(p["metadata"]["name"]))
    system("delete", "pod", leader, "--grace-period=0", "--force")
    whole(lasting, 2)
    jobs = lasting.list("jobs", "superduper.io/model=adds1")
    assert len(jobs) <= 1, "the work was done twice"


@pytest.mark.skipif(not OURS_TO_BREAK, reason="the cluster is somebody else's: its components are not killed")
@pytest.mark.parametrize("number", range(len(COMPONENTS)), ids=COMPONENTS)
def test_a_component_of_the_cluster_killed_while_objects_are_applied(lasting: Kube, number: int) -> None:
    objects = more(2 + number)
    lasting.apply(objects[:1])
    subprocess.run([str(CLUSTER / "crash"), COMPONENTS[number]], check=True, timeout=60)
    eventually("applied", lambda: lasting.apply(objects[1:]), seconds=90)
    suffix = 2 + number
    found = lasting.wait_ready("model", f"adds{suffix}", seconds=240)
    assert found["status"]["coverage"] == "20/20"
    whole(lasting)
    assert len(lasting.list("jobs", f"superduper.io/model=adds{suffix}")) <= 1
