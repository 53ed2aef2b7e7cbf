"""What every request needs: who may come in, and the datalayer, once it is connected."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from superduper.datalayer import Datalayer

if TYPE_CHECKING:
    from superduper.server.state import State

P = ParamSpec("P")
R = TypeVar("R")

OPEN = frozenset({"/healthz", "/readyz"})
"""All that answers without the token."""


class Unauthorized(Exception):
    """The token is missing or wrong."""


class Draining(Exception):
    """The server is about to stop and takes nothing new."""


class Busy(Draining):
    """As much is going on as this server takes."""


class TooLarge(Exception):
    """A request, or an answer that is not streamed, is beyond a limit."""


def check_token(given: str | None, token: str | None) -> None:
    """Compare what a request shows with the token, in constant time. Raises Unauthorized."""
    if token is None:
        return
    scheme, _, shown = (given or "").partition(" ")
    if not hmac.compare_digest(shown.strip().encode(), token.encode()) or scheme.lower() != "bearer":
        raise Unauthorized("give the datalayer's token: Authorization: Bearer TOKEN")


async def state(request: Request) -> State:
    """The server's state, by request. Like what follows a coroutine, so that no thread is asked for it."""
    found: State = request.app.state.server
    return found


async def datalayer(request: Request) -> Datalayer:
    """The datalayer. Raises Unauthorized, and why it is not connected: Unreachable, AccessDenied, ConfigError …"""
    server = await state(request)
    check_token(request.headers.get("authorization"), server.token)
    return server.connection.get()


Server = Annotated["State", Depends(state)]
Db = Annotated[Datalayer, Depends(datalayer)]


async def in_thread(threads: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run what may block in one of those threads."""
    return await asyncio.get_running_loop().run_in_executor(threads, partial(function, *args, **kwargs))
