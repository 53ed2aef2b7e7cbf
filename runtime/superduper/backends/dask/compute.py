"""Compute on the workers of a dask cluster: one of its own on this machine, or that of a scheduler."""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from threading import Lock

from distributed import Client

from superduper import config
from superduper.backends.base.compute import Batch, ComputeBackend, Done, Predict
from superduper.backends.base.worker import KEPT, readable
from superduper.backends.dask.cluster import OwnCluster
from superduper.backends.dask.run import Run, Session
from superduper.code import describe
from superduper.errors import ModelError, Unreachable, UriError

PORT = 8786
GREETING = 1 << 20
"""More bytes than a scheduler's greeting ever has."""
_ADDRESS = re.compile(r"dask://(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?/?")


class DaskComputeBackend(ComputeBackend):
    """``dask``: a cluster of its own, started with the first batch; ``dask://host:8786``: an existing scheduler.

    Up to four batches are in flight, each as large as a quarter of the budget. A worker that dies is survived.
    Raises UriError; Unreachable where no scheduler answers within ``CFG.connect_timeout`` seconds.
    """

    elsewhere = True

    def __init__(self, uri: str = "dask") -> None:
        self.uri = uri
        self._scheduler = _scheduler(uri)
        self._lock = Lock()
        self._session: Session | None = None
        self._cluster: OwnCluster | None = None
        self._pid = os.getpid()
        if self._scheduler is not None:
            self._connected()

    def map(self, predict: Predict, batches: Iterable[Batch]) -> Iterator[Done]:
        waiting = iter(batches)
        first = next(waiting, None)
        if first is not None:
            yield from Run(self._connected(), predict, KEPT).over(chain((first,), waiting))

    def check_folder(self, folder: Path) -> None:
        session = self._connected()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder.resolve() / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        try:
            with session.translated():
                answers = session.client.run(readable, str(probe))
        finally:
            probe.unlink()
        blind = [address for address, sees in answers.items() if not sees]
        if blind:
            raise ModelError(
                f"the model reads files, which are copied out to {folder.resolve()}, and the dask workers "
                f"{', '.join(blind)} do not see that folder: put home= on a volume that they share, run them on this "
                "machine, or let this model run in this process by its compute='local'"
            )

    def close(self) -> None:
        """Let go of the scheduler; end the cluster if it is one's own."""
        with self._lock:
            self._let_go()

    def _connected(self) -> Session:
        with self._lock:
            if self._session is not None and self._pid == os.getpid() and self._session.client.status == "running":
                return self._session
            self._let_go()
            self._pid = os.getpid()
            if self._scheduler is None:
                self._cluster = OwnCluster()
                self._session = Session(_client(self._cluster.address, self.uri), self._cluster.address)
            else:
                self._session = Session(_client(self._scheduler, self.uri), self._scheduler)
            return self._session

    def _let_go(self) -> None:
        session, self._session = self._session, None
        cluster, self._cluster = self._cluster, None
        if self._pid != os.getpid():
            return  # they are the parent's
        if session is not None:
            session.client.close()
        if cluster is not None:
            cluster.close()

    def __repr__(self) -> str:
        return f"<superduper.backends.dask.DaskComputeBackend {self.uri} {id(self):#x}>"


def _scheduler(uri: str) -> str | None:
    """``tcp://host:port``, or None for a cluster of one's own."""
    if uri == "dask":
        return None
    found = _ADDRESS.fullmatch(uri)
    port = int(found["port"] or PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise UriError(
            "a dask scheduler is given as dask://host:8786, with nothing before or after it, and a cluster of one's "
            "own on this machine as dask"
        )
    return f"tcp://{found['host']}:{port}"


def _client(address: str, uri: str) -> Client:
    deadline = float(config.CFG.connect_timeout)
    end = time.monotonic() + deadline
    try:
        _probe(address, deadline)
        return Client(address, timeout=max(0.1, end - time.monotonic()), set_as_default=False, name="superduper")
    except (OSError, ValueError) as error:
        raise Unreachable(
            f"no dask scheduler answers at {address} within {deadline:g} s ({uri}): {describe(error)}; "
            "check the address, or start one with dask scheduler"
        ) from error


def _probe(address: str, deadline: float) -> None:
    """Raises OSError where nothing listens, or not a dask scheduler: its client waits for ever for a first message."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=deadline) as connection:
        first = connection.recv(8)
    # A scheduler begins with its greeting, and that with its length; other servers wait, or begin with text.
    if len(first) < 8 or int.from_bytes(first, "little") > GREETING:
        raise ConnectionError("what listens there is no dask scheduler")
