"""One port with /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from superduper_operator.core.metrics import CONTENT_TYPE, Metrics

Check = Callable[[], str | None]
"""What is wrong, or None."""

BEAT: Final = 1.0


class Heartbeat:
    """How late the event loop is: a call that blocks it shows as seconds here."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.worst = 0.0

    async def run(self) -> None:
        """Beat each second, for ever."""
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(BEAT)
            self.worst = max(self.lag, self.worst * 0.9)

    @property
    def lag(self) -> float:
        """Seconds by which the loop is behind."""
        return max(time.monotonic() - self._last - BEAT, 0.0)


class Probes:
    """The HTTP server of the probes. A loop that is blocked answers nobody, which fails the kubelet's probe as well."""

    def __init__(self, metrics: Metrics, *, live: Sequence[Check], ready: Sequence[Check]) -> None:
        self._metrics = metrics
        self._checks = {"/healthz": tuple(live), "/readyz": tuple(ready)}
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Serve, and return the port; for port 0 a free one, on the loopback. Raises ``OSError`` where it is taken."""
        app = web.Application()
        for path in self._checks:
            app.router.add_get(path, self._check)
        app.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, None if port else "127.0.0.1", port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Serve no longer."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _check(self, request: web.Request) -> web.Response:
        wrong = [text for check in self._checks[request.path] if (text := check()) is not None]
        return web.Response(status=503 if wrong else 200, text="\n".join(wrong or ["ok"]) + "\n")

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.page(), headers={"Content-Type": CONTENT_TYPE})
