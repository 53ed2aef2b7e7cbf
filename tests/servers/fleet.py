"""The servers of one test session: started when first asked for, shared by all its workers, all gone at its end."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

from tests.servers.apiserver import ApiServer, EtcdServer
from tests.servers.base import Server
from tests.servers.dask import DaskScheduler, DaskWorkers
from tests.servers.datalayer import SeamsServer
from tests.servers.locks import FileLock
from tests.servers.mariadb import MariaDBServer
from tests.servers.mongo import MongoServer
from tests.servers.postgres import PostgresServer
from tests.servers.ray import RayHead
from tests.servers.s3 import S3Server

KINDS: tuple[type[Server], ...] = (
    PostgresServer,
    MariaDBServer,
    MongoServer,
    S3Server,
    DaskScheduler,
    RayHead,
    EtcdServer,
)
# Servers of another server: they go before it does.
SATELLITES: tuple[type[Server], ...] = (DaskWorkers, SeamsServer, ApiServer)
S = TypeVar("S", bound=Server)


class Fleet:
    """A worker's view of the servers under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._servers: dict[type[Server], Server] = {}

    def server(self, kind: type[S]) -> S:
        if kind not in self._servers:
            server = kind(self.root)
            server.start()
            self._servers[kind] = server
        found = self._servers[kind]
        assert isinstance(found, kind)
        return found

    def settle(self) -> None:
        for server in self._servers.values():
            server.settle()


class Harbour:
    """What the session's controlling process holds: the folder of the fleet, and the lock that says it lives."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="superduper-servers-"))
        self.root.chmod(0o755)  # servers under other accounts must reach their folders
        self._session = FileLock(self.root / "session")
        self._session.take()

    def close(self) -> None:
        for kind in (*SATELLITES, *KINDS):
            if (self.root / kind.name).exists():
                kind(self.root).destroy()
        self._session.release()
        shutil.rmtree(self.root, ignore_errors=True)
