"""The command line, and a cluster that it may find: kubectl is a stand-in, the server behind its tunnel a real one."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Header, HTTPException

from superduper import Model, superduper
from superduper.datalayer import Datalayer
from superduper.server import seams
from tests.integration.cli.conftest import Cli, cli

__all__ = ["Cli", "cli"]

CONDITION = {"type": "Ready", "status": "True", "reason": "Available", "message": "", "observedGeneration": 1,
             "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip


def item(
    kind: str, name: str, spec: dict[str, Any], status: dict[str, Any], namespace: str = "default"
) -> dict[str, Any]:
    """An object as the API server has it."""
    meta = {
        "name": name, "namespace": namespace, "uid": "u", "resourceVersion": "7", "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [],
    }  # fmt: skip
    status = {"observedGeneration": 1, "conditions": [CONDITION]} | status
    return {"apiVersion": "superduper.io/v1alpha1", "kind": kind, "metadata": meta, "spec": spec, "status": status}


TOKEN = "s3cret"


@contextmanager
def serving(db: Datalayer) -> Iterator[int]:
    """The port of a server of that datalayer, which asks for ``TOKEN``."""

    async def let_in(authorization: str = Header("")) -> Datalayer:
        if authorization != f"Bearer {TOKEN}":
            raise HTTPException(401)
        return db

    app = FastAPI()
    app.include_router(seams.router(let_in))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)


class Cluster:
    """What the stand-in answers."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.uri = path, f"http://127.0.0.1:{port}"
        ref = {"datalayerRef": {"name": "digits"}}
        self.said: dict[str, Any] = {
            "port": port,
            "secrets": {"digits-token": {"token": base64.b64encode(TOKEN.encode()).decode()}},
            "items": [
                item(
                    "Datalayer",
                    "digits",
                    {"databackend": {"provision": {"engine": "postgres"}}},
                    {
                        "endpoint": "http://digits-server.default.svc:8000",
                        "tokenSecret": "digits-token",
                        "unknownField": 1,
                    },
                ),
                item(
                    "Table",
                    "the-numbers",
                    {**ref, "identifier": "numbers", "fields": {"n": {"type": "int"}}},
                    {"rows": 5},
                ),
                item(
                    "Model",
                    "plus-one",
                    {
                        **ref,
                        "identifier": "plus_one",
                        "object": {"source": "def f(n):\n    return n + 1\n", "callable": "f"},
                        "predict": {"table": "numbers", "inputs": ["n"], "output": {"type": "int"}},
                    },
                    {"rows": 5, "predicted": 5, "failed": 0},
                ),
            ],
        }
        self.write()

    def write(self, **changes: Any) -> None:
        self.said |= changes
        self.path.write_text(json.dumps(self.said))

    @property
    def calls(self) -> list[str]:
        """What kubectl was asked: process, namespace, words."""
        log = Path(f"{self.path}.log")
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("PATH", f"{Path(__file__).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CLUSTER", str(tmp_path / "cluster.json"))
    with superduper(f"sqlite:///{tmp_path}/of-the-server.db", home=str(tmp_path / "server")) as db:
        db.insert("numbers", [{"id": f"r{n}", "n": n} for n in range(5)])
        predict = {"table": "numbers", "inputs": ["n"], "output": {"type": "int"}}
        db.apply(Model("plus_one", object=lambda n: n + 1, predict=predict))
        with serving(db) as port:
            yield Cluster(tmp_path / "cluster.json", port)
