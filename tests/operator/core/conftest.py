"""A namespace of the real API server, with our CRDs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.apiserver import ApiServer

ROOT = Path(__file__).parents[3]
CRDS = ROOT / "crds"
Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture(scope="session")
def kubernetes(apiserver_server: ApiServer) -> ApiServer:
    apiserver_server.install_crds(CRDS)
    return apiserver_server


@pytest.fixture
def namespace(kubernetes: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    with kubernetes.fresh() as name:
        yield name


@pytest.fixture
def start(namespace: str, tmp_path: Path) -> Iterator[Start]:
    """A replica as a process of its own; its log is <name>.log."""
    with ExitStack() as stack:

        def replica(name: str) -> subprocess.Popen[bytes]:
            prefix = "SUPERDUPER_OPERATOR_"
            environment = {
                **os.environ,
                f"{prefix}NAMESPACE": namespace,
                f"{prefix}NAMESPACES": namespace,
                f"{prefix}POD_NAME": name,
                f"{prefix}PORT": "0",
            }
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            command = [sys.executable, "-m", "tests.operator.core.replica"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield replica
