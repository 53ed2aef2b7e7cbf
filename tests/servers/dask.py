"""A dask scheduler, and two workers of it, each of which starts again when it is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers.base import Server, running

WORKERS = 2


class DaskScheduler(Server):
    name = "dask"

    def install(self) -> None:
        """It keeps nothing."""

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
        ]

    def check(self) -> None:
        self.workers()

    @property
    def uri(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        yield self.uri

    def workers(self) -> dict[str, int]:
        """Address and process id of each worker that is there."""
        from distributed import Client

        with Client(f"tcp://127.0.0.1:{self.port}", timeout=2, set_as_default=False) as client:
            return dict(client.run(os.getpid))


class DaskWorkers(Server):
    name = "dask-workers"

    def install(self) -> None:
        (self.directory / "scratch").mkdir()

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "dask", "worker", f"tcp://127.0.0.1:{self.scheduler.port}"),
            *("--host", "127.0.0.1", "--nworkers", str(WORKERS), "--nthreads", "1"),
            *("--no-dashboard", "--local-directory", str(self.directory / "scratch")),
        ]

    def check(self) -> None:
        found = len(self.scheduler.workers())
        if found < WORKERS:
            raise ConnectionError(f"{found} of {WORKERS} workers are there")

    @property
    def scheduler(self) -> DaskScheduler:
        return DaskScheduler(self.directory.parent)

    @property
    def uri(self) -> str:
        return self.scheduler.uri

    @contextmanager
    def fresh(self) -> Iterator[str]:
        yield self.uri


def start(root: Path) -> AbstractContextManager[DaskScheduler]:
    return running(DaskScheduler, root)
