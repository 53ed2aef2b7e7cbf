"""What every request passes first: the token, the limits, whether the server still takes it; and it is counted."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from superduper.server import failures
from superduper.server.access import OPEN, Busy, Draining, TooLarge, Unauthorized, check_token
from superduper.server.budget import Held
from superduper.server.streams import BrokenOff

if TYPE_CHECKING:
    from superduper.server.state import State

STREAMED = re.compile(r"/v1/(artifacts|seams|tables/[^/]+/rows)(/|$)")
"""Bodies that are read bit by bit, and have limits of their own."""
READS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Gate:
    """ASGI middleware, outermost but for faults."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = 499

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *((k, v) for k, v in HEADERS if k not in present)]
            elif message["type"] == "http.response.body":
                self.state.metrics.sent.inc(len(message.get("body", b"")))
            await send(message)

        counted = scope["path"] not in OPEN
        held = self.state.budget.hold()
        try:
            if counted:
                self._let_in(scope, held)
                self.state.begun()
            try:
                await self.app(scope, self._bounded(scope, receive, held), told)
            finally:
                if counted:
                    self.state.ended()
        except BrokenOff:
            # Left unfinished, so that the connection breaks: the reader must not take it for all.
            return
        except (Unauthorized, Draining, TooLarge) as error:
            await failures.answer(error)(scope, receive, told)
        finally:
            held.free()
            self.state.metrics.request(scope, status, time.monotonic() - started)

    def _let_in(self, scope: Scope, held: Held) -> None:
        headers = dict(scope["headers"])
        check_token(headers.get(b"authorization", b"").decode("latin-1"), self.state.token)
        if self.state.draining and scope["method"] not in READS:
            raise Draining("the server is about to stop and takes no more writes; try again")
        if self.state.active >= self.state.settings.max_requests:
            raise Busy(f"{self.state.active} requests are being answered, and no more are taken; try again")
        length = headers.get(b"content-length", b"0")
        if not STREAMED.match(scope["path"]) and length.isdigit():
            if int(length) > self.state.settings.max_body:
                raise self._too_large()
            held.grow(int(length))

    def _bounded(self, scope: Scope, receive: Receive, held: Held) -> Receive:
        """What arrives, counted; JSON is refused once it is too much."""
        limit = None if STREAMED.match(scope["path"]) else int(self.state.settings.max_body)
        seen = 0

        async def read() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                self.state.metrics.received.inc(size)
                seen += size
                if limit is None:
                    return message
                # FastAPI takes any other error for one of the body's form.
                if seen > limit:
                    raise HTTPException(413, str(self._too_large()))
                try:
                    held.grow(seen)
                except Busy as error:
                    raise HTTPException(503, str(error)) from error
            return message

        return read

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"a request in JSON has at most {self.state.settings.max_body:,} bytes here; rows and artifacts are streamed"
        )
