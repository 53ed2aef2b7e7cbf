"""An operator with reconcilers of the test, on a real API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from superduper_operator.core.api import Api, login
from superduper_operator.core.reconciler import Reconciler
from superduper_operator.manager import Manager
from superduper_operator.settings import Settings

Manifest = dict[str, Any]


async def eventually(what: Callable[[], Awaitable[Any]], deadline: float = 20) -> Any:
    """The first true answer. After the deadline (seconds) the last answer is the failure's message."""
    end = time.monotonic() + deadline
    while True:
        try:
            found, seen = await what(), None
        except Exception as error:
            found, seen = None, error
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline} s; last seen: {seen or found!r}"
        await asyncio.sleep(0.05)


def no_server(*_: object) -> Any:
    raise AssertionError("no datalayer server in these tests")


@asynccontextmanager
async def operator(namespace: str, *reconcilers: Reconciler, **settings: Any) -> AsyncIterator[Manager]:
    """A manager that has begun to work, in one namespace."""
    given: dict[str, Any] = {
        "namespace": namespace,
        "namespaces": namespace,
        "port": 0,
        "lease_enabled": False,
        **settings,
    }
    manager = Manager(Settings(**given), reconcilers, no_server)
    task = asyncio.create_task(manager.run())
    try:

        async def ready() -> bool:
            if task.done():
                return True
            return manager.port > 0 and (await probe(manager.port, "/readyz"))[0] == 200 and leading(manager)

        await eventually(ready)
        if task.done():
            task.result()
        yield manager
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def leading(manager: Manager) -> bool:
    return b"superduper_operator_leader 1.0" in manager.metrics.page()


async def probe(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


@asynccontextmanager
async def api() -> AsyncIterator[Api]:
    """Somebody else, with all rights."""
    async with Api(await login()) as found:
        yield found


def condition(obj: Manifest, type: str = "Ready") -> Manifest:
    found = (obj.get("status") or {}).get("conditions") or []
    return next((condition for condition in found if condition["type"] == type), {})


def versions(objects: Sequence[Manifest]) -> list[str]:
    return [obj["metadata"]["resourceVersion"] for obj in objects]
