"""The informer: what happens in a gap of the watch is in the cache after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from superduper_operator.core.api import Api, login
from superduper_operator.core.cache import Cache
from superduper_operator.core.errors import Gone
from superduper_operator.core.resources import RESOURCES, Resource
from superduper_operator.core.watch import Informer
from tests.operator.core.harness import Manifest, api, condition, eventually, operator, probe
from tests.operator.core.mirror import Mirror, datalayer, service
from tests.servers.apiserver import ApiServer


class Gappy(Api):
    """Its watches hear nothing, and end with 410 when they are told to."""

    gap: asyncio.Event | None = None

    @asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, since: str, silence: float
    ) -> AsyncIterator[AsyncIterator[Manifest]]:
        if self.gap is not None:
            await self.gap.wait()
            self.gap = None
            raise Gone("too old resource version", status=410)
        async with super().watch(resource, namespace, since, silence) as changes:
            yield changes


def test_what_was_deleted_and_made_in_a_gap_of_the_watch_is_noticed(namespace: str) -> None:
    told: list[tuple[str, str]] = []

    def changed(_: str, old: Manifest | None, new: Manifest | None) -> None:
        what = "added" if old is None else "deleted" if new is None else "changed"
        told.append((what, (new or old or {})["metadata"]["name"]))

    async def run() -> None:
        async with api() as kube, Gappy(await login()) as gappy:
            cache = Cache(changed)
            for name in ("one", "two"):
                await kube.create(service(namespace, name))
            gappy.gap = asyncio.Event()
            informer = Informer(gappy, cache, RESOURCES["Service"], namespace)
            task = asyncio.create_task(informer.run())
            await eventually(lambda: asyncio.sleep(0, informer.settled))
            told.clear()
            await kube.delete("Service", namespace, "one-server")
            await kube.create(service(namespace, "three"))
            gappy.gap.set()
            await eventually(lambda: asyncio.sleep(0, len(told) >= 2))
            assert told == [("deleted", "one-server"), ("added", "three-server")]
            # And from there it watches again.
            await kube.delete("Service", namespace, "two-server")
            await eventually(lambda: asyncio.sleep(0, told[-1] == ("deleted", "two-server")))
            task.cancel()

    asyncio.run(run())


def test_a_list_longer_than_a_page_is_whole(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube:
            made = [kube.create(service(namespace, f"s{n}")) for n in range(12)]
            await asyncio.gather(*made)
            cache = Cache()
            plain = kube.list

            async def small(resource: Resource, where: str | None, *, limit: int = 500, resume: str = "") -> Manifest:
                return await plain(resource, where, limit=5, resume=resume)

            kube.list = small  # type: ignore[method-assign]
            informer = Informer(kube, cache, RESOURCES["Service"], namespace)
            await informer._list()
            assert len(cache.list("Service", namespace)) == 12

    asyncio.run(run())


def test_a_restart_of_the_api_server_is_waited_for_and_nothing_is_missed(namespace: str, kubernetes: ApiServer) -> None:
    async def ready(name: str) -> bool:
        async with api() as kube:
            return condition(await kube.get("Datalayer", namespace, name)).get("status") == "True"

    async def run() -> None:
        async with operator(namespace, Mirror()) as manager:
            async with api() as kube:
                await kube.create(datalayer(namespace, "before"))
            await eventually(lambda: ready("before"))
            await asyncio.to_thread(kubernetes.stop)
            try:
                await eventually(lambda: asyncio.sleep(0, 'status="0"' in manager.metrics.page().decode()))
                assert (await probe(manager.port, "/healthz"))[0] == 200
            finally:
                await asyncio.to_thread(kubernetes.start)
            async with api() as kube:
                await kube.delete("Service", namespace, "before-server")
                await kube.create(datalayer(namespace, "after"))
                await eventually(lambda: ready("after"), deadline=30)
                await eventually(lambda: kube.get("Service", namespace, "before-server"), deadline=30)

    asyncio.run(run())
