"""A server for each test, or one for those of a module that do not mind what others did."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.server.served import Served

Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers; those that are left are killed."""
    started: list[Served] = []

    def make(*options: str, **settings: str) -> Served:
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        started.append(Served(folder, *options, **settings))
        return started[-1].start()

    yield make
    for one in started:
        one.stop(signal.SIGKILL)
        assert "Traceback" not in one.logged(), one.logged()


@pytest.fixture
def server(serve: Serve) -> Served:
    return serve().ready()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with the table ``t`` of ten rows (``x`` from 0) for all tests of a module that only look."""
    one = Served(tmp_path_factory.mktemp("shared")).start().ready()
    try:
        one.put("Table", "t", fields={"x": {"type": "int"}, "s": {"type": "str"}})
        one.insert("t", *({"id": f"r{n}", "x": n, "s": f"s{n}"} for n in range(10)))
        yield one
    finally:
        one.stop(signal.SIGKILL)
