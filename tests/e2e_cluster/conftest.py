"""What the scenarios stand on: the operator, installed as a user installs it, and a namespace for each test.

KUBECONFIG names the cluster. Every namespace is labelled so that pods below the restricted standard are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e_cluster.kube import REPOSITORY, Failed, Kube, eventually, helm, run

SYSTEM = "superduper-system"
VALUES = Path(__file__).with_name("values.yaml")
CLUSTER = REPOSITORY / "tests" / "cluster"


def pytest_configure(config: pytest.Config) -> None:
    if not os.environ.get("KUBECONFIG"):
        raise pytest.UsageError("KUBECONFIG is not set: run make e2e, or name a cluster by it")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _DURATIONS.append((report.nodeid.split("::", 1)[-1], report.duration, report.outcome))


_DURATIONS: list[tuple[str, float, str]] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_sep("-", "scenarios, and seconds that each took")
    for name, seconds, outcome in _DURATIONS:
        terminalreporter.write_line(f"{outcome:8} {seconds:7.1f}  {name}")


@pytest.fixture(scope="session")
def system() -> Iterator[Kube]:
    """The operator's namespace, with the operator in it, installed by helm."""
    kube = Kube(SYSTEM)
    make_namespace(SYSTEM)
    helm(
        "upgrade",
        "--install",
        "superduper",
        "helm/superduper",
        "-n",
        SYSTEM,
        "-f",
        str(VALUES),
        "--wait",
        "--timeout",
        "3m",
    )
    return kube


@pytest.fixture
def kube(system: Kube, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """An empty namespace, gone afterwards with all that was in it."""
    with namespace(request.node.name) as found:
        yield found


@pytest.fixture(scope="module")
def shared(system: Kube, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """One namespace for all tests of a module that build on each other."""
    with namespace(request.module.__name__.rpartition(".")[2]) as found:
        yield found


@contextlib.contextmanager
def namespace(name: str) -> Iterator[Kube]:
    short = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")[:40].rstrip("-")
    found = Kube(f"{short}-{uuid.uuid4().hex[:4]}")
    make_namespace(found.namespace)
    try:
        yield found
    finally:
        if not os.environ.get("KEEP_NAMESPACES"):
            remove(found)


def make_namespace(name: str) -> None:
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    run("kubectl", "apply", "--server-side", "-f", "-", stdin=text)


def remove(found: Kube) -> None:
    """Our objects first, as a user would, so that finalizers are seen to let go; then the namespace."""
    for kinds in ("models", "tables", "datatypes", "datalayers"):
        found("delete", kinds, "--all", "--timeout=60s", seconds=90)
    # What a pod is given to end well is of no interest here, and the namespace waits for it.
    found("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
    run("kubectl", "delete", "namespace", found.namespace, "--wait=false")


@pytest.fixture(scope="session")
def kuberay(system: Kube) -> None:
    """KubeRay, installed while the operator runs: it must find out by itself."""
    if "rayjobs.ray.io" not in run("kubectl", "get", "crds", "-o", "name"):
        run(str(CLUSTER / "kuberay" / "install"), seconds=180)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[Any, dict[str, Any]]]:
    """Rows of the digits example, with outputs, as the embedded run of the same manifests gives them."""
    home = tmp_path_factory.mktemp("embedded")
    command = [str(Path(sys.executable).parent / "superduper"), "--home", str(home)]
    folder = REPOSITORY / "examples" / "01-digits"
    subprocess.run([*command, "apply", "-f", str(folder)], check=True, capture_output=True, cwd=home, timeout=300)

    def rows(table: str) -> dict[Any, dict[str, Any]]:
        text = run(*command, "query", table, "--outputs", "classifier", "--limit", "0", "--json")
        return {row["id"]: row for row in map(json.loads, text.splitlines())}

    return rows


__all__ = ["Failed", "eventually", "time"]
