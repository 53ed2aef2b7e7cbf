"""Work in the cluster: jobs that are killed go on, code from a ConfigMap is followed, a server behind TLS in two replicas."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from urllib.request import Request

import pytest

from tests.e2e_cluster.kube import Kube, Manifest, eventually, run
from tests.e2e_cluster.test_mistakes import datalayer, model, table

SLOW = """import os, time

def run(n):
    time.sleep(0.5)
    return os.environ["HOSTNAME"]
"""
BY_HOST = {"table": "numbers", "inputs": ["n"], "output": {"type": "str"}, "batchSize": 2}


def outputs(kube: Kube, name: str) -> list[str]:
    rows = kube.rows("shop", "numbers", "--outputs", name)
    return [value for row in rows.values() if (value := row["_outputs"][name]) is not None]


def test_a_job_whose_pod_is_killed_goes_on_and_repeats_only_what_was_in_flight(kube: Kube) -> None:
    kube.apply([datalayer(), table(rows=40), model("slow", SLOW, predict=BY_HOST)])
    eventually("some rows are predicted", lambda: len(outputs(kube, "slow")) >= 6, seconds=120, see=kube.overview)
    [pod] = [p for p in kube.list("pods", "superduper.io/model=slow") if p["status"]["phase"] == "Running"]
    first = pod["metadata"]["name"]
    kube("delete", "pod", first, "--grace-period=0", "--force")
    done = outputs(kube, "slow").count(first)
    assert done >= 6
    found = kube.wait_ready("model", "slow", seconds=180)
    assert found["status"]["coverage"] == "40/40"
    hosts = outputs(kube, "slow")
    assert len(hosts) == 40
    assert hosts.count(first) >= done, "what the first pod had done was done again"
    assert len(set(hosts)) == 2
    assert len(kube.list("jobs", "superduper.io/model=slow")) == 1


def test_code_in_a_config_map_that_changes_is_a_new_version_without_a_restart(kube: Kube) -> None:
    def config_map(text: str) -> Manifest:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"model.py": text}}

    taken = {"callable": "run", "sourceFrom": {"configMapKeyRef": {"name": "code", "key": "model.py"}}}
    kube.apply([datalayer(), table(), model("adds", object=taken)])
    assert "code" in kube.wait_reason("model", "adds", "ConfigMapMissing", seconds=90)
    kube.apply(config_map("def run(n):\n    return n + 1\n"))
    assert kube.wait_ready("model", "adds", seconds=120)["status"]["version"] == 0
    kube.apply(config_map("def run(n):\n    return n + 2\n"))

    def followed() -> bool:
        status = kube.get("model", "adds")["status"]
        return status["version"] == 1 and status["coverage"] == "20/20"

    eventually("the new code's version, predicted", followed, seconds=150, see=kube.overview)
    rows = kube.rows("shop", "numbers", "--outputs", "adds")
    assert {row["n"]: row["_outputs"]["adds"] for row in rows.values()} == {n: n + 2 for n in range(20)}


def test_a_rayjob_with_a_worker_is_submitted_by_a_sidecar_where_the_namespace_admits_it(
    kube: Kube, kuberay: None
) -> None:
    """KubeRay's sidecar says nothing of security: here it need not."""
    run("kubectl", "label", "namespace", kube.namespace, "pod-security.kubernetes.io/enforce-")
    ray = {"engine": "ray", "workers": 1, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}}
    kube.apply([datalayer(), table(), model("adds", compute=ray)])
    found = kube.wait_ready("model", "adds", seconds=240)
    assert found["status"]["coverage"] == "20/20"
    job = kube.wait_succeeded()
    assert job["spec"]["submissionMode"] == "SidecarMode"
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


@pytest.fixture
def certificate(tmp_path: Path, kube: Kube) -> Manifest:
    """A Secret as cert-manager makes one, for the names of the Service."""
    names = ",".join(f"DNS:shop-server.{kube.namespace}.svc{rest}" for rest in ("", ".cluster.local"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", "tls.key", "-out", "tls.crt", "-days", "2", "-subj", "/CN=shop"]
    subprocess.run(
        [*command, *files, "-addext", f"subjectAltName={names},IP:127.0.0.1"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    text = {name: (tmp_path / name).read_text() for name in ("tls.crt", "tls.key")}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-tls"}, "type": "kubernetes.io/tls",
        "stringData": {**text, "ca.crt": text["tls.crt"]},
    }  # fmt: skip


def test_two_replicas_behind_tls_serve_a_job_and_a_user(kube: Kube, certificate: Manifest, tmp_path: Path) -> None:
    server = {"replicas": 2, "tls": {"secretRef": {"name": "shop-tls"}}}
    stores = {
        "databackend": {"provision": {"engine": "postgres"}}, "artifactStore": {"provision": {"engine": "s3"}},
    }  # fmt: skip
    kube.apply([certificate, datalayer(server=server, **stores), table(), model("adds")])
    found = kube.wait_ready("model", "adds", seconds=240)
    assert found["status"]["coverage"] == "20/20"
    assert kube.get("datalayer", "shop")["status"]["endpoint"].startswith("https://")
    eventually(
        "two replicas ready", lambda: kube.get("deployment", "shop-server")["status"].get("readyReplicas") == 2,
        seconds=90, see=kube.overview,
    )  # fmt: skip
    assert len(kube.rows("shop", "numbers", "--outputs", "adds")) == 20
    authority = tmp_path / "ca.crt"
    authority.write_text(base64.b64decode(kube.get("secret", "shop-tls")["data"]["ca.crt"]).decode())
    from superduper.cli.kubectl import PUBLIC, Kubectl

    with Kubectl(kube.namespace).forwarded("service/shop-server", PUBLIC) as port:
        import ssl
        from urllib.request import urlopen

        request = Request(
            f"https://127.0.0.1:{port}/v1/tables/numbers/rows?limit=1",
            headers={"Authorization": f"Bearer {kube.token('shop')}"},
        )
        with urlopen(request, context=ssl.create_default_context(cafile=str(authority)), timeout=20) as answer:
            assert "id" in json.loads(answer.readline())
