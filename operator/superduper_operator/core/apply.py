"""Children brought to what is desired: server-side apply, asked only where something differs."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from typing import Final

from superduper_operator.core.api import Api
from superduper_operator.core.cache import Cache
from superduper_operator.core.diff import applied_by_us, differences, whole_lists, without_none
from superduper_operator.core.errors import AlreadyExists, Immutable, Invalid, NotFound, Taken
from superduper_operator.core.manifest import Manifest
from superduper_operator.core.metrics import Metrics
from superduper_operator.core.resources import MANAGER
from superduper_operator.labels import DATALAYER

log = logging.getLogger(__name__)

REPAIR: Final = f"{MANAGER}-repair"
SECRET_REST: Final = 30.0
"""A Secret that was there is asked for again after so many seconds: we may create Secrets and not watch them."""


@dataclass(frozen=True, slots=True)
class _Applied:
    """What was applied last, and the version that the object had then."""

    digest: bytes
    version: str


class Applier:
    """Writes children. Remembers what it applied, so that it can tell a repair from a change."""

    def __init__(self, api: Api, cache: Cache, metrics: Metrics) -> None:
        self._api = api
        self._cache = cache
        self._metrics = metrics
        self._applied: dict[tuple[str, str, str], _Applied] = {}
        self._secrets: dict[tuple[str, str], float] = {}

    async def apply(self, manifest: Manifest) -> Manifest:
        """Have this object in the cluster; see ``Context.apply``."""
        desired = without_none(manifest)
        kind, meta = desired["kind"], desired["metadata"]
        place = (kind, meta["namespace"], meta["name"])
        digest = hashlib.sha256(json.dumps(desired, sort_keys=True).encode()).digest()
        live = self._cache.get(*place)
        before = self._applied.get(place)
        if live is None:
            live = await self._unseen(place)
        if live is not None:
            if before == _Applied(digest, live["metadata"]["resourceVersion"]):
                return live
            self._ours(live, desired)
            found = differences(desired, live)
            if not found:
                self._applied[place] = _Applied(digest, live["metadata"]["resourceVersion"])
                return live
            self._tell(place, found, repaired=before is not None and before.digest == digest)
            now = await self._put_right(desired, found)
        else:
            if before is not None and before.digest == digest:
                self._tell(place, ["the whole object"], repaired=True)
            now = await self._api.apply(desired)
        self._cache.put(kind, now, own=True)
        self._applied[place] = _Applied(digest, now["metadata"]["resourceVersion"])
        return now

    async def create_secret(self, manifest: Manifest, *, again: bool = False) -> bool:
        """POST a Secret, at most each 30 s unless ``again``; see ``Context.create_secret``."""
        meta = manifest["metadata"]
        place = (meta["namespace"], meta["name"])
        now = time.monotonic()
        if not again and now - self._secrets.get(place, -SECRET_REST) < SECRET_REST:
            return False
        try:
            await self._api.create(without_none(manifest))
        except AlreadyExists:
            self._secrets[place] = now
            return False
        if place in self._secrets:
            self._tell(("Secret", *place), ["the whole object"], repaired=True)
        self._secrets[place] = now
        return True

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; one that is not there is no error."""
        if kind == "Secret":
            self._secrets.pop((namespace, name), None)
        self._applied.pop((kind, namespace, name), None)
        try:
            await self._api.delete(kind, namespace, name)
        except NotFound:
            seen = self._cache.get(kind, namespace, name)
            if seen is not None:
                self._cache.remove(kind, seen)

    def tidy(self) -> None:
        """Forget children that are gone."""
        self._applied = {place: known for place, known in self._applied.items() if self._cache.get(*place) is not None}
        now = time.monotonic()
        self._secrets = {place: seen for place, seen in self._secrets.items() if now - seen < 20 * SECRET_REST}

    async def _put_right(self, desired: Manifest, found: list[str]) -> Manifest:
        """Apply; where an item that somebody else put into one of our lists stands against ours, without that item."""
        try:
            return await self._api.apply(desired)
        except Immutable:
            raise
        except Invalid as refused:
            lists = whole_lists(desired, found)
            if not lists:
                raise
            place = (desired["kind"], desired["metadata"]["namespace"], desired["metadata"]["name"])
            try:
                await self._api.merge(*place, lists, manager=REPAIR)
            except Invalid:
                raise refused from None
        now = await self._api.apply(desired)
        # Two owners would keep these fields for ever: the repair gives its share back.
        kept = [entry for entry in now["metadata"]["managedFields"] if entry.get("manager") != REPAIR]
        body = {"metadata": {"resourceVersion": now["metadata"]["resourceVersion"], "managedFields": kept}}
        return await self._api.merge(*place, body)

    async def _unseen(self, place: tuple[str, str, str]) -> Manifest | None:
        """The object where the cache has none: it may be somebody else's, without our label."""
        try:
            return await self._api.get(*place)
        except NotFound:
            return None

    def _ours(self, live: Manifest, desired: Manifest) -> None:
        """Raises ``Taken`` where the object is not of the same Datalayer. Without its label, who applied it counts."""
        labels = live["metadata"].get("labels") or {}
        wanted = desired["metadata"].get("labels") or {}
        whose = labels.get(DATALAYER)
        if whose == wanted.get(DATALAYER) if whose is not None else applied_by_us(live):
            return
        what = f"{desired['kind']} {desired['metadata']['name']}"
        belongs = f"to the Datalayer '{whose}'" if whose is not None else "to somebody else"
        message = f"{what} exists and belongs {belongs}: delete or rename it, or give this object another name"
        raise Taken(message, what=what)

    def _tell(self, place: tuple[str, str, str], found: list[str], *, repaired: bool) -> None:
        kind, namespace, name = place
        if repaired:
            self._metrics.repaired(kind)
            log.info(
                "%s %s/%s was changed by somebody and is put right: %s", kind, namespace, name, ", ".join(found[:5])
            )
        else:
            log.debug("%s %s/%s: %s", kind, namespace, name, ", ".join(found[:5]))
