"""The Kubernetes API with plain dicts: login and transport are the official client's, paths and errors are here."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject, RESTResponse

from superduper_operator.core.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Immutable,
    Invalid,
    NotFound,
    Unavailable,
)
from superduper_operator.core.manifest import Manifest
from superduper_operator.core.resources import MANAGER, RESOURCES, Resource

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON: Final = "application/json"
IMMUTABLE: Final = (
    "immutable",
    "updates to statefulset spec for fields other than",
    "may not change once set",
    "spec is immutable",
)
"""What API servers write where a field may never change."""

Observer = Callable[[str, int], None]
"""Told each failed request's verb and status (0 for no answer)."""


async def login() -> Configuration:
    """The pod's service account, its token read again each minute; outside a cluster the kubeconfig, with its plugins.

    Raises ``ApiError`` where there is neither.
    """
    found = Configuration()
    try:
        config.load_incluster_config(client_configuration=found)
    except config.ConfigException:
        try:
            # The client reads KUBECONFIG when it is imported, which may be too early.
            await config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=found)
        except (config.ConfigException, OSError) as error:
            message = f"no way into the cluster: no service account, and the kubeconfig cannot be used ({error})"
            raise ApiError(message) from error
    # Requests are bounded by the queue's workers; watches hold a connection each.
    found.connection_pool_maxsize = 256
    return found


