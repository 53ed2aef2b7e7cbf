"""Start-up and end: kopf carries the process, the Lease says when to work, the engine works."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import kopf

from superduper_operator.core.api import Api, login
from superduper_operator.core.cache import Cache
from superduper_operator.core.context import Context
from superduper_operator.core.engine import Engine
from superduper_operator.core.events import Events
from superduper_operator.core.keys import Keys, master_key
from superduper_operator.core.lease import Lease, LeaseLost, Terms
from superduper_operator.core.live import LiveContext
from superduper_operator.core.metrics import Metrics
from superduper_operator.core.probes import Heartbeat, Probes
from superduper_operator.core.queue import WorkQueue
from superduper_operator.core.reconciler import Reconciler
from superduper_operator.labels import FINALIZER

if TYPE_CHECKING:
    from superduper_operator.runtime_client import RuntimeClient
    from superduper_operator.settings import Settings

log = logging.getLogger(__name__)

LAST_WORDS: Final = 5.0
"""Seconds that a process has to end after it lost the Lease; then it is ended."""
Connect = Callable[[Context, str, str], "RuntimeClient"]


class Manager:
    """One replica: it stands by until it holds the Lease, then leads until it ends."""

    def __init__(self, settings: Settings, reconcilers: Iterable[Reconciler], connect: Connect) -> None:
        self._settings = settings
        self._reconcilers = tuple(reconcilers)
        self._connect = connect
        self._engine: Engine | None = None
        self._leading = False
        self.metrics = Metrics()
        self._heartbeat = Heartbeat()
        self._queue = WorkQueue()
        self._probes = Probes(self.metrics, live=[self._stuck, self._silent], ready=[self._unready])
        self.metrics.gauge("queue_depth", "Keys that are due and not yet reconciled.", lambda: self._queue.depth)
        self.metrics.gauge(
            "queue_oldest_seconds", "Time for which the oldest of them has waited.", lambda: self._queue.oldest
        )
        self.metrics.gauge("leader", "1 while this replica leads.", lambda: float(self._leading))
        self.metrics.gauge(
            "event_loop_lag_seconds", "By how much the event loop was late.", lambda: self._heartbeat.worst
        )
        self.port = 0

    async def run(self) -> None:
        """Serve probes, stand by, lead. Raises ``LeaseLost``, or what no retry can mend (``ApiError``, ``OSError``)."""
        self.port = await self._probes.start(self._settings.port)
        try:
            configuration = await login()
            async with (
                Api(configuration, timeout=self._settings.request_timeout, failed=self.metrics.refused) as api,
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(self._heartbeat.run(), name="heartbeat")
                tasks.create_task(self._take_part(api), name="lease")
        except* LeaseLost as lost:
            # What cannot be cancelled must not go on writing.
            asyncio.get_running_loop().call_later(LAST_WORDS, os._exit, 1)
            raise lost.exceptions[0] from None
        finally:
            await self._probes.stop()

    async def _take_part(self, api: Api) -> None:
        settings = self._settings
        if not settings.lease_enabled:
            await self._lead(api)
            return
        terms = Terms(settings.lease_duration, settings.lease_renew_deadline, settings.lease_retry)
        lease = Lease(api, settings.namespace, settings.lease_name, settings.pod_name, terms)
        await lease.acquire()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(lease.keep(), name="keep the lease")
                tasks.create_task(self._lead(api), name="lead")
        finally:
            self._leading = False
            await lease.release()

    async def _lead(self, api: Api) -> None:
        settings = self._settings
        keys = Keys(await master_key(api, settings.namespace, settings.key_secret))
        events = Events(api, settings.pod_name)
        context = LiveContext(
            api=api,
            cache=Cache(),
            queue=self._queue,
            settings=settings,
            keys=keys,
            events=events,
            metrics=self.metrics,
            connect=self._connect,
        )
        self._engine = Engine(api, context, self._reconcilers, self.metrics)
        self._leading = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(events.run(), name="events")
            tasks.create_task(self._engine.run(), name="engine")

    def _stuck(self) -> str | None:
        return self._engine.stuck() if self._engine else None

    def _silent(self) -> str | None:
        return self._engine.silent() if self._engine else None

    def _unready(self) -> str | None:
        if self._engine is None or self._engine.synced:
            return None
        return "the caches are being filled"


def register(manager: Manager, stop: asyncio.Event, failed: Callable[[BaseException], None]) -> kopf.OperatorRegistry:
    """Kopf's handlers: the manager starts and ends with the process, and an end of its own ends the process."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_with_service_account)
    kopf.on.login(registry=registry)(kopf.login_via_client)
    running: list[asyncio.Task[None]] = []

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        task = asyncio.create_task(manager.run(), name="manager")
        task.add_done_callback(ended)
        running.append(task)

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failed(error)
        stop.set()

    return registry


def configure(settings: kopf.OperatorSettings) -> None:
    """Kopf writes nothing: it has no handlers of objects, so neither finalizers nor annotations; the names are ours anyway."""
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="superduper.io")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="superduper.io")
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.networking.request_timeout = 30
    settings.scanning.disabled = True
    settings.peering.standalone = True


async def operate(settings: Settings, reconcilers: Iterable[Reconciler], connect: Connect) -> int:
    """Run until a signal or a failure; returns the exit code."""
    manager = Manager(settings, reconcilers, connect)
    stop = asyncio.Event()
    errors: list[BaseException] = []
    registry = register(manager, stop, errors.append)
    await kopf.operator(
        registry=registry,
        standalone=True,
        clusterwide=settings.clusterwide,
        namespaces=list(settings.namespaces),
        stop_flag=stop,
    )
    for error in errors:
        for cause in leaves(error):
            log.critical("%s", cause, exc_info=None if isinstance(cause, LeaseLost) else cause)
    return 1 if errors else 0


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, or the one error."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
