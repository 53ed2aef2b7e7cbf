"""What was answered to writes, kept for a while: a request that comes again is answered again, not done again."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from superduper.errors import Unreachable

KEPT_SECONDS, KEPT_BYTES = 600.0, 64 << 20
"""How long, and of how many bytes in all, answers are kept."""


@dataclass(slots=True)
class _Kept:
    done: asyncio.Future[Response]
    until: float = field(default_factory=lambda: time.monotonic() + KEPT_SECONDS)
    size: int = 0


class Answers:
    """The answers of this process. ``instance`` is its name: another process has not seen what this one has."""

    def __init__(self) -> None:
        self.instance = uuid.uuid4().hex
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    def begun(self, request: str | None) -> asyncio.Future[Response] | None:
        """The answer to the request of that number, if it was begun here, done or not."""
        known = self._kept.get(request) if request is not None else None
        return None if known is None else known.done

    async def once(
        self, request: str | None, before: str | None, what: str, do: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer to the request of that number, done now if it was not yet.

        ``before`` names the process that it was sent to before, where it was. Raises Unreachable where that was another
        one, so that nobody knows whether it was done.
        """
        if request is None:
            return await do()
        known = self._kept.get(request)
        if known is not None:
            # What was cut off before it had arrived whole was not done: it is now.
            with contextlib.suppress(ClientDisconnect):
                return await asyncio.shield(known.done)
        if before is not None and before != self.instance:
            raise Unreachable(
                f"the connection was lost during {what}, and another server process answers now: whether it was done is not "
                "known; look at the data before you do it again"
            )
        self._forget()
        kept = self._kept[request] = _Kept(asyncio.get_running_loop().create_future())
        # Not of this request: its connection may be lost, and what it began goes on.
        task = asyncio.ensure_future(do())
        task.add_done_callback(lambda done: self._keep(request, kept, done))
        return await asyncio.shield(kept.done)

    def _keep(self, request: str, kept: _Kept, done: asyncio.Future[Response]) -> None:
        error = done.exception() if not done.cancelled() else asyncio.CancelledError()
        if error is not None:
            self._kept.pop(request, None)
            if not kept.done.done():
                kept.done.set_exception(error)
                kept.done.exception()  # nobody may be left to ask for it
            return
        answer = done.result()
        kept.size = len(answer.body)
        self._size += kept.size
        if not kept.done.done():
            kept.done.set_result(answer)

    def _forget(self) -> None:
        now = time.monotonic()
        while self._kept:
            request, oldest = next(iter(self._kept.items()))
            if not oldest.done.done() or (oldest.until > now and self._size <= KEPT_BYTES):
                return
            self._size -= oldest.size
            del self._kept[request]
