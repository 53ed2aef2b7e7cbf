"""Our CRDs on the session's API server, and a namespace for each test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver.client import Client, manifest
from tests.servers.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
CODE = {"module": "math", "callable": "sqrt"}
REFUSED = manifest(
    "Model", {"datalayerRef": {"name": "d"}, "object": CODE, "predict": {"table": "t", "inputs": "no list"}}
)


@pytest.fixture(scope="session")
def crds(apiserver_server: ApiServer) -> ApiServer:
    """The server once it knows our kinds and asks the admission policy."""
    apiserver_server.install_crds(ROOT / "crds")
    client = Client(apiserver_server, "default")
    end = time.monotonic() + 60
    while "inputs must be a list" not in (seen := client.create(REFUSED).message):
        assert time.monotonic() < end, f"the admission policy is not asked: {seen}"
        time.sleep(0.1)
    return apiserver_server


@pytest.fixture(scope="session")
def checking(crds: ApiServer) -> Client:
    """For requests that change nothing."""
    return Client(crds, "default")


@pytest.fixture
def client(crds: ApiServer) -> Iterator[Client]:
    """In an empty namespace."""
    with crds.fresh() as namespace:
        yield Client(crds, namespace)
