"""The images run as the charts and the operator start them: restricted, with a read-only root file system."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.test_cluster import BOUNDS, NOBODY, RESTRICTED, namespace
from tests.e2e_cluster.kube import Kube, eventually

OURS = ("operator", "runtime", "runtime-ray")


@pytest.fixture(scope="module")
def kube() -> Iterator[Kube]:
    with namespace(RESTRICTED) as found:
        yield found


def pod(name: str, image: str, user: int, container: dict[str, Any], *writable: str) -> dict[str, Any]:
    mounts = [{"name": f"v{number}", "mountPath": path} for number, path in enumerate(writable)]
    main = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": BOUNDS, **container}
    spec = {
        "restartPolicy": "Never",
        "securityContext": {**NOBODY, "runAsUser": user, "fsGroup": user},
        "terminationGracePeriodSeconds": 1,
        "containers": [{**main, "volumeMounts": mounts}],
        "volumes": [{"name": mount["name"], "emptyDir": {}} for mount in mounts],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def output(kube: Kube, image: str, *command: str) -> str:
    """What the command prints in a pod of that image."""
    name = f"run-{abs(hash((image, command))):x}"
    kube.apply([pod(name, f"localhost/superduper-{image}:dev", 65532, {"command": list(command)}, "/tmp")])
    kube("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    return kube("logs", name).strip()


@pytest.mark.parametrize("image", OURS)
def test_it_runs_with_our_python_and_what_it_imports_is_compiled(kube: Kube, image: str) -> None:
    look = "import superduper, platform, pathlib; print(platform.python_version_tuple()[:2], pathlib.Path(superduper.__cached__).exists())"
    assert output(kube, image, "python", "-c", look) == f"{platform.python_version_tuple()[:2]} True"


@pytest.mark.parametrize("image", ["runtime", "runtime-ray"])
def test_the_entrypoint_is_the_command_line(kube: Kube, image: str) -> None:
    kube.apply([pod(f"version-{image}", f"localhost/superduper-{image}:dev", 65532, {"args": ["version"]}, "/tmp")])
    kube("wait", f"pod/version-{image}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert importlib.metadata.version("superduper") in kube("logs", f"version-{image}")


def test_the_operator_has_neither_ray_nor_libraries_for_data_and_models(kube: Kube) -> None:
    heavy = ["ray", "numpy", "sklearn", "pymongo", "psycopg", "duckdb", "obstore", "ibis"]
    look = f"import importlib.util as u; print([name for name in {heavy} if u.find_spec(name)])"
    assert output(kube, "operator", "python", "-c", look) == "[]"


def test_jobs_have_the_ray_that_the_tests_have_and_what_kuberay_asks_for(kube: Kube) -> None:
    ray = importlib.metadata.version("ray")
    # A login shell, as older KubeRays start it, finds ray too.
    assert output(kube, "runtime-ray", "bash", "-lc", "command -v wget >/dev/null && ray --version").endswith(ray)


def test_the_database_keeps_the_contract_of_the_official_image(kube: Kube) -> None:
    given = {
        "POSTGRES_USER": "app",
        "POSTGRES_PASSWORD": "s e'c\"r$et",
        "POSTGRES_DB": "shop",
        "PGDATA": "/var/lib/postgresql/data/pgdata",
    }
    environment = [{"name": name, "value": value} for name, value in given.items()]
    writable = ("/var/lib/postgresql/data", "/var/run/postgresql", "/tmp")
    kube.apply([pod("postgres", "localhost/postgres:15", 999, {"env": environment}, *writable)])
    ask = (
        "exec",
        "postgres",
        "--",
        "sh",
        "-c",
        'PGPASSWORD=$POSTGRES_PASSWORD psql -h "$HOSTNAME" -U app shop -tc "select 1"',
    )
    assert eventually("it answers", lambda: kube(*ask).strip(), seconds=60, see=lambda: kube("logs", "postgres")) == "1"


def test_the_object_store_answers(kube: Kube) -> None:
    environment = [{"name": "ROOT_ACCESS_KEY", "value": "access"}, {"name": "ROOT_SECRET_KEY", "value": "secret-key"}]
    container = {
        "args": ["--port", ":9000", "--health", "/healthz", "posix", "--nometa", "/data"],
        "env": environment,
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 9000}, "periodSeconds": 1},
    }
    kube.apply([pod("s3", "localhost/versitygw:1", 65532, container, "/data", "/tmp")])
    kube("wait", "pod/s3", "--for=condition=Ready", "--timeout=60s")