class Api:
    """Requests to one API server. Answers are dicts; what went wrong is an ``ApiError`` of core/errors.py."""

    def __init__(self, configuration: Configuration, *, timeout: float = 30, failed: Observer | None = None) -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self.failed: Observer = failed or (lambda _verb, _status: None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections."""
        await self._rest.close()
        # aiohttp's close returns before TLS has said goodbye (its documentation, 'Graceful shutdown').
        await asyncio.sleep(0.1)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object. Raises ``NotFound``."""
        return await self.request("get", "GET", RESOURCES[kind].path(namespace, name))

    async def create(self, manifest: Manifest) -> Manifest:
        """A new object. Raises ``AlreadyExists``."""
        path = RESOURCES[manifest["kind"]].path(manifest["metadata"]["namespace"])
        return await self.request("create", "POST", path, body=manifest, query={"fieldManager": MANAGER})

    async def replace(self, manifest: Manifest) -> Manifest:
        """An object with all its fields. Raises ``Conflict`` where its resourceVersion is no longer the newest."""
        path = RESOURCES[manifest["kind"]].path(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        return await self.request("update", "PUT", path, body=manifest, query={"fieldManager": MANAGER})

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: the fields named are ours from now on."""
        path = RESOURCES[manifest["kind"]].path(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self.request("patch", "PATCH", path, body=manifest, query=query, content=APPLY)

    async def merge(
        self, kind: str, namespace: str, name: str, patch: Manifest, subresource: str = "", *, manager: str = MANAGER
    ) -> Manifest:
        """A merge patch: null takes a field away. With a resourceVersion in it, ``Conflict`` where that is not the newest."""
        path = RESOURCES[kind].path(namespace, name, subresource)
        return await self.request("patch", "PATCH", path, body=patch, query={"fieldManager": manager}, content=MERGE)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete it; its children follow in the background. Raises ``NotFound``."""
        body = {"propagationPolicy": "Background"}
        await self.request("delete", "DELETE", RESOURCES[kind].path(namespace, name), body=body)

    async def list(self, resource: Resource, namespace: str | None, *, limit: int = 500, resume: str = "") -> Manifest:
        """One page of a kind's objects, in one namespace or all, by its selector; ``resume`` is the last page's continue."""
        query = {"limit": str(limit), "labelSelector": resource.selector, "continue": resume}
        path = resource.path(namespace) if namespace else resource.collection
        return await self.request("list", "GET", path, query={k: v for k, v in query.items() if v})

    @asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, since: str, silence: float
    ) -> AsyncIterator[AsyncIterator[Manifest]]:
        """Changes of a kind's objects since a version, and bookmarks; ends when the server ends it.

        ``silence``: seconds without a word after which the connection counts as dead (``Unavailable``).
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since}
        if resource.selector:
            query["labelSelector"] = resource.selector
        path = resource.path(namespace) if namespace else resource.collection
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total, sock_read=silence)
        answer = await self._send("watch", "GET", path, query, None, JSON, timeout)
        try:
            yield self._lines(answer.response, path)
        finally:
            answer.response.close()

    async def _lines(self, response: aiohttp.ClientResponse, path: str) -> AsyncIterator[Manifest]:
        rest = b""
        try:
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event: Manifest = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise self._refusal(
                            "watch", path, int(status.get("code") or 500), json.dumps(status).encode(), None
                        )
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"the watch of {path} broke off: {error!r}", verb="watch", what=path) from error

    async def request(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        query: dict[str, str] | None = None,
        content: str = JSON,
    ) -> Manifest:
        """One request; ``verb`` is RBAC's word for it. Raises ``ApiError``."""
        answer = await self._send(verb, method, path, query or {}, body, content, self._timeout)
        try:
            found: Manifest = json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._no_answer(verb, path, error) from error
        except ValueError as error:
            raise Unavailable(
                f"{method} {path} was answered with something else than JSON", verb=verb, what=path
            ) from error
        return found

    async def _send(
        self,
        verb: str,
        method: str,
        path: str,
        query: dict[str, str],
        body: Manifest | None,
        content: str,
        limits: aiohttp.ClientTimeout,
    ) -> RESTResponse:
        headers = {"Accept": JSON, "Content-Type": content, "User-Agent": MANAGER}
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            headers["Authorization"] = token
        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer: RESTResponse = await self._rest.request(
                method, url, headers=headers, body=body, _request_timeout=limits
            )
            if answer.status < 300:
                return answer
            text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise self._no_answer(verb, path, error) from error
        refusal = self._refusal(verb, path, answer.status, text, answer.getheader("Retry-After"))
        if not isinstance(refusal, NotFound | AlreadyExists):
            # Those two answer a question: is it there?
            self.failed(verb, answer.status)
        raise refusal

    def _no_answer(self, verb: str, path: str, error: BaseException) -> Unavailable:
        self.failed(verb, 0)
        return Unavailable(f"the API server does not answer ({verb} {path}: {error!r})", verb=verb, what=path)

    def _refusal(self, verb: str, path: str, status: int, text: bytes, retry_after: str | None) -> ApiError:
        said = _said(text)
        message, reason = said.get("message") or f"{verb} {path}: HTTP {status}", said.get("reason", "")
        kind: type[ApiError] = ApiError
        if status == 404:
            kind = NotFound
        elif status == 409:
            kind = AlreadyExists if reason == "AlreadyExists" else Conflict
        elif status == 403 and "is forbidden: User " in message:
            kind, message = Forbidden, f"the operator lacks the right to {verb} {_where(path)}: {message}"
        elif status in (400, 403, 422):
            # A 403 of admission (a quota, Pod Security) is about the object, not about our rights.
            kind = Immutable if any(words in message for words in IMMUTABLE) else Invalid
        elif status == 410:
            kind = Gone
        elif status == 429 or status >= 500:
            kind = Unavailable
        wait = float(retry_after) if retry_after and retry_after.isdigit() else None
        return kind(message, status=status, verb=verb, what=path, retry_after=wait)


def _said(text: bytes) -> Manifest:
    try:
        found = json.loads(text)
    except ValueError:
        return {"message": text[:500].decode(errors="replace")}
    return found if isinstance(found, dict) else {}


def _where(path: str) -> str:
    """``pods in namespace x`` of a path, as RBAC says it."""
    for resource in RESOURCES.values():
        if path.startswith(resource.path("")[: -len(f"/namespaces//{resource.plural}")]):
            parts = path.split("/")
            if resource.plural in parts:
                after = parts[parts.index(resource.plural) + 2 :]
                right = f"{resource.right}/{after[0]}" if after else resource.right
                where = (
                    f"namespace {parts[parts.index('namespaces') + 1]}" if "namespaces" in parts else "all namespaces"
                )
                return f"{right} in {where}"
    return path
