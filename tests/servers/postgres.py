"""PostgreSQL, Debian's binaries, in a temporary cluster whose passwords are checked."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers.base import Server, program, running

BINARIES = "/usr/lib/postgresql/*/bin"
USER, PASSWORD = "superduper", "s3cret"


class PostgresServer(Server):
    name = "postgres"
    stop_signal = signal.SIGINT  # the 'fast' shutdown: clients are cut off, data is kept
    account = "postgres"  # PostgreSQL refuses to run as root

    def install(self) -> None:
        data = self.own(self.directory / "data")
        secret = self.directory / "secret"
        secret.write_text(PASSWORD)
        self.run_once(
            program("initdb", f"{BINARIES}/initdb"),
            *("-D", str(data), "-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256"),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [program("postgres", f"{BINARIES}/postgres"), "-D", str(self.directory / "data"), *options]

    def check(self) -> None:
        self._administer("select 1")

    @property
    def uri(self) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        name = f"t_{uuid.uuid4().hex}"
        self._administer(f"create database {name} template template0")
        try:
            yield f"{self.uri}/{name}"
        finally:
            self._administer(f"drop database {name} with (force)")

    def _administer(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(f"{self.uri}/postgres", autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement.encode())


def start(root: Path) -> AbstractContextManager[PostgresServer]:
    return running(PostgresServer, root)
