"""One MongoDB database, opened: a client that survives a fork, and our errors.

``mongodb://user:password@host:27017/database``, ``mongodb+srv://…``; ``mongomock://database`` is a database in the
memory of this process, gone with the object that opened it.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from superduper import config
from superduper.errors import (
    AccessDenied,
    MissingExtra,
    StoreError,
    SuperduperError,
    Unreachable,
    UriError,
)
from superduper.uris import without_password

_DENIED = frozenset({13, 18, 8000})
"""Codes of the server: Unauthorized, AuthenticationFailed, and Atlas' own."""


REFUSED_WITHIN = 0.3
"""Seconds in which a server that refuses connections is told from one that is slow."""


# All that the driver keeps of the operating system's error is its text.
_REFUSED = f"[Errno {errno.ECONNREFUSED}]"


class MongoDatabase:
    """A database and its client, connected. Raises UriError, MissingExtra, Unreachable, AccessDenied."""

    def __init__(self, uri: str) -> None:
        self.uri = without_password(uri)
        self.in_memory = uri.startswith("mongomock://")
        self._given = uri
        self._name = ""
        self._pid = os.getpid()
        self._client = self._mock() if self.in_memory else self._connect()

    @property
    def client(self) -> Any:
        """The ``pymongo.MongoClient`` itself, or mongomock's."""
        if self._pid != os.getpid() and not self.in_memory:
            # The parent's sockets and locks are not this process's: leave them, open new ones.
            self._pid = os.getpid()
            self._client = self._connect()
        return self._client

    @property
    def database(self) -> Any:
        """The database that the URI names."""
        return self.client[self._name]

    def clock(self) -> float:
        """Seconds since 1970 by the server's own clock, which all its clients share."""
        if self.in_memory:
            return time.time()
        moment: float = self.client.admin.command("hello")["localTime"].timestamp()
        return moment

    def close(self) -> None:
        """Give back all connections."""
        if self._pid == os.getpid():
            self._client.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of the driver become ours, with the database's name and the remedy."""
        from pymongo.errors import PyMongoError

        try:
            yield
        except PyMongoError as error:
            raise self._ours(error) from error

    def _connect(self) -> Any:
        if find_spec("pymongo") is None:
            raise MissingExtra("pymongo", "mongodb", "mongodb://")
        from pymongo import MongoClient
        from pymongo.errors import ConfigurationError, InvalidName, InvalidURI

        milliseconds = int(config.CFG.connect_timeout * 1000)
        try:
            client: Any = MongoClient(
                self._given,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                tz_aware=True,
            )
        except (ConfigurationError, InvalidName, InvalidURI, ValueError) as error:
            raise UriError(f"{self.uri}: {error}; write mongodb://user:password@host:27017/database") from error
        try:
            self._name = client.get_default_database().name
            self._refuse_refused(client, milliseconds / 1000)
            with self.translated():
                client[self._name].command("ping")
                # Ping asks for no rights; this does.
                client[self._name].list_collection_names()
        except (ConfigurationError, InvalidName) as error:
            client.close()
            raise UriError(f"{self.uri}: {error}; write mongodb://user:password@host:27017/database") from error
        except SuperduperError:
            client.close()
            raise
        return client

    def _refuse_refused(self, client: Any, deadline: float) -> None:
        """A port that nobody listens on says so at once; the driver would ask it again until its deadline."""
        until = time.monotonic() + min(REFUSED_WITHIN, deadline)
        while time.monotonic() < until:
            servers = client.topology_description.server_descriptions()
            if any(server.is_server_type_known for server in servers.values()):
                return
            if servers and all(_REFUSED in str(server.error) for server in servers.values()):
                named = ", ".join(f"{host}:{port}" for host, port in servers)
                raise Unreachable(
                    f"{self.uri} does not answer: the connection to {named} is refused; check that the server runs there"
                )
            time.sleep(0.005)

    def _mock(self) -> Any:
        if find_spec("mongomock") is None:
            raise MissingExtra("mongomock", "mongomock", "mongomock://")
        self._name = urlsplit(self._given).netloc
        if not self._name or any(letter in self._name for letter in '/\\. "$'):
            raise UriError(f"{self._given}: name a database, as in mongomock://test")
        with warnings.catch_warnings():
            # mongomock asks setuptools' old module for its version.
            warnings.simplefilter("ignore")
            import mongomock
        return mongomock.MongoClient(tz_aware=True)

    def _ours(self, error: Exception) -> SuperduperError:
        from pymongo.errors import AutoReconnect, ConfigurationError, NetworkTimeout, OperationFailure

        text = " ".join(str(error).split())
        if isinstance(error, OperationFailure) and error.code in _DENIED:
            return AccessDenied(f"{self.uri}: {text}; check user, password and rights")
        if isinstance(error, (AutoReconnect, NetworkTimeout)):  # ServerSelectionTimeoutError among them
            short = text.partition(", Timeout:")[0]
            return Unreachable(f"{self.uri} does not answer: {short}; check that the server runs and may be reached")
        if isinstance(error, ConfigurationError):
            return UriError(f"{self.uri}: {text}; correct the URI")
        return StoreError(f"{self.uri}: {text}")
