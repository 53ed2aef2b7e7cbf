"""Requests to the API server, and its answers as a user reads them."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.servers.apiserver import TOKEN, ApiServer

Object = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """``code``: HTTP status. ``message``: what kubectl would print of a refusal; empty where it was accepted."""

    code: int
    message: str
    object: Object

    @property
    def accepted(self) -> bool:
        return self.code in (200, 201)


class Client:
    """One namespace of one API server."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server, self.namespace = server, namespace
        self._tls = ssl.create_default_context(cafile=str(server.authority))

    def create(self, manifest: Object, *, dry: bool = True) -> Answer:
        """Create an object, or only have it checked and filled in."""
        return self._ask("POST", self._path(manifest["kind"]), manifest, dry)

    def replace(self, manifest: Object, *, part: str = "", dry: bool = True) -> Answer:
        """Put a changed object, or its ``status``, in the place of the one that is there."""
        return self._ask("PUT", self._path(manifest["kind"], manifest["metadata"]["name"], part), manifest, dry)

    def list(self, kind: str, fields: str) -> list[Object]:
        """Objects that a field selector chooses."""
        answer = self._ask("GET", f"{self._path(kind)}?fieldSelector={quote(fields)}", None, dry=False)
        assert answer.accepted, answer.message
        found: list[Object] = answer.object["items"]
        return found

    def _path(self, kind: str, *rest: str) -> str:
        words = [f"{kind.lower()}s", *filter(None, rest)]
        return f"/apis/superduper.io/v1alpha1/namespaces/{self.namespace}/{'/'.join(words)}"

    def _ask(self, method: str, path: str, body: Object | None, dry: bool) -> Answer:
        if body is not None:
            path += "?fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        connection = http.client.HTTPSConnection("127.0.0.1", self.server.port, context=self._tls, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = json.loads(response.read())
        finally:
            connection.close()
        refused = content.get("kind") == "Status"
        return Answer(response.status, content["message"] if refused else "", content)


def manifest(kind: str, spec: Object, name: str = "it") -> Object:
    """An object of that kind."""
    return {"apiVersion": "superduper.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def message(answer: Answer) -> str:
    """What was refused, for the tests' own messages."""
    return f"{answer.code}: {answer.message or answer.object}"
