"""One server, as this process speaks to it: a pool of connections, and what to do when they fail.

Every request carries a number of its own. The server keeps what it answered to a write for some minutes, so that one whose
answer was lost on the way is asked for again and not done again.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

from superduper import config, wire
from superduper.config import Settings
from superduper.errors import (
    AccessDenied,
    ConfigError,
    MissingExtra,
    StoreError,
    SuperduperError,
    Unreachable,
    UriError,
)
from superduper.uris import without_password

try:
    import httpx
except ImportError as error:
    raise MissingExtra("httpx", "http", "a datalayer over HTTP") from error

SILENCE = 30.0
"""Seconds without a sign of life after which a server is given up; it gives one every five."""
TRIES = 3
"""So often a request is sent whose connection was lost."""
REQUEST, RETRY, INSTANCE = "superduper-request", "superduper-retry", "superduper-instance"
"""Headers: the request's number; which server process it was sent to before; which one answers."""
SEVERAL = "several"
"""Stands for the process where there is more than one."""

_lock = threading.RLock()
_servers: dict[tuple[str, str | None, str | None], Server] = {}
_of_parents: list[Any] = []


def _forked() -> None:
    """A lock may have been held, and connections are the parent's: they are neither used nor closed here."""
    globals()["_lock"] = threading.RLock()
    for server in _servers.values():
        server.forked()


os.register_at_fork(after_in_child=_forked)


def connect(uri: str, settings: Settings | None = None) -> Server:
    """The server at that URI, shared by all that connect to it. Raises UriError, Unreachable, AccessDenied."""
    chosen = settings or config.CFG
    url, password = _parsed(uri)
    token = password or chosen.token
    key = (url, token, chosen.ca_file)
    with _lock:
        server = _servers.setdefault(key, Server(url, token, chosen.ca_file))
        server.users += 1
    try:
        server.greet()
    except BaseException:
        server.leave()
        raise
    return server


