"""``superduper serve`` as a process, and a client for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

TOKEN = "a-token"
START_SECONDS, WAIT_SECONDS = 30.0, 30.0
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
    """What ``look`` gives once it gives something; fails with what was seen last."""
    deadline = time.monotonic() + seconds
    seen: Any = None
    while time.monotonic() < deadline:
        try:
            seen = look()
        except (AssertionError, httpx.TransportError) as error:
            seen = error
        else:
            if seen:
                return seen
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen!r}")


class Served:
    """A server on free ports of this machine, with its stores in a folder."""

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.folder = folder
        self.options = options
        self.settings: dict[str, str] = {
            "DATABACKEND": f"sqlite:///{folder}/d.db",
            "ARTIFACT_STORE": f"filesystem://{folder}/artifacts",
            "HOME": str(folder / "home"),
            "TOKEN": TOKEN,
            "SERVE_SCAN_SECONDS": "0.2",
            **settings,
        }
        self.process: subprocess.Popen[str] | None = None
        self.urls: list[str] = []
        self.client = httpx.Client()

    def start(self) -> Served:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SUPERDUPER_")}
        environment |= {f"SUPERDUPER_{key}": value for key, value in self.settings.items()}
        command = [sys.executable, "-m", "superduper", "serve"]
        command += ["--host", "127.0.0.1", "--port", "0", "--admin-port", "0", *self.options]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        with self.process.stdout as out:
            line = out.readline()
        assert line.startswith("listening on "), f"{line!r}\n{self.logged()}"
        self.urls = line.removeprefix("listening on ").split(" and ")
        self.urls = [url.strip() for url in self.urls]
        self.client = httpx.Client(
            base_url=self.urls[0], headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30, verify=False
        )
        return self

    def ready(self) -> Served:
        wait_for("readiness", lambda: self.client.get("/readyz").status_code == 200, START_SECONDS)
        return self

    def logged(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send the signal and wait for the end; gives the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.client.close()

    def again(self) -> Served:
        """Started again on the same stores."""
        return self.start().ready()

    @property
    def memory(self) -> int:
        """The most that the process ever held, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    # What tests do again and again

    def put(self, kind: str, name: str, **spec: Any) -> httpx.Response:
        return self.client.put(f"/v1/objects/{kind}/{name}", json=manifest(kind, name, spec))

    def told(self, kind: str, name: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/objects/{kind}/{name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, kind: str, name: str, reason: str) -> dict[str, Any]:
        """The object's answer once its Ready condition has that reason."""

        def look() -> dict[str, Any] | None:
            told = self.told(kind, name)
            seen = condition(told)["reason"]
            assert seen == reason, told
            return told

        return wait_for(f"{kind}/{name} {reason}", look)

    def insert(self, table: str, *rows: Mapping[str, Any]) -> httpx.Response:
        return self.client.post(f"/v1/tables/{table}/rows", content=ndjson(*rows), headers=NDJSON)

    def rows(self, table: str, **params: Any) -> list[dict[str, Any]]:
        answer = self.client.get(f"/v1/tables/{table}/rows", params=params)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


NDJSON = {"content-type": "application/x-ndjson"}


def ndjson(*rows: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def manifest(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "superduper.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"datalayerRef": {"name": "main"}, **spec},
    }


def condition(told: Mapping[str, Any], type: str = "Ready") -> dict[str, Any]:
    return next((c for c in told["status"]["conditions"] if c["type"] == type), {"reason": None, "status": None})


def code(source: str, name: str = "f", **more: Any) -> dict[str, Any]:
    return {"source": source, "callable": name, **more}


def rows_of(count: int, body: str = "{'id': str(n), 'x': n}", before: str = "") -> dict[str, Any]:
    """A table's source that yields so many rows."""
    return {
        "rows": code(
            f"import time\ndef f():\n    for n in range({count}):\n        {before or 'pass'}\n        yield {body}\n"
        )
    }


DOUBLE = {"object": code("def f(x):\n    return x * 2\n"), "predict": {"table": "t", "inputs": ["x"]}}
