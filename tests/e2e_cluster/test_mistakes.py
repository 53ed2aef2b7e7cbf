"""Mistakes that people make: each ends in a reason and a message that say what to do, and heals when it is mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e_cluster.conftest import namespace
from tests.e2e_cluster.kube import Failed, Kube, Manifest, condition, eventually
from tests.e2e_cluster.test_digits import outside_database

API = "superduper.io/v1alpha1"
DEADLINE = 60.0


def datalayer(name: str = "shop", **spec: Any) -> Manifest:
    base = {
        "databackend": {"provision": {"engine": "sqlite"}},
        "artifactStore": {"provision": {"engine": "filesystem"}},
    }
    return {"apiVersion": API, "kind": "Datalayer", "metadata": {"name": name}, "spec": {**base, **spec}}


def table(name: str = "numbers", rows: int = 20, **spec: Any) -> Manifest:
    source = f"def numbers():\n    for n in range({rows}):\n        yield {{'id': f'{{n:03}}', 'n': n}}\n"
    base = {
        "datalayerRef": {"name": "shop"},
        "fields": {"n": {"type": "int"}},
        "source": {"rows": {"callable": "numbers", "source": source}},
    }
    return {"apiVersion": API, "kind": "Table", "metadata": {"name": name}, "spec": {**base, **spec}}


def model(name: str, source: str = "def run(n):\n    return n + 1\n", **spec: Any) -> Manifest:
    base = {
        "datalayerRef": {"name": "shop"},
        "object": {"callable": "run", "source": source},
        "predict": {"table": "numbers", "inputs": ["n"], "output": {"type": "int"}},
        "compute": {"engine": "job"},
    }
    return {"apiVersion": API, "kind": "Model", "metadata": {"name": name}, "spec": {**base, **spec}}


@pytest.fixture(scope="module")
def shop(system: Kube) -> Iterator[Kube]:
    with namespace("mistakes") as kube:
        kube.apply([datalayer(), table()])
        kube.wait_ready("table", "numbers", seconds=120)
        yield kube


# What the API server refuses


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param({"databackned": {}}, 'spec.databackned', id="an unknown field"),
        pytest.param({"databackend": {"provision": {"engine": "oracle"}}}, "supported values", id="a bad enum"),
        pytest.param(
            {"databackend": {"uri": "sqlite://a.db", "provision": {"engine": "sqlite"}}},
            "exactly one of uri, uriFrom and provision must be given", id="two connections at once",
        ),
        pytest.param({"server": {"replicas": 2}}, "replicas", id="several writers on a single-writer store"),
    ],
)  # fmt: skip
def test_what_the_api_server_refuses_with_our_words(shop: Kube, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(Failed) as refused:
        shop.apply(datalayer("wrong", **spec))
    assert said.lower() in str(refused.value).lower()


def test_a_changed_immutable_field_is_refused_with_a_remedy(shop: Kube) -> None:
    with pytest.raises(Failed, match="immutable|cannot be changed"):
        shop.apply(table(primaryKey="n"))


# What the operator and the server find out


def test_a_broken_reference_heals_when_the_object_comes(shop: Kube) -> None:
    shop.apply(model("early", predict={"table": "later", "inputs": ["n"], "output": {"type": "int"}}))
    assert "later" in shop.wait_reason("model", "early", "DependencyNotReady", seconds=DEADLINE)
    shop.apply(table("later"))
    shop.wait_ready("model", "early", seconds=120)


def test_a_missing_secret_is_named_and_heals_when_it_comes(shop: Kube) -> None:
    secret, *rest = outside_database("late")
    by_secret = {"uriFrom": {"secretKeyRef": {"name": "late-app", "key": "uri"}}}
    shop.apply(rest)
    shop.apply(datalayer("waits", databackend=by_secret))
    assert "late-app" in shop.wait_reason("datalayer", "waits", "SecretMissing", seconds=DEADLINE)
    shop.apply([{**secret, "stringData": {"other": "x"}}])
    said = eventually(
        "the key is named",
        lambda: (m := condition(shop.get("datalayer", "waits")).get("message", "")) and "uri" in m and m,
        seconds=DEADLINE, see=shop.overview,
    )  # fmt: skip
    assert "late-app" in said
    shop.apply([secret])
    shop.wait_ready("datalayer", "waits", seconds=120)


def test_a_wrong_password_is_told_and_heals_when_it_is_mended(shop: Kube) -> None:
    secret, *rest = outside_database("door")
    uri = secret["stringData"]["uri"]
    shop.apply([{**secret, "stringData": {"uri": uri.replace("secret", "wrong")}}, *rest])
    shop("rollout", "status", "statefulset/door", "--timeout=90s")
    shop.apply(datalayer("locked", databackend={"uriFrom": {"secretKeyRef": {"name": "door-app", "key": "uri"}}}))
    said = shop.wait_reason("datalayer", "locked", "AccessDenied", seconds=DEADLINE)
    assert "wrong" not in said
    shop.apply([secret])
    shop.wait_ready("datalayer", "locked", seconds=180)


def test_an_unreachable_database_is_told_and_heals_when_it_comes(shop: Kube) -> None:
    uri = "postgresql://postgres:secret@absent:5432/app"
    shop.apply(datalayer("lonely", databackend={"uri": uri}))
    assert "absent" in shop.wait_reason("datalayer", "lonely", "Unreachable", seconds=DEADLINE)
    shop.apply(outside_database("absent"))
    shop.wait_ready("datalayer", "lonely", seconds=180)


def test_an_image_that_cannot_be_pulled_is_named(shop: Kube) -> None:
    wrong = {"spec": {"containers": [{"name": "server", "image": "localhost/nowhere:1"}]}}
    shop.apply(datalayer("pulls", server={"podTemplate": wrong}))
    assert "localhost/nowhere:1" in shop.wait_reason("datalayer", "pulls", "ImagePullFailed", seconds=DEADLINE)
    shop.apply(datalayer("pulls"))
    shop.wait_ready("datalayer", "pulls", seconds=120)


def test_resources_that_no_node_has_are_told(shop: Kube) -> None:
    shop.apply(datalayer("greedy", server={"resources": {"requests": {"cpu": "999"}}}))
    assert "cpu" in shop.wait_reason("datalayer", "greedy", "Unschedulable", seconds=DEADLINE)
    shop.apply(datalayer("greedy", server={"resources": {"requests": {"cpu": "10m"}}}))
    shop.wait_ready("datalayer", "greedy", seconds=120)


def test_a_models_job_whose_image_cannot_be_pulled_or_placed_is_told(shop: Kube) -> None:
    shop.apply(model("unpullable", compute={"engine": "job", "image": "localhost/nowhere:2"}))
    shop.apply(model("oversize", compute={"engine": "job", "resources": {"requests": {"cpu": "999"}}}))
    assert "localhost/nowhere:2" in shop.wait_reason("model", "unpullable", "ImagePullFailed", seconds=DEADLINE)
    assert "cpu" in shop.wait_reason("model", "oversize", "Unschedulable", seconds=DEADLINE)
    shop.apply([model("unpullable"), model("oversize")])
    shop.wait_ready("model", "unpullable", seconds=180)
    shop.wait_ready("model", "oversize", seconds=180)


def test_an_import_path_that_does_not_exist_is_named(shop: Kube) -> None:
    shop.apply(model("lost", object={"module": "no.such.module", "callable": "run"}))
    assert "no.such.module" in shop.wait_reason("model", "lost", "CodeFailed", seconds=DEADLINE)
    shop.apply(model("lost"))
    shop.wait_ready("model", "lost", seconds=180)


def test_a_model_that_raises_on_some_rows_keeps_the_others(shop: Kube) -> None:
    picky = "def run(n):\n    if n == 7:\n        raise ValueError('seven is not for me')\n    return n\n"
    shop.apply(model("picky", picky))
    found = shop.wait_ready("model", "picky", seconds=120)
    assert condition(found)["reason"] == "Partial"
    assert (found["status"]["predicted"], found["status"]["failed"]) == (19, 1)
    assert "seven is not for me" in shop.superduper("--datalayer", "shop", "errors", "picky")
    shop.apply(model("picky", "def run(n):\n    return n\n"))
    eventually(
        "all rows predicted", lambda: shop.get("model", "picky")["status"].get("coverage") == "20/20",
        seconds=120, see=shop.overview,
    )  # fmt: skip


def test_a_model_that_kills_its_process_ends_in_a_reason(shop: Kube) -> None:
    shop.apply(model("deadly", "import os, signal\n\ndef run(n):\n    os.kill(os.getpid(), signal.SIGKILL)\n"))
    assert "signal 9" in shop.wait_reason("model", "deadly", "Crashing", seconds=DEADLINE)
    shop.apply(model("deadly"))
    shop.wait_ready("model", "deadly", seconds=180)
