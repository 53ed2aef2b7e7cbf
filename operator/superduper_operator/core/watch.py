"""An informer: lists a kind's objects, watches them from there, and lists again where the server has forgotten.

kopf's own watch tells nobody which objects went away between two lists, nor when a list is complete; see
docs/decisions.md. Here the cache is whole after each list.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from superduper_operator.core.api import Api
from superduper_operator.core.cache import Cache
from superduper_operator.core.errors import ApiError, Forbidden, Gone, NotFound
from superduper_operator.core.manifest import Manifest
from superduper_operator.core.resources import OPTIONAL, Resource

log = logging.getLogger(__name__)

SILENCE: Final = 90.0
"""The API server sends a bookmark each minute: a connection silent for longer, in seconds, is dead."""
ABSENT_RETRY: Final = 5.0
"""How often a kind that is not installed is asked for, in seconds."""
FORBIDDEN_RETRY: Final = 15.0
LONGEST_RETRY: Final = 10.0


class Informer:
    """Keeps the cache's objects of one kind, in one namespace or in all, as they are. ``run`` never ends by itself."""

    def __init__(self, api: Api, cache: Cache, resource: Resource, namespace: str | None = None) -> None:
        self.resource = resource
        self.namespace = namespace
        self._api = api
        self._cache = cache
        self._since: str | None = None
        self._failures = 0
        self._moved = time.monotonic()

    def __str__(self) -> str:
        return f"{self.resource.plural} {f'in {self.namespace}' if self.namespace else 'in all namespaces'}"

    @property
    def silent(self) -> float:
        """Seconds since it last heard anything, an error included: more than SILENCE means that it hangs."""
        return time.monotonic() - self._moved

    @property
    def settled(self) -> bool:
        """Whether the cache is whole, or the kind may be missing and is."""
        if self._cache.synced(self.resource.kind, self.namespace):
            return True
        return self.resource.kind in OPTIONAL and self._cache.absent(self.resource.kind)

    async def run(self) -> None:
        """List and watch, for ever."""
        while True:
            try:
                if self._since is None:
                    self._since = await self._list()
                await self._follow(self._since)
            except Gone:
                log.info("%s are listed anew: the API server no longer keeps the version to watch from", self)
                self._since = None
            except NotFound:
                self._since = None
                await self._missing()
            except Forbidden as error:
                self._since = None
                log.log(logging.ERROR, "cannot watch %s: %s", self, error)
                await self._rest(FORBIDDEN_RETRY)
            except ApiError as error:
                # The version is still good after a broken connection: what was missed comes then.
                self._failures += 1
                wait = min(0.1 * 2.0 ** min(self._failures, 10), LONGEST_RETRY)
                log.log(logging.WARNING if self._failures > 2 else logging.DEBUG, "watching %s: %s", self, error)
                await self._rest(max(wait, error.retry_after or 0))

    async def _list(self) -> str:
        """Fill the cache; returns the version to watch from."""
        found: list[Manifest] = []
        resume = ""
        while True:
            page = await self._api.list(self.resource, self.namespace, resume=resume)
            self._heard()
            found += page.get("items") or ()
            resume = page["metadata"].get("continue") or ""
            if not resume:
                break
        self._cache.replace(self.resource.kind, self.namespace, found)
        log.debug("%s: %d", self, len(found))
        return str(page["metadata"]["resourceVersion"])

    async def _follow(self, since: str) -> None:
        """Bring changes into the cache until the server ends the connection, which it does each half hour or so."""
        began = time.monotonic()
        async with self._api.watch(self.resource, self.namespace, since, SILENCE) as changes:
            self._heard()
            async for change in changes:
                self._heard()
                obj = change["object"]
                if change["type"] == "DELETED":
                    self._cache.remove(self.resource.kind, obj)
                elif change["type"] != "BOOKMARK":
                    self._cache.put(self.resource.kind, obj)
                self._since = obj["metadata"]["resourceVersion"]
        if time.monotonic() - began < 1:
            await self._rest(1)

    async def _missing(self) -> None:
        if not self._cache.absent(self.resource.kind):
            level = logging.INFO if self.resource.kind in OPTIONAL else logging.ERROR
            log.log(level, "there are no %s in this cluster: their CRD is not installed", self.resource.right)
        self._cache.lose(self.resource.kind, self.namespace)
        await self._rest(ABSENT_RETRY)

    def _heard(self) -> None:
        self._moved = time.monotonic()
        self._failures = 0

    async def _rest(self, seconds: float) -> None:
        self._moved = time.monotonic()
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
        self._moved = time.monotonic()
