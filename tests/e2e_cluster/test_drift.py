"""What somebody changes by hand comes back; what is as it should be is left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e_cluster.conftest import namespace
from tests.e2e_cluster.kube import Kube, Manifest, as_text, eventually, run
from tests.e2e_cluster.test_mistakes import datalayer, model, table

QUIET_SECONDS = 120.0
BACK_WITHIN = 5.0
CHILDREN = "deployments,statefulsets,services,persistentvolumeclaims,secrets,networkpolicies,jobs,datalayers,datatypes,tables,models"


# One of each way to store, since what is compared is what the API server makes of each object.
VAULT = {"databackend": {"provision": {"engine": "postgres"}}, "artifactStore": {"provision": {"engine": "s3"}}}
IN_VAULT = {"datalayerRef": {"name": "vault"}}


def objects() -> list[Manifest]:
    here = [datalayer(), table(), model("adds")]
    there = {"table": "digits", "inputs": ["n"], "output": {"type": "int"}}
    return [*here, datalayer("vault", **VAULT), table("digits", **IN_VAULT), model("grows", predict=there, **IN_VAULT)]


@pytest.fixture(scope="module")
def settled(system: Kube) -> Iterator[Kube]:
    with namespace("drift") as kube:
        kube.apply(objects())
        for name in ("adds", "grows"):
            kube.wait_ready("model", name, seconds=180)
        yield kube


def test_a_diff_after_ready_is_empty(settled: Kube) -> None:
    assert settled("diff", "--server-side", "-f", "-", stdin=as_text(objects())) == ""


@pytest.mark.parametrize("child", ["service/shop-server", "deployment/shop-server", "networkpolicy/shop-server"])
def test_a_deleted_child_comes_back(settled: Kube, child: str) -> None:
    kind, name = child.split("/")
    before = settled.get(kind, name)["metadata"]["uid"]
    settled("delete", kind, name, "--wait=false")

    def back() -> bool:
        found = settled.find(kind, name)
        return found is not None and found["metadata"]["uid"] != before and "deletionTimestamp" not in found["metadata"]

    eventually(f"{child} back", back, seconds=BACK_WITHIN, see=settled.overview)
    settled.wait_ready("datalayer", "shop", seconds=120)


def test_an_edited_child_is_set_right_and_a_foreign_field_is_left(settled: Kube) -> None:
    settled("annotate", "service", "shop-server", "somebody.example/note=mine")
    patch = json.dumps({"spec": {"ports": [{"name": "http", "port": 8000, "targetPort": 1}]}})
    settled("patch", "service", "shop-server", "--type=merge", "-p", patch)
    eventually(
        "the port is back",
        lambda: settled.get("service", "shop-server")["spec"]["ports"][0]["targetPort"] != 1,
        seconds=BACK_WITHIN, see=settled.overview,
    )  # fmt: skip
    assert settled.get("service", "shop-server")["metadata"]["annotations"]["somebody.example/note"] == "mine"


def test_while_nothing_changes_nothing_is_written(settled: Kube) -> None:
    for kind, name in (("datalayer", "shop"), ("model", "adds"), ("datalayer", "vault"), ("model", "grows")):
        settled.wait_ready(kind, name, seconds=120)
    eventually("no pod is on its way", lambda: not _unready(settled), seconds=60, see=settled.overview)
    # What the last change led to (events of endpoints, the last status) is written by now.
    before = eventually("two looks agree", lambda: _same_after_a_moment(settled), seconds=60)
    time.sleep(QUIET_SECONDS)
    assert _versions(settled) == before


def _unready(kube: Kube) -> list[str]:
    pods = [p for p in kube.list("pods") if p["status"]["phase"] not in ("Succeeded", "Failed")]
    return [
        p["metadata"]["name"]
        for p in pods
        if not all(c["ready"] for c in p["status"].get("containerStatuses", [{"ready": False}]))
    ]


def _same_after_a_moment(kube: Kube) -> dict[str, Any] | None:
    before = _versions(kube)
    time.sleep(3)
    return before if _versions(kube) == before else None


def _versions(kube: Kube) -> dict[str, str]:
    found = json.loads(run("kubectl", "-n", kube.namespace, "get", CHILDREN, "-o", "json"))["items"]
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in found}


def test_a_paused_object_is_left_alone_until_the_pause_ends(settled: Kube) -> None:
    settled("annotate", "datalayer", "shop", "superduper.io/paused=true")
    settled.wait_reason("datalayer", "shop", "Paused")
    settled("delete", "networkpolicy", "shop-server")
    time.sleep(BACK_WITHIN)
    assert settled.find("networkpolicy", "shop-server") is None
    settled("annotate", "datalayer", "shop", "superduper.io/paused-")
    eventually(
        "back", lambda: settled.find("networkpolicy", "shop-server"), seconds=BACK_WITHIN * 2, see=settled.overview
    )
    settled.wait_ready("datalayer", "shop")


def test_a_suspended_model_runs_nothing(settled: Kube) -> None:
    settled.apply(model("sleeps", suspend=True))
    settled.wait_reason("model", "sleeps", "Suspended")
    assert settled.list("jobs", "superduper.io/model=sleeps") == []
    settled.apply(model("sleeps", suspend=False))
    found = settled.wait_ready("model", "sleeps", seconds=120)
    assert found["status"]["coverage"] == "20/20"
