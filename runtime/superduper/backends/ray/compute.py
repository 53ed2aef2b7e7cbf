"""Compute on actors of a Ray cluster: one of its own on this machine, the one that this process is in, or one elsewhere."""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from threading import Lock

import ray as _ray  # noqa: F401 - that it is installed is known when the compute is chosen, not at the first batch

from superduper import config
from superduper.backends.base.compute import Batch, ComputeBackend, Done, Predict
from superduper.backends.ray import wire
from superduper.backends.ray.program import Program
from superduper.backends.ray.run import Run, refuse
from superduper.backends.ray.wire import Message
from superduper.code import describe
from superduper.errors import ModelError, Unreachable, UriError

PORT = 10001
_ADDRESS = re.compile(r"ray://(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?/?")


class RayComputeBackend(ComputeBackend):
    """``ray``: the cluster that RAY_ADDRESS names, as in a pod of one or in a job, else one of its own, started with the
    first batch; ``ray://host:10001``: the cluster with that client server.

    Batches in flight come to ``budget`` bytes at the most. A worker that dies is survived. Raises UriError; Unreachable
    where nothing listens within ``CFG.connect_timeout`` seconds.
    """

    elsewhere = True

    def __init__(self, uri: str = "ray") -> None:
        self.uri = uri
        self._address = _address(uri)
        self._lock = Lock()
        self._program: Program | None = None
        self._pid = os.getpid()
        if uri != "ray":
            _probe(self._address)

    def map(self, predict: Predict, batches: Iterable[Batch]) -> Iterator[Done]:
        waiting = iter(batches)
        first = next(waiting, None)
        if first is not None:
            yield from Run(self._connected(), predict, self.budget).over(chain((first,), waiting))

    def check_folder(self, folder: Path) -> None:
        program = self._connected()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder.resolve() / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        try:
            with program.connection() as connection:
                wire.send(connection, Message("folder", text=str(probe)))
                answer = wire.receive(connection)
        except (OSError, EOFError) as error:
            raise program.lost(error) from error
        finally:
            probe.unlink()
        if answer.word != "done":
            refuse(answer, program.address)
        if blind := json.loads(answer.text):
            raise ModelError(
                f"the model reads files, which are copied out to {folder.resolve()}, and the ray workers on "
                f"{', '.join(blind)} do not see that folder: put home= on a volume that they share, run them on this "
                "machine, or let this model run in this process by its compute='local'"
            )

    def close(self) -> None:
        """Let go of the cluster; end it if it is one's own."""
        with self._lock:
            self._let_go()

    def _connected(self) -> Program:
        with self._lock:
            if self._program is not None and self._pid == os.getpid() and self._program.running:
                return self._program
            self._let_go()
            self._pid = os.getpid()
            if self.uri != "ray":
                _probe(self._address)
            self._program = Program(self._address)
            return self._program

    def _let_go(self) -> None:
        program, self._program = self._program, None
        if program is None:
            return
        if self._pid == os.getpid():
            program.close()
        else:
            program.abandon()  # it is the parent's

    def __repr__(self) -> str:
        return f"<superduper.backends.ray.RayComputeBackend {self.uri} {id(self):#x}>"


def _address(uri: str) -> str:
    """``own``, or as Ray has it: ``ray://host:port``, or what RAY_ADDRESS says."""
    if uri == "ray":
        here = os.environ.get("RAY_ADDRESS", "local")
        return "own" if here == "local" else here
    found = _ADDRESS.fullmatch(uri)
    port = int(found["port"] or PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise UriError(
            "a ray cluster is given as ray://host:10001, the address of its client server, with nothing before or after "
            "it; a cluster of one's own on this machine, or the one that this process is in, as ray"
        )
    return f"ray://{found['host']}:{port}"


def _probe(address: str) -> None:
    """Raises Unreachable where nothing listens: Ray's client would try for half a minute."""
    deadline = float(config.CFG.connect_timeout)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=deadline).close()
    except OSError as error:
        raise Unreachable(
            f"no ray cluster answers at {address} within {deadline:g} s: {describe(error)}; check the address, or start one "
            "with ray start --head"
        ) from error
