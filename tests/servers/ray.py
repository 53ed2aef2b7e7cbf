"""A Ray head with two processors and a client server, which asks for a token."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers.base import Server, running

PROCESSORS = 2
TOKEN = "7" * 64
#: What its clients need in their environment.
ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


class RayHead(Server):
    """Stopped by its own process id: `ray stop` would end every Ray process of the machine."""

    name = "ray"

    def install(self) -> None:
        # Ray's sockets lie below its folder, and the paths of sockets are short.
        (self.directory / "files").symlink_to(tempfile.mkdtemp(prefix="superduper-ray-", dir="/tmp"))

    def command(self) -> list[str]:
        return [
            *("env", *(f"{name}={value}" for name, value in ENVIRONMENT.items())),
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *("--node-ip-address", "127.0.0.1", "--port", "0", "--ray-client-server-port", str(self.port)),
            *("--num-cpus", str(PROCESSORS), "--num-gpus", "0", "--object-store-memory", str(200 << 20)),
            *("--include-dashboard", "false", "--disable-usage-stats"),
            *("--temp-dir", str((self.directory / "files").resolve())),
        ]

    def check(self) -> None:
        socket.create_connection(("127.0.0.1", self.port), timeout=2).close()

    def destroy(self) -> None:
        files = (self.directory / "files").resolve()
        super().destroy()
        shutil.rmtree(files, ignore_errors=True)

    @property
    def uri(self) -> str:
        return f"ray://127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        yield self.uri


def start(root: Path) -> AbstractContextManager[RayHead]:
    return running(RayHead, root)