def _parsed(uri: str) -> tuple[str, str | None]:
    """The address without credentials, and the token that stands in it."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise UriError(f"{without_password(uri)!r} is no address of a server: {error}") from error
    if not parts.hostname or parts.query or parts.fragment:
        raise UriError(f"{without_password(uri)!r} is no address of a datalayer's server: write http://host:8000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    return url, unquote(parts.password) if parts.password else None


class Server:
    """A datalayer's server. Safe to use from several threads and after a fork."""

    def __init__(self, url: str, token: str | None, ca_file: str | None) -> None:
        self.url, self.users = url, 0
        self._token, self._ca_file = token, ca_file
        self._pool: httpx.Client | None = None
        self._greeting: dict[str, Any] | None = None
        self._instances: set[str] = set()

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    def greet(self) -> dict[str, Any]:
        """What the server says of itself: version, abilities, URIs."""
        if self._greeting is None:
            limit = float(config.CFG.connect_timeout)
            said = self._value("GET", "/v1/seams", None, timeout=httpx.Timeout(limit, connect=limit))
            if not isinstance(said, dict) or "abilities" not in said:
                raise UriError(f"{self.url} answers, and is no datalayer's server: check host, port and path")
            self._greeting = said
        return self._greeting

    def leave(self) -> None:
        """One user less; the last one closes the connections."""
        with _lock:
            self.users -= 1
            if self.users > 0:
                return
            for key, server in list(_servers.items()):
                if server is self:
                    del _servers[key]
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def forked(self) -> None:
        """In a child: connections of its own."""
        _of_parents.append(self._pool)
        self._pool = None

    # What is asked

    def call(self, part: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """The result of one method of one of the server's stores. Raises what the method raises."""
        return self._value("POST", f"/v1/seams/{part}/{method}", wire.dumps([args, kwargs]))

    def stream(self, part: str, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """The items that a method gives, as they come; the connection is given back when the iterator is closed."""
        body = wire.dumps([args, kwargs])
        with self._answer("POST", f"/v1/seams/{part}/{method}", lambda: body) as answer:
            yield from self._items(answer)

    def read(self, key: str, start: int | None = None, length: int = 0) -> bytes:
        """An object of the artifact store, or a range of it. Raises KeyError."""
        headers = {} if start is None else {"range": f"bytes={start}-{start + length - 1}"}
        for left in reversed(range(TRIES)):
            with self._answer("GET", "/v1/seams/artifacts/object", None, headers, {"key": key}) as answer:
                if answer.status_code == 416:
                    return b""
                try:
                    # Each piece copied at once: thousands of them, kept and joined, leave the heap in shreds.
                    held = BytesIO()
                    for piece in answer.iter_raw():
                        held.write(piece)
                    return held.getvalue()
                except httpx.TransportError as error:
                    if not left:
                        raise self._lost(error, "the object was read") from error
        raise AssertionError("unreachable")

    def write(self, key: str, body: Callable[[], Any], *, overwrite: bool, repeatable: bool) -> bool:
        """Store an object. ``body`` gives frames, anew for each attempt where it is ``repeatable``."""
        query = {"key": key, "overwrite": "1" if overwrite else "0"}
        return bool(self._value("PUT", "/v1/seams/artifacts/object", None, body=body, query=query, again=repeatable))

    # How it is asked

    def _value(
        self, verb: str, path: str, content: bytes | None, *, body: Callable[[], Any] | None = None,
        query: dict[str, str] | None = None, timeout: httpx.Timeout | None = None, again: bool = True,
    ) -> Any:  # fmt: skip
        make = body or (None if content is None else lambda: content)
        request = uuid.uuid4().hex
        retry: str | None = None
        for left in reversed(range(TRIES if again else 1)):
            headers = {REQUEST: request} | ({RETRY: retry} if retry else {})
            try:
                with self._answer(verb, path, make, headers, query, timeout, again=again, lost=1) as answer:
                    for item in self._items(answer):
                        return item
                raise StoreError(f"{self.url} answered nothing to {path}")
            except _Lost as lost:
                retry = self._asked_before()
                if not left:
                    raise lost.error from lost.__cause__
        raise AssertionError("unreachable")

    def _asked_before(self) -> str | None:
        """Which process may have done the request already, as far as is known."""
        return SEVERAL if len(self._instances) > 1 else next(iter(self._instances), None)

    @contextmanager
    def _answer(
        self,
        verb: str,
        path: str,
        body: Callable[[], Any] | None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        *,
        again: bool = True,
        lost: int = TRIES,
    ) -> Iterator[httpx.Response]:
        """An answer that is no refusal, its body not yet read. Waits and tries again while the server is draining.

        So many times it may be lost before it begins; then ``_Lost`` is raised, or Unreachable.
        """
        deadline = time.monotonic() + float(config.CFG.connect_timeout)
        tries = 0
        while True:
            tries += 1
            pool = self._client()
            request = pool.build_request(
                verb, self.url + path, params=query, headers={**self._headers(), **(headers or {})},
                content=None if body is None else body(), timeout=timeout or pool.timeout,
            )  # fmt: skip
            try:
                answer = pool.send(request, stream=True)
            except httpx.TransportError as error:
                problem = self._lost(error, path)
                if not _is_loss(error) or not again or (lost > 1 and tries >= lost):
                    raise problem from error
                if lost == 1:
                    raise _Lost(problem) from error
                time.sleep(random.uniform(0, 0.1))
                continue
            try:
                if instance := answer.headers.get(INSTANCE):
                    self._instances.add(instance)
                wait = self._wait(answer, deadline) if again else 0.0
                if wait:
                    answer.close()
                    time.sleep(wait)
                    continue
                if answer.status_code >= 400 and answer.status_code != 416:
                    raise self._refusal(answer)
                yield answer
                return
            except httpx.TransportError as error:
                problem = self._lost(error, path)
                raise (_Lost(problem) if lost == 1 and _is_loss(error) else problem) from error
            finally:
                answer.close()

    def _items(self, answer: httpx.Response) -> Iterator[Any]:
        if not answer.headers.get("content-type", "").startswith(wire.STREAM_TYPE):
            yield self._loads(answer)
            return
        with closing(answer.iter_bytes()) as chunks:  # type: ignore[type-var]
            for kind, payload in wire.read_frames(chunks):
                if kind == wire.ITEM:
                    yield wire.loads(payload)
                elif kind == wire.ERROR:
                    raise wire.error_from(wire.loads(payload))

    def _loads(self, answer: httpx.Response) -> Any:
        content = answer.read()
        if not answer.headers.get("content-type", "").startswith(wire.MEDIA_TYPE):
            raise UriError(f"{self.url} answers, and is no datalayer's server: check host, port and path")
        return wire.loads(content)

    def _client(self) -> httpx.Client:
        pool = self._pool
        if pool is not None:
            return pool
        with _lock:
            if self.users <= 0:
                raise StoreError(
                    f"the connection to {self.url} was closed; connect again with superduper({self.url!r})"
                )
            if self._pool is None:
                self._pool = httpx.Client(
                    verify=self._trusted(),
                    # Proxies are for browsing; a database's address is meant as it stands.
                    trust_env=False,
                    timeout=httpx.Timeout(SILENCE, connect=float(config.CFG.connect_timeout)),
                    # A stream holds its connection for as long as its reader likes, and others go on meanwhile.
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=4),
                )
            return self._pool

    def _trusted(self) -> ssl.SSLContext | bool:
        if not self.url.startswith("https"):
            return False
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise ConfigError(
                f"ca_file {self._ca_file!r} cannot be used: {error.strerror or error}; name a file of certificates in PEM"
            ) from error

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    # What may go wrong

    def _wait(self, answer: httpx.Response, deadline: float) -> float:
        """Seconds to wait before the server is asked again; 0 where it is not to be."""
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            return 0.0
        try:
            wanted = float(answer.headers["retry-after"])
        except ValueError:
            wanted = 1.0
        left = deadline - time.monotonic()
        return min(max(wanted, 0.05), 1.0) * random.uniform(0.5, 1) if left > 0 else 0.0

    def _refusal(self, answer: httpx.Response) -> Exception:
        content = answer.read()
        kind = answer.headers.get("content-type", "")
        if answer.status_code == 401:
            where = (
                "the token that was given is not the server's"
                if self._token
                else "it wants a token, and none was given"
            )
            return AccessDenied(
                f"{self.url}: {where}; set it as token= of superduper(…), as SUPERDUPER_TOKEN or --token, "
                "or let superduper --datalayer NAME read it from the cluster"
            )
        try:
            said = wire.loads(content) if kind.startswith(wire.MEDIA_TYPE) else answer.json()
        except (ValueError, SuperduperError):
            said = None
        if not isinstance(said, dict) or "code" not in said:
            return Unreachable(
                f"{self.url} answered with status {answer.status_code} and no error of superduper's; check that it is a "
                "datalayer's server, and what stands in between"
            )
        made = wire.error_from(said)
        if answer.status_code == 503 and isinstance(made, StoreError):
            # The server's own word, as that it is about to stop.
            return Unreachable(f"{self.url}: {made}")
        return made

    def _lost(self, error: httpx.TransportError, what: str) -> Unreachable:
        text = str(error) or type(error).__name__
        remedy = "check that the server runs, and host and port"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            remedy = "name the file with the authority's certificate as ca_file= or SUPERDUPER_CA_FILE"
        elif self.url.startswith("https") and "SSL" in text:
            remedy = "check that the server speaks TLS; without it its address is http://"
        elif isinstance(error, httpx.TimeoutException):
            text = "it is silent" if isinstance(error, httpx.ReadTimeout) else "no connection came about in time"
        return Unreachable(f"{self.url} does not answer: {text}; {remedy}")


class _Lost(Exception):
    """The connection was lost before an answer came whole."""

    def __init__(self, error: Unreachable) -> None:
        super().__init__(str(error))
        self.error = error


def _is_loss(error: httpx.TransportError) -> bool:
    """Whether there was a connection that is gone, so that another attempt may have one that lasts."""
    return isinstance(error, (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError))
