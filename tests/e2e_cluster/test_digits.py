"""The digits example on a cluster, by each way to store and to compute: the same rows and outputs as embedded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e_cluster.conftest import namespace
from tests.e2e_cluster.kube import REPOSITORY, Kube, Manifest, as_text, eventually

EXAMPLES = REPOSITORY / "examples"
Rows = Callable[[str], dict[Any, dict[str, Any]]]
ROWS = 1797


def manifests(folder: Path) -> list[Manifest]:
    return [each for file in sorted(folder.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text()) if each]


def as_it_should_be(kube: Kube, embedded: Rows, *, job_kind: str) -> None:
    model = kube.wait_ready("model", "classifier", seconds=300)
    status = model["status"]
    assert (status["rows"], status["predicted"], status.get("failed", 0), status.get("pending", 0)) == (
        ROWS,
        ROWS,
        0,
        0,
    )
    assert status["coverage"] == f"{ROWS}/{ROWS}"
    assert status["metrics"]["accuracy"] > 0.95
    assert kube.get("table", "digits")["status"]["rows"] == ROWS
    jobs = kube.list(job_kind, "superduper.io/model=classifier")
    assert [job["metadata"]["name"] for job in jobs] == [status["job"]], kube.overview()
    assert kube.rows("digits", "digits", "--outputs", "classifier") == embedded("digits")


def later_rows_are_predicted(kube: Kube) -> None:
    """Through the server, as a user inserts them: these alone are computed, and by the server, since they are few."""
    before = {job["metadata"]["name"] for job in kube.list("jobs", "superduper.io/model=classifier")}
    path = Path("/tmp") / f"{kube.namespace}-seven.png"
    try:
        seven().save(path)
        kube.superduper("--datalayer", "digits", "insert", "digits", "--set", "id=later", "--set", "label=7",
                        "--set", f"image={path}")  # fmt: skip
    finally:
        path.unlink(missing_ok=True)

    def output() -> Any:
        row = kube.rows("digits", "digits", "--outputs", "classifier").get("later")
        return row is not None and row["_outputs"]["classifier"] == 7

    eventually("the later row's output", output, seconds=60, see=kube.overview)
    eventually(
        "coverage in status", lambda: kube.get("model", "classifier")["status"]["coverage"] == f"{ROWS + 1}/{ROWS + 1}",
        seconds=30, see=kube.overview,
    )  # fmt: skip
    assert {job["metadata"]["name"] for job in kube.list("jobs", "superduper.io/model=classifier")} == before


def seven() -> Any:
    from PIL import Image
    from sklearn.datasets import load_digits

    return Image.fromarray((load_digits().images[7] * 15).astype("uint8"))


@pytest.fixture(scope="module")
def small(system: Kube) -> Iterator[Kube]:
    """SQLite and a folder on the server's volume, and a plain Job."""
    with namespace("digits-sqlite") as kube:
        kube.apply(EXAMPLES / "11-cluster-sqlite")
        yield kube


def test_sqlite_a_folder_and_a_plain_job(small: Kube, embedded: Rows) -> None:
    as_it_should_be(small, embedded, job_kind="jobs")


def test_rows_inserted_later_are_predicted_without_a_job(small: Kube) -> None:
    later_rows_are_predicted(small)


def test_new_code_leads_to_a_new_job_and_version_by_itself(small: Kube) -> None:
    before = small.get("model", "classifier")["status"]
    changed = next(m for m in manifests(EXAMPLES / "11-cluster-sqlite") if m["kind"] == "Model")
    object_ = changed["spec"]["training"]["object"]
    object_["source"] = object_["source"].replace("SVC(C=10)", "SVC(C=1)")
    small.apply(changed)

    def updated() -> bool:
        status = small.get("model", "classifier")["status"]
        return status["version"] > before["version"] and status.get("coverage") == f"{ROWS + 1}/{ROWS + 1}"

    eventually("a new version, predicted", updated, seconds=300, see=small.overview)
    assert small.get("model", "classifier")["status"]["job"] != before["job"]


def test_a_diff_after_ready_is_empty(small: Kube) -> None:
    small.wait_ready("model", "classifier")
    folder = EXAMPLES / "11-cluster-sqlite"
    others = [m for m in manifests(folder) if m["kind"] != "Model"]
    assert small("diff", "--server-side", "-f", "-", stdin=as_text(others)) == ""


def test_postgres_s3_and_a_rayjob(system: Kube, kuberay: None, embedded: Rows) -> None:
    with namespace("digits-ray") as kube:
        kube.apply(EXAMPLES / "10-cluster-digits")
        as_it_should_be(kube, embedded, job_kind="rayjobs.ray.io")
        job = kube.wait_succeeded()
        # KubeRay's sidecar says nothing of security, which a restricted namespace refuses; a pod of its own can.
        assert job["spec"]["submissionMode"] == "K8sJobMode"
        later_rows_are_predicted(kube)


def test_an_outside_database_by_secret(system: Kube, embedded: Rows) -> None:
    """The database is another datalayer's PostgreSQL, as far as this one knows it is anybody's."""
    with namespace("digits-outside") as kube:
        kube.apply(outside_database("outside"))
        kube("rollout", "status", "statefulset/outside", "--timeout=90s")
        objects = manifests(EXAMPLES / "11-cluster-sqlite")
        datalayer = next(m for m in objects if m["kind"] == "Datalayer")
        datalayer["spec"]["databackend"] = {"uriFrom": {"secretKeyRef": {"name": "outside-app", "key": "uri"}}}
        kube.apply(objects)
        as_it_should_be(kube, embedded, job_kind="jobs")
        assert "secret" not in kube.get("datalayer", "digits")["status"]["databackend"]
        later_rows_are_predicted(kube)


def outside_database(name: str, password: str = "secret", user: str = "postgres") -> list[Manifest]:
    """A PostgreSQL that the operator knows nothing of, and a Secret with its URI as CloudNativePG makes one."""
    labels = {"app": name}
    security = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 999,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    container = {
        "name": "postgres",
        "image": "localhost/postgres:15",
        "env": [
            {"name": "POSTGRES_PASSWORD", "value": password},
            {"name": "POSTGRES_USER", "value": user},
            {"name": "POSTGRES_DB", "value": "app"},
            {"name": "PGDATA", "value": "/data/pgdata"},
        ],
        "securityContext": security,
        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1"]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    volumes = [{"name": name, "emptyDir": {}} for name in ("data", "run", "tmp")]
    pod = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [container], "volumes": volumes, "securityContext": {"fsGroup": 999},
            "terminationGracePeriodSeconds": 2,
        },
    }  # fmt: skip
    uri = f"postgresql://{user}:{password}@{name}:5432/app"
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-app"}, "stringData": {"uri": uri}},
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 5432}]},
        },
        {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {"serviceName": name, "selector": {"matchLabels": labels}, "template": pod},
        },
    ]  # fmt: skip
