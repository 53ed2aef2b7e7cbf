"""A stand-in for datalayer servers: the contract of their HTTP API, and no data. One process stands for all Datalayers.

``http://127.0.0.1:PORT/{namespace}/{name}`` is the server of that Datalayer. Tests tell it what to answer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

NOW = "2026-01-01T00:00:00Z"
ROWS = 20


@dataclass
class FakeDatalayer:
    """One Datalayer's server: what it was given, and what it is told to say."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    work: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Work by the name of a model; left out: none."""
    refusals: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    """HTTP status, code and message by ``Kind/name``, or by ``info`` for the server as a whole."""
    down: bool = False

    def answer(self, path: str) -> dict[str, Any]:
        kind, _, name = path.partition("/")
        status: dict[str, Any] = {"version": 0}
        work = self.work.get(name) if kind == "Model" else None
        if kind in ("Table", "Model"):
            status["rows"] = ROWS
        if kind == "Model":
            done = 0 if work else ROWS
            status |= {"predicted": done, "failed": 0, "pending": ROWS - done, "coverage": f"{done}/{ROWS}"}
        status["conditions"] = _conditions("Predicting" if work else "Available", ready=not work)
        if kind == "Model" and self.objects[path]["spec"].get("suspend"):
            status["conditions"], work = _conditions("Suspended", ready=True), None
        text = json.dumps([self.objects[path], status, work], sort_keys=True)
        return {"status": status, "work": work, "revision": hashlib.sha256(text.encode()).hexdigest()[:12]}


def _conditions(reason: str, *, ready: bool) -> list[dict[str, Any]]:
    base = {"reason": reason, "message": "", "observedGeneration": 1, "lastTransitionTime": NOW}
    found = [{"type": "Ready", "status": "True" if ready else "False", **base}]
    return found if ready else [*found, {"type": "Reconciling", "status": "True", **base}]


class FakeServers:
    """All of them. ``token`` is asked of the operator's keys where given: (namespace, name) to the token."""

    def __init__(self) -> None:
        self.datalayers: dict[tuple[str, str], FakeDatalayer] = {}
        self.app = web.Application(client_max_size=16 * 1024**2)
        root = "/{namespace}/{datalayer}/v1"
        self.app.router.add_get(f"{root}/info", self._info)
        self.app.router.add_put(f"{root}/objects/{{kind}}/{{name}}", self._put)
        self.app.router.add_delete(f"{root}/objects/{{kind}}/{{name}}", self._delete)
        self._runner: web.AppRunner | None = None
        self.port = 0

    def of(self, namespace: str, name: str) -> FakeDatalayer:
        return self.datalayers.setdefault((namespace, name), FakeDatalayer())

    @property
    def url(self) -> str:
        """The template for the operator's setting ``server_url``."""
        return f"http://127.0.0.1:{self.port}/{{namespace}}/{{name}}"

    async def start(self) -> None:
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _found(self, request: web.Request, what: str) -> FakeDatalayer | web.Response:
        found = self.of(request.match_info["namespace"], request.match_info["datalayer"])
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return web.json_response({"code": "Unauthorized", "message": "no token"}, status=401)
        if found.down:
            return web.Response(status=503)
        for key in ("info", what):
            if key in found.refusals:
                status, code, message = found.refusals[key]
                return web.json_response({"code": code, "message": message, "field": None}, status=status)
        return found

    async def _info(self, request: web.Request) -> web.Response:
        found = self._found(request, "info")
        if isinstance(found, web.Response):
            return found
        return web.json_response(
            {
                "version": "0.1.0", "databackend": "sqlite:////data/x.db", "metadata": "sqlite:////data/x.db",
                "artifactStore": "filesystem:///data/artifacts", "compute": "auto", "singleWriter": True,
                "objects": {path: found.answer(path)["revision"] for path in found.objects},
            }
        )  # fmt: skip

    async def _put(self, request: web.Request) -> web.Response:
        path = f"{request.match_info['kind']}/{request.match_info['name']}"
        found = self._found(request, path)
        if isinstance(found, web.Response):
            return found
        found.objects[path] = await request.json()
        found.puts.append(path)
        return web.json_response(found.answer(path))

    async def _delete(self, request: web.Request) -> web.Response:
        path = f"{request.match_info['kind']}/{request.match_info['name']}"
        found = self._found(request, f"delete {path}")
        if isinstance(found, web.Response):
            return found
        if path not in found.objects:
            return web.json_response({"code": "NotFound", "message": f"no {path}"}, status=404)
        del found.objects[path]
        found.deleted.append((path, request.query["policy"]))
        return web.json_response({})
