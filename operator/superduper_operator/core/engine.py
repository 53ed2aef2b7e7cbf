"""The engine: what changed is queued, what is queued is reconciled, what failed is said and tried again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from superduper_operator.core.api import Api
from superduper_operator.core.cache import Cache
from superduper_operator.core.conditions import explain, failed_status
from superduper_operator.core.errors import ApiError, Conflict, Unavailable
from superduper_operator.core.live import LiveContext
from superduper_operator.core.manifest import Manifest
from superduper_operator.core.metrics import Metrics
from superduper_operator.core.queue import WorkQueue
from superduper_operator.core.reconciler import Key, Reconciler
from superduper_operator.core.resources import RESOURCES
from superduper_operator.core.watch import SILENCE, Informer
from superduper_operator.labels import DATALAYER, MODEL

log = logging.getLogger(__name__)

GRACE: Final = 30.0
"""A reconcile that goes on so many seconds past its deadline cannot be ended: the process is unwell."""
QUIET_FAILURES: Final = 3
"""Failures of the API server alone that pass before they are shown on the object: most mend themselves at once."""
LABELS: Final = {MODEL: "Model", DATALAYER: "Datalayer"}
"""Whose child an object is, by its label; the first that is there counts."""


def affected(kind: str, old: Manifest | None, new: Manifest | None) -> set[Key]:
    """Which keys a change of an object concerns. A child whose label was taken away still concerns its former owner.

    Changes of the status of our own kinds are our own writes.
    """
    if RESOURCES[kind].ours:
        if old is not None and new is not None and _asked(old) == _asked(new):
            return set()
        return {
            Key(kind, obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in (old, new) if obj is not None
        }
    return {key for obj in (old, new) if obj is not None and (key := _owner(obj)) is not None}


def _owner(obj: Manifest) -> Key | None:
    labels = obj["metadata"].get("labels") or {}
    label = next((label for label in LABELS if label in labels), None)
    return Key(LABELS[label], obj["metadata"]["namespace"], labels[label]) if label else None


def _asked(obj: Manifest) -> tuple[object, ...]:
    meta = obj["metadata"]
    names = ("uid", "generation", "deletionTimestamp", "labels", "annotations", "finalizers")
    return tuple(meta.get(name) for name in names)


class Engine:
    """Watches, queue and workers of one leader. ``run`` ends only by an error or by being cancelled."""

    def __init__(
        self,
        api: Api,
        context: LiveContext,
        reconcilers: Iterable[Reconciler],
        metrics: Metrics,
    ) -> None:
        self._context = context
        self._cache: Cache = context.cache
        self._queue: WorkQueue = context.queue
        self._settings = context.settings
        self._metrics = metrics
        self._reconcilers: Mapping[str, Reconciler] = {reconciler.kind: reconciler for reconciler in reconcilers}
        self._informers = [
            Informer(api, self._cache, resource, namespace)
            for resource in RESOURCES.values()
            if resource.watched
            for namespace in (self._settings.namespaces or (None,))
        ]
        self._kuberay = False
        self._slots = asyncio.Semaphore(self._settings.workers)
        self._cache.changed = self._changed
        self._synced = False
        metrics.read_objects = self._count

    @property
    def synced(self) -> bool:
        """Whether every cache was whole once."""
        return self._synced

    def silent(self) -> str | None:
        """The watch that hangs, if one does."""
        worst = max(self._informers, key=lambda informer: informer.silent)
        return f"the watch of {worst} has been silent for {worst.silent:.0f} s" if worst.silent > 2 * SILENCE else None

    def stuck(self) -> str | None:
        """The reconcile that cannot be ended, if there is one."""
        key, seconds = self._queue.longest_run()
        if seconds > self._settings.reconcile_deadline + GRACE:
            return f"the reconcile of {key} has been running for {seconds:.0f} s and cannot be ended"
        return None

    async def run(self) -> None:
        """Watch; once all caches are whole, reconcile."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers:
                tasks.create_task(informer.run(), name=f"watch {informer}")
            await self._settle()
            tasks.create_task(self._resync(), name="resync")
            while True:
                await self._slots.acquire()
                key = await self._queue.get()
                self._metrics.waited(self._queue.schedule.last_wait)
                tasks.create_task(self._work(key), name=str(key))

    async def _settle(self) -> None:
        began = said = time.monotonic()
        while not all(informer.settled for informer in self._informers):
            await asyncio.sleep(0.02)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                missing = ", ".join(str(informer) for informer in self._informers if not informer.settled)
                log.warning("not begun yet: waiting for the first list of %s", missing)
        self._synced = True
        self._kuberay = self._context.kuberay
        log.info("all caches are filled after %.2f s", time.monotonic() - began)

    async def _work(self, key: Key) -> None:
        began = time.monotonic()
        after: float | None = None
        result = "ok"
        try:
            async with asyncio.timeout(self._settings.reconcile_deadline):
                outcome = await self._reconcilers[key.kind].reconcile(key, self._context)
            after = outcome.requeue_after
        except TimeoutError as error:
            result = "timeout"
            late = time.monotonic() - began >= self._settings.reconcile_deadline
            message = f"it was not done within {self._settings.reconcile_deadline:g} s" if late else str(error)
            await self._failed(key, TimeoutError(message))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something inside it was cancelled, not we.
            result = "error"
            await self._failed(key, TimeoutError("it was cancelled from inside"))
        except Exception as error:  # noqa: BLE001 - whatever a reconcile raises is said on its object
            result = "error"
            await self._failed(key, error)
        else:
            self._queue.done(key, after)
        finally:
            self._slots.release()
            self._metrics.reconciled(key.kind, result, time.monotonic() - began)

    async def _failed(self, key: Key, error: Exception) -> None:
        """Say it in the log, in an event and in the conditions, in the same words; then have it tried again.

        Whatever goes wrong in saying it ends nothing: one odd object is no reason to leave all others alone.
        """
        wait = error.retry_after if isinstance(error, ApiError) and error.retry_after else 0.0
        try:
            await self._say(key, error)
        except (ApiError, TimeoutError) as second:
            log.warning("%s: its status could not be written: %s", key, second, extra={"object": str(key)})
        except Exception:
            log.exception("%s: its status could not be written", key, extra={"object": str(key)})
        finally:
            wait = self._queue.failed(key, at_least=wait)
            log.debug("%s is tried again in %.1f s", key, wait)

    async def _say(self, key: Key, error: Exception) -> None:
        reason, message = explain(error)
        failures = self._queue.schedule.failures(key) + 1
        quiet = isinstance(error, Conflict | Unavailable) and failures < QUIET_FAILURES
        if isinstance(error, ApiError | TimeoutError):
            log.log(logging.INFO if quiet else logging.WARNING, "%s: %s", key, message, extra={"object": str(key)})
        else:
            log.error("%s: %s", key, message, exc_info=error, extra={"object": str(key)})
        obj = self._cache.get(key.kind, key.namespace, key.name)
        if obj is not None and not quiet:
            self._context.event(obj, "Warning", reason.value, message)
            async with asyncio.timeout(self._settings.request_timeout):
                await self._context.write_status(obj, failed_status(obj, reason, message))

    async def _resync(self) -> None:
        """Everything is looked at again now and then, spread over the time; so is whether KubeRay came or went."""
        due = time.monotonic() + self._settings.resync
        while True:
            await asyncio.sleep(1)
            if self._context.kuberay != self._kuberay:
                self._kuberay = self._context.kuberay
                log.info("KubeRay is %s", "there now" if self._kuberay else "gone")
                self._queue_all(("Model",), 0)
            if time.monotonic() >= due:
                due = time.monotonic() + self._settings.resync
                self._context.applier.tidy()
                self._queue_all(self._reconcilers, self._settings.resync / 2)

    def _queue_all(self, kinds: Iterable[str], within: float) -> None:
        for kind in kinds:
            for obj in self._cache.all(kind):
                key = Key(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
                self._queue.add(key, random.uniform(0, within))

    def _changed(self, kind: str, old: Manifest | None, new: Manifest | None) -> None:
        for key in affected(kind, old, new):
            if key.kind in self._reconcilers:
                self._queue.add(key)

    def _count(self) -> dict[tuple[str, str], int]:
        found: Counter[tuple[str, str]] = Counter()
        for kind in self._reconcilers:
            found.update((kind, _ready(obj)) for obj in self._cache.all(kind))
        return dict(found)


def _ready(obj: Manifest) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((condition["status"] for condition in conditions if condition.get("type") == "Ready"), "Unknown")
