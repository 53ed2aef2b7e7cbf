"""Every compute: in this process, on a cluster of one's own, on the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from superduper.backends import registry
from superduper.backends.base.compute import ComputeBackend

COMPUTES = ("local", "dask", "scheduler")


@pytest.fixture(params=COMPUTES)
def compute_uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("dask_uri") if request.param == "scheduler" else request.param)


@pytest.fixture(scope="module")
def own_dask() -> Iterator[ComputeBackend]:
    """Started once: its cluster takes a second."""
    made = registry.compute_backend("dask")
    yield made
    made.close()


@pytest.fixture
def compute(compute_uri: str, request: pytest.FixtureRequest) -> Iterator[ComputeBackend]:
    if compute_uri == "dask":
        yield request.getfixturevalue("own_dask")
        return
    made = registry.compute_backend(compute_uri)
    yield made
    made.close()
