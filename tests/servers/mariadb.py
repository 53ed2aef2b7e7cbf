"""MariaDB, Debian's binaries, in a temporary data folder whose passwords are checked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers.base import Server, program, running

USER, PASSWORD = "superduper", "s3cret"
ACCOUNTS = f"""
CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;
DROP USER IF EXISTS ''@'localhost';
"""


class MariaDBServer(Server):
    name = "mariadb"
    account = "mysql"  # mariadbd refuses to run as root

    def install(self) -> None:
        data = self.own(self.directory / "data")
        temporary = self.own(self.directory / "tmp")
        (self.directory / "accounts.sql").write_text(ACCOUNTS)
        self.run_once(
            program("mariadb-install-db"),
            *("--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", f"--tmpdir={temporary}"),
        )

    def command(self) -> list[str]:
        return [
            program("mariadbd", "/usr/sbin/mariadbd"),
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self.directory / 'tmp'}",
            f"--socket={self.directory / 'data' / 'socket'}",
            f"--pid-file={self.directory / 'data' / 'pid'}",
            f"--init-file={self.directory / 'accounts.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--max-allowed-packet=64M",
        ]

    def check(self) -> None:
        self._administer("select 1")

    @property
    def uri(self) -> str:
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        name = f"t_{uuid.uuid4().hex}"
        self._administer(f"create database {name}")
        try:
            yield f"{self.uri}/{name}"
        finally:
            self._administer(f"drop database {name}")

    def _administer(self, statement: str) -> None:
        import pymysql

        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, connect_timeout=10, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)


def start(root: Path) -> AbstractContextManager[MariaDBServer]:
    return running(MariaDBServer, root)
