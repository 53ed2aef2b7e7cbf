"""The servers of one test session: started when first asked for, shared by its workers or one for each, gone at its end."""

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
    """A worker's view of the servers under `root`; the only worker of a session has no name."""

    def __init__(self, root: Path, worker: str = "") -> None:
        self.root, self.worker = root, worker
        self._servers: dict[type[Server], Server] = {}

    def server(self, kind: type[S]) -> S:
        if kind not in self._servers:
            server = kind(self.root, self.worker if kind.apart else "")
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
            for folder in (*self.root.glob(kind.name), *self.root.glob(f"{kind.name}@*")):
                kind(self.root, folder.name.partition("@")[2]).destroy()
        self._session.release()
        shutil.rmtree(self.root, ignore_errors=True)
