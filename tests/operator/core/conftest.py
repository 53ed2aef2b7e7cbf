"""A namespace of the real API server, with our CRDs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.apiserver import ApiServer

CRDS = Path(__file__).parents[3] / "crds"


@pytest.fixture(scope="session")
def kubernetes(apiserver_server: ApiServer) -> ApiServer:
    apiserver_server.install_crds(CRDS)
    return apiserver_server


@pytest.fixture
def namespace(kubernetes: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
    with kubernetes.fresh() as name:
        yield name
