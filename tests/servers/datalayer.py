"""A datalayer's server as a process: the seams of as many datalayers as are asked for, each under a path of its own."""

from __future__ import annotations

import json
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.base import REPOSITORY, Server
from tests.servers.s3 import ACCESS_KEY, REGION, SECRET_KEY


class SeamsServer(Server):
    """``superduper.server.seams`` behind uvicorn. Its datalayers are opened when they are first called."""

    name = "seams"

    def install(self) -> None:
        (self.directory / "datalayers").mkdir()

    def command(self) -> list[str]:
        # -P: the folder of the program holds modules that have the names of packages.
        program = REPOSITORY / "tests" / "servers" / "seams.py"
        keys = (ACCESS_KEY, SECRET_KEY, REGION)
        return [sys.executable, "-P", str(program), str(self.port), str(self.directory / "datalayers"), *keys]

    def check(self) -> None:
        with urllib.request.urlopen(f"{self.uri}/healthz", timeout=5) as answer:
            assert answer.status == 200

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def over(self, databackend: str | None = None, metadata: str | None = None, artifacts: str | None = None) -> str:
        """The URI of a datalayer on these stores; those left out are files of the server's own."""
        name = uuid.uuid4().hex
        folder = self.directory / "datalayers"
        stores = {
            "databackend": databackend or f"sqlite:///{folder}/{name}.db",
            "metadata_store": metadata or f"sqlite:///{folder}/{name}-metadata.db",
            "artifact_store": artifacts or f"filesystem://{folder}/{name}-artifacts",
        }
        (folder / f"{name}.json").write_text(json.dumps(stores))
        return f"{self.uri}/{name}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        yield self.over()
