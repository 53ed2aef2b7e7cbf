"""The HTTP client of a datalayer's server, as the operator needs it: hand over objects, ask how they are, remove them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import aiohttp

from superduper.api.v1alpha1 import Reason

DEADLINE_SECONDS = 10.0
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
    """Asks one server. Every request ends within ``DEADLINE_SECONDS``.

    Raises ServerDown and Refused.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str | None, token: str) -> None:
        self._session = session
        self._url = url
        self._token = token

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
                timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS),
                allow_redirects=False,
                **request,
            ) as response:
                body = await response.read()
        except TimeoutError as error:
            raise ServerDown(f"the server did not answer within {DEADLINE_SECONDS:g} s") from error
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
        return ServerDown("the server refuses the operator's token: its Secret was changed by hand; delete the Secret")
    if not code or code == "Draining":
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


def connect(session: aiohttp.ClientSession, url: str | None, token: str) -> RuntimeClient:
    """The client of a server; ``url`` is None while none of its pods runs."""
    return RuntimeClient(session, url, token)
