"""Answers and requests of any length: bit by bit, in a thread each, ended when the other side goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from superduper.server import failures
from superduper.server.flow import Body, Flowing, Produced

if TYPE_CHECKING:
    from superduper.server.state import State

log = logging.getLogger("superduper.server")

R = TypeVar("R")
NDJSON = "application/x-ndjson"
DRAIN_BYTES, DRAIN_SECONDS = 64 << 20, 5.0
"""How much more is read of a request that is refused, so that whoever sends it hears why."""


async def answer(
    server: State,
    make: Callable[[], Iterator[bytes]],
    *,
    media_type: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Send what the iterator gives; it runs in a thread and is closed when the reader goes away.

    What it raises before its first bytes is an ordinary error; later, the connection breaks off, after a line that says
    the error where lines are sent.
    """
    server.stream_begun()
    produced = Produced(make, server.streams)
    try:
        more, first = await produced.take()
    except BaseException:
        await _close(server, produced)
        raise
    if not more:
        await _close(server, produced)
        return Response(b"", status, headers, media_type)
    pieces = _pieces(produced, first or b"", lines=media_type == NDJSON)
    return Flowing(pieces, partial(_close, server, produced), status, headers, media_type)


async def _pieces(produced: Produced[bytes], first: bytes, *, lines: bool) -> AsyncIterator[bytes]:
    yield first
    while True:
        try:
            more, piece = await produced.take()
        except Exception as error:
            # The status is sent already: only a broken connection tells that this is not all.
            log.warning("an answer broke off: %s: %s", type(error).__name__, error)
            if lines:
                said: bytes = failures.answer(error).body  # type: ignore[assignment]
                yield b'{"$error":' + said + b"}\n"
            raise BrokenOff from error
        if not more:
            return
        yield piece or b""


async def _close(server: State, produced: Produced[Any]) -> None:
    server.stream_ended()
    await produced.close()


class BrokenOff(Exception):
    """An answer that cannot be sent to its end."""


async def take(server: State, request: Request, do: Callable[[Iterable[bytes]], R]) -> R:
    """Have a thread take the body, bit by bit. Gives what it gives, raises what it raises."""
    server.stream_begun()
    body = Body(request.stream())
    try:
        found = await asyncio.get_running_loop().run_in_executor(server.streams, do, body)
        await _drain(request)
    except asyncio.CancelledError:
        raise
    except Exception:
        await _drain(request)
        raise
    finally:
        server.stream_ended()
    return found


async def _drain(request: Request) -> None:
    seen = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in request.stream():
                seen += len(chunk)
                if seen > DRAIN_BYTES:
                    return
    except Exception:  # noqa: BLE001 - whoever sent it is gone, or slow: nothing is lost
        return


def lines(rows: Iterable[dict[str, Any]], plain: Callable[[Any], Any], size: int = 64 << 10) -> Iterator[bytes]:
    """Rows as lines of JSON, in pieces of about ``size`` bytes."""
    held: list[bytes] = []
    length = 0
    for row in rows:
        line = json.dumps(plain(row), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        held.append(line)
        length += len(line)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)


__all__ = ["NDJSON", "BrokenOff", "answer", "lines", "take"]
