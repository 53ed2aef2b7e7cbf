"""Every compute: in this process, on a cluster of one's own, on the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from superduper.backends import registry
from superduper.backends.base.compute import ComputeBackend

COMPUTES = {"local": "", "dask": "", "scheduler": "dask_uri", "ray": "", "head": "ray_uri"}
"""Each, and the fixture that gives its URI, where that is not its name."""


@pytest.fixture(params=COMPUTES)
def compute_uri(request: pytest.FixtureRequest) -> str:
    fixture = COMPUTES[request.param]
    return str(request.getfixturevalue(fixture) if fixture else request.param)


@pytest.fixture(scope="module")
def own_dask() -> Iterator[ComputeBackend]:
    """Started once: its cluster takes a second."""
    made = registry.compute_backend("dask")
    yield made
    made.close()


@pytest.fixture(scope="module")
def own_ray() -> Iterator[ComputeBackend]:
    """Started once: its cluster takes five."""
    made = registry.compute_backend("ray")
    yield made
    made.close()


@pytest.fixture(params=["own_dask", "own_ray"])
def own(request: pytest.FixtureRequest) -> ComputeBackend:
    """Clusters of one's own."""
    found: ComputeBackend = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def compute(compute_uri: str, request: pytest.FixtureRequest) -> Iterator[ComputeBackend]:
    if compute_uri in ("dask", "ray"):
        yield request.getfixturevalue(f"own_{compute_uri}")
        return
    made = registry.compute_backend(compute_uri)
    yield made
    made.close()
