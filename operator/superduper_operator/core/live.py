"""The context that reconcilers work in, on the real API server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from superduper_operator.core.api import Api
from superduper_operator.core.apply import Applier
from superduper_operator.core.cache import Cache
from superduper_operator.core.conditions import status_patch
from superduper_operator.core.context import Context, EventType
from superduper_operator.core.errors import Conflict, NotFound
from superduper_operator.core.events import Events
from superduper_operator.core.keys import Keys
from superduper_operator.core.manifest import Manifest
from superduper_operator.core.metrics import Metrics
from superduper_operator.core.queue import WorkQueue
from superduper_operator.labels import FINALIZER

if TYPE_CHECKING:
    from superduper_operator.runtime_client import RuntimeClient
    from superduper_operator.settings import Settings

RAY_JOB: Final = "RayJob"


class LiveContext:
    """See ``Context``. ``connect`` makes the client of a datalayer's server."""

    def __init__(
        self,
        *,
        api: Api,
        cache: Cache,
        queue: WorkQueue,
        settings: Settings,
        keys: Keys,
        events: Events,
        metrics: Metrics,
        connect: Callable[[Context, str, str], RuntimeClient],
    ) -> None:
        self.cache = cache
        self.queue = queue
        self.settings = settings
        self.keys = keys
        self.applier = Applier(api, cache, metrics)
        self._api = api
        self._events = events
        self._connect = connect

    @property
    def kuberay(self) -> bool:
        """Whether RayJobs exist in this cluster now."""
        places = self.settings.namespaces or (None,)
        return not self.cache.absent(RAY_JOB) and any(self.cache.synced(RAY_JOB, place) for place in places)

    async def apply(self, manifest: Manifest) -> Manifest:
        """See ``Context.apply``."""
        return await self.applier.apply(manifest)

    async def create_secret(self, manifest: Manifest, *, again: bool = False) -> bool:
        """See ``Context.create_secret``."""
        return await self.applier.create_secret(manifest, again=again)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """See ``Context.delete``."""
        await self.applier.delete(kind, namespace, name)

    async def disown(self, kind: str, namespace: str, name: str, owners: Collection[str]) -> bool:
        """See ``Context.disown``."""
        try:
            live = await self._api.get(kind, namespace, name)
            meta = live["metadata"]
            found = meta.get("ownerReferences") or []
            kept = [each for each in found if each["kind"] not in owners]
            if kept == found:
                return False
            body = {"metadata": {"resourceVersion": meta["resourceVersion"], "ownerReferences": kept or None}}
            self.cache.put(kind, await self._api.merge(kind, namespace, name, body))
        except NotFound:
            return False
        return True

    async def get_config_map(self, namespace: str, name: str) -> Manifest | None:
        """See ``Context.get_config_map``."""
        try:
            return await self._api.get("ConfigMap", namespace, name)
        except NotFound:
            return None

    async def write_status(self, obj: Manifest, status: Manifest) -> None:
        """See ``Context.write_status``. The patch names the version it was made from: what somebody else wrote is never half kept."""
        kind, meta = obj["kind"], obj["metadata"]
        place = (meta["namespace"], meta["name"])
        live = self.cache.get(kind, *place)
        for attempt in range(3):
            if live is None or live["metadata"].get("uid") != meta.get("uid"):
                return
            patch = status_patch(live.get("status") or {}, status)
            if patch is None:
                return
            body = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "status": patch}
            try:
                self.cache.put(kind, await self._api.merge(kind, *place, body, "status"), own=True)
                return
            except NotFound:
                self.cache.remove(kind, live)
                return
            except Conflict:
                if attempt == 2:
                    raise
                live = await self._fresh(kind, place, live)

    async def add_finalizer(self, obj: Manifest) -> None:
        """See ``Context.add_finalizer``."""
        if not obj["metadata"].get("deletionTimestamp"):
            await self._finalizers(obj, lambda found: found if FINALIZER in found else [*found, FINALIZER])

    async def remove_finalizer(self, obj: Manifest) -> None:
        """See ``Context.remove_finalizer``."""
        await self._finalizers(obj, lambda found: [name for name in found if name != FINALIZER])

    def event(self, obj: Manifest, type: EventType, reason: str, message: str) -> None:
        """See ``Context.event``."""
        self._events.post(obj, type, reason, message)

    def runtime(self, namespace: str, name: str) -> RuntimeClient:
        """See ``Context.runtime``."""
        return self._connect(self, namespace, name)

    async def _finalizers(self, obj: Manifest, change: Callable[[list[str]], list[str]]) -> None:
        """Change the list as a whole, in the version that was read: others' finalizers are never lost."""
        kind, place = obj["kind"], (obj["metadata"]["namespace"], obj["metadata"]["name"])
        live = self.cache.get(kind, *place)
        for attempt in range(3):
            if live is None or live["metadata"].get("uid") != obj["metadata"].get("uid"):
                return
            meta = live["metadata"]
            found = list(meta.get("finalizers") or ())
            wanted = change(found)
            if wanted == found:
                return
            body = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": wanted}}
            try:
                self._saw(kind, await self._api.merge(kind, *place, body))
                return
            except NotFound:
                self.cache.remove(kind, live)
                return
            except Conflict:
                if attempt == 2:
                    raise
                live = await self._fresh(kind, place, live)

    def _saw(self, kind: str, obj: Manifest) -> None:
        """An object that was being deleted went with its last finalizer."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self.cache.remove(kind, obj)
        else:
            self.cache.put(kind, obj, own=True)

    async def _fresh(self, kind: str, place: tuple[str, str], stale: Manifest) -> Manifest | None:
        try:
            found = await self._api.get(kind, *place)
        except NotFound:
            self.cache.remove(kind, stale)
            return None
        self.cache.put(kind, found)
        return found
