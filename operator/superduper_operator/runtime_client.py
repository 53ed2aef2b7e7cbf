"""The HTTP client of a datalayer's server, as the operator needs it: hand over objects, ask how they are, remove them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import aiohttp

from superduper.api.v1alpha1 import Reason
from superduper_operator import labels, pods
from superduper_operator.podspec import INSIDE

if TYPE_CHECKING:
    from superduper_operator.core.context import Context

Policy: TypeAlias = Literal["Retain", "Delete"]

_REASONS = {
    "Unreachable": Reason.UNREACHABLE,
    "AccessDenied": Reason.ACCESS_DENIED,
    "StoreError": Reason.STORE_FAILED,
    "InUse": Reason.IN_USE,
    "SchemaMismatch": Reason.SCHEMA_MISMATCH,
    "CodeError": Reason.CODE_FAILED,
    "NotFound": Reason.DEPENDENCY_NOT_READY,
}
"""Conditions' reasons by the server's codes; every other code is Invalid."""


class ServerDown(Exception):
    """The server does not answer, or refuses for now: it starts, drains or is gone. Asking again may mend it."""


class Refused(Exception):
    """The server answers with an error. ``code`` is the name of the error's class, ``status`` the HTTP status."""

    def __init__(self, code: str, message: str, *, status: int, field: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.field = code, message, status, field

    @property
    def reason(self) -> Reason:
        """The reason that a condition gives."""
        return _REASONS.get(self.code, Reason.STORE_FAILED if self.status >= 500 else Reason.INVALID)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later, though nobody changes the object."""
        return self.status >= 500


@dataclass(frozen=True, slots=True)
class Info:
    """What a server says of itself. URIs are without passwords."""

    version: str
    databackend: str
    metadata: str
    artifact_store: str
    compute: str
    single_writer: bool
    objects: Mapping[str, str]
    """Revision by ``Kind/name``; a changed one means that the answer for that object has changed."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done for a model. ``key`` changes when it is other work."""

    key: str
    by: Literal["server", "job"]
    training: bool = False
    predicting: int = 0
    """Rows that wait."""
    validating: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """How an object is inside the datalayer."""

    status: Mapping[str, Any]
    work: Work | None
    revision: str


class RuntimeClient:
    """Asks one server. Every request ends within ``deadline`` seconds.

    Raises ServerDown and Refused.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str | None, token: str, *, deadline: float) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._deadline = deadline

    async def info(self) -> Info:
        """Version, stores and revisions. Refused (Unreachable, AccessDenied, …) while it cannot reach its stores."""
        found = await self._ask("GET", "/v1/info")
        return Info(
            version=str(found.get("version", "")),
            databackend=str(found.get("databackend", "")),
            metadata=str(found.get("metadata", "")),
            artifact_store=str(found.get("artifactStore", "")),
            compute=str(found.get("compute", "")),
            single_writer=bool(found.get("singleWriter", False)),
            objects=dict(found.get("objects") or {}),
        )

    async def put(self, kind: str, name: str, manifest: Mapping[str, Any]) -> Answer:
        """Have the object as the manifest says. The same one again changes nothing, and answers how it is."""
        return _answer(await self._ask("PUT", f"/v1/objects/{kind}/{name}", json=manifest))

    async def delete(self, kind: str, name: str, policy: Policy) -> bool:
        """Remove the object, and with policy Delete its data. False where it was not there. Refused with InUse."""
        try:
            await self._ask("DELETE", f"/v1/objects/{kind}/{name}", params={"policy": policy})
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _ask(self, verb: str, path: str, **request: Any) -> Mapping[str, Any]:
        if self._url is None:
            raise ServerDown("no pod of the server is running")
        try:
            async with self._session.request(
                verb,
                self._url + path,
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=aiohttp.ClientTimeout(total=self._deadline),
                allow_redirects=False,
                **request,
            ) as response:
                body = await response.read()
        except TimeoutError as error:
            raise ServerDown(f"the server did not answer within {self._deadline:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise ServerDown(f"nothing listens at {self._url} yet, or any more") from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise ServerDown(f"the server does not answer: {error}") from error
        found = _parsed(body)
        if response.status < 400:
            return found
        raise _error(response.status, found)


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body) if body.strip() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(status: int, found: Mapping[str, Any]) -> Exception:
    code, message = str(found.get("code", "")), str(found.get("message", ""))
    if status == 401:
        # It starts with the token that the Secret holds, and sees another one only when it starts anew.
        return Refused(
            "AccessDenied",
            "the server refuses the operator's token: the token's Secret was changed by hand, or made with another key than "
            "superduper-operator-key; delete that Secret, then annotate the Datalayer with superduper.io/restart",
            status=status,
        )
    if not code or code in ("Draining", "Busy"):
        return ServerDown(message or f"the server answers with HTTP status {status}")
    return Refused(code, message, status=status, field=found.get("field"))


def _answer(found: Mapping[str, Any]) -> Answer:
    work = found.get("work")
    return Answer(
        status=found.get("status") or {},
        revision=str(found.get("revision", "")),
        work=None
        if not work
        else Work(
            key=str(work["key"]),
            by="job" if work.get("by") == "job" else "server",
            training=bool(work.get("training")),
            predicting=int(work.get("predicting") or 0),
            validating=bool(work.get("validating")),
        ),
    )


def connect(ctx: Context, namespace: str, name: str) -> RuntimeClient:
    """The client of that Datalayer's server, in one of its pods. One session serves all clients of an event loop."""
    token, deadline = ctx.keys.token(namespace, name), ctx.settings.runtime_timeout
    return RuntimeClient(_session(), address(ctx, namespace, name), token, deadline=deadline)


def address(ctx: Context, namespace: str, name: str) -> str | None:
    """Where the server is asked: in a pod that is ready, else in the newest that runs, so that one which cannot reach
    its database says so itself; None where none runs. ``settings.server_url`` takes the place of all that.
    """
    if ctx.settings.server_url:
        return ctx.settings.server_url.format(namespace=namespace, name=name).rstrip("/")
    found = ctx.cache.list("Pod", namespace, {labels.DATALAYER: name, labels.NAME: "server"})
    running = [pod for pod in found if pods.running(pod) and (pod["status"].get("podIP"))]
    if not running:
        return None
    best = max(running, key=lambda pod: (pods.ready(pod), pod["metadata"].get("creationTimestamp") or ""))
    ip = best["status"]["podIP"]
    return f"http://[{ip}]:{INSIDE}" if ":" in ip else f"http://{ip}:{INSIDE}"


_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    if loop not in _SESSIONS or _SESSIONS[loop].closed:
        # Pods come and go under one address each: connections are few and short-lived.
        _SESSIONS[loop] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit_per_host=8, keepalive_timeout=30))
    return _SESSIONS[loop]


async def close() -> None:
    """Give back the connections of this event loop."""
    session = _SESSIONS.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()
