"""The program that talks to Ray for a datalayer, in a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from superduper.errors import Unreachable

START_DEADLINE = 120.0
"""Seconds until it must be connected to its cluster, or have started one: 5 on an idle machine."""
END_DEADLINE = 15.0
"""Seconds that a cluster of one's own has to end."""


class Program:
    """Ray's own client, out of this process: it ends the process that it is in when a cluster is lost, takes over signals
    and does not bear forks.

    ``address``: ``own`` for a cluster that it starts below itself and that ends with it, or an address as Ray has it. It
    ends with this process, whatever ends that. Raises Unreachable.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._control, theirs = socket.socketpair()
        self._folder = tempfile.mkdtemp(prefix="superduper-ray-", dir=_short()) if address == "own" else None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program
        arguments = [str(theirs.fileno()), address, *([self._folder] if self._folder else [])]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, with our own arguments
                [sys.executable, "-P", "-m", "superduper.backends.ray", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                env=_environment(own=address == "own"),
                # An interrupt from the keyboard is the owner's to handle.
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._await()

    def connection(self) -> Connection:
        """For one pass of a model. Raises Unreachable where the program has ended."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError as error:
                raise self.lost(error) from error
            return Connection(ours.detach())

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def lost(self, error: BaseException | None = None) -> Unreachable:
        """The error for a cluster that is gone, with what the program said last."""
        where = "the ray cluster of this machine" if self.address == "own" else f"the ray cluster at {self.address}"
        return Unreachable(
            f"{where} went away{self._said()}; outputs so far are kept, and the next run goes on from there"
        )

    def close(self) -> None:
        """End it, and its own cluster."""
        self._control.close()
        try:
            self._process.wait(timeout=END_DEADLINE)
        except subprocess.TimeoutExpired:
            # What it started ends by itself when it is gone.
            self._process.kill()
            self._process.wait()
        self.abandon()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def abandon(self) -> None:
        """Let go of it in a process that was forked from its owner."""
        self._control.close()
        self._log.close()

    def _await(self) -> None:
        end, text = time.monotonic() + START_DEADLINE, b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self._control], [], [], max(0.0, end - time.monotonic()))
            part = self._control.recv(4096) if ready else b""
            if not part:
                self._process.kill()
                problem = "ended" if ready else f"did not answer within {START_DEADLINE:.0f} s"
                raise self._failed(f"what was to connect to it {problem}{self._said()}")
            text += part
        said = json.loads(text)
        if "error" in said:
            raise self._failed(said["error"])

    def _failed(self, problem: str) -> Unreachable:
        self.close()
        if self.address == "own":
            return Unreachable(f"the ray cluster of this machine does not start: {problem}; or use compute='local'")
        return Unreachable(
            f"no ray cluster answers at {self.address}: {problem}; check the address, that ray has the same version "
            "there and here, and RAY_AUTH_TOKEN where the cluster asks for one"
        )

    def _said(self) -> str:
        """The last line that it printed, in brackets."""
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f" ({lines[-1][-300:]})" if lines else ""


def _short() -> str | None:
    """Ray's sockets lie below its folder, and the paths of sockets are short."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and Path("/tmp").is_dir() else None  # noqa: S108


def _environment(*, own: bool) -> dict[str, str]:
    kept = {
        # A lost cluster is told sooner than after its minute.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
        "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "10",
        **os.environ,
        # What the user's code imports here it imports there.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    if own:
        # Ray listens on all interfaces; nobody else gets in.
        kept |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        kept.pop("RAY_ADDRESS", None)
        kept.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
    return kept
