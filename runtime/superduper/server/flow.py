"""Between the event loop and the threads in which stores work: bounded both ways, ended from either side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Generic, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
AHEAD = 2
"""Items that a producer may be ahead of its reader, by default."""


class Produced(Generic[T]):
    """What an iterator gives that is run in a thread, read from the event loop.

    The iterator is made, advanced and closed in one and the same thread, and waits while ``ahead`` items are not taken.
    """

    def __init__(self, make: Callable[[], Iterator[T]], threads: Executor, ahead: int = AHEAD) -> None:
        self._make, self._threads = make, threads
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[tuple[bool, T | BaseException | None]] = asyncio.Queue()
        self._room = threading.Semaphore(ahead)
        self._stopped = threading.Event()
        self._held: tuple[bool, T | BaseException | None] | None = None
        self._running = self._loop.run_in_executor(threads, self._run)

    def _run(self) -> None:
        try:
            items = self._make()
            try:
                for item in items:
                    self._room.acquire()
                    if self._stopped.is_set():
                        return
                    self._tell(True, item)
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are read
            self._tell(False, error)
        else:
            self._tell(False, None)

    def _tell(self, more: bool, item: T | BaseException | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._items.put_nowait, (more, item))

    async def ready(self, seconds: float) -> bool:
        """Whether an item, the end or an error is there within that time."""
        if self._held is None:
            try:
                self._held = await asyncio.wait_for(self._items.get(), seconds)
            except TimeoutError:
                return False
        return True

    async def take(self) -> tuple[bool, T | None]:
        """``(True, item)``, or ``(False, None)`` at the end. Raises what the iterator raised."""
        more, item = self._held or await self._items.get()
        self._held = None
        if more:
            self._room.release()
            return True, item  # type: ignore[return-value]
        self._held = (more, None)
        if isinstance(item, BaseException):
            raise item
        return False, None

    async def close(self) -> None:
        """Let the thread come to its end; what is not taken is thrown away."""
        self._stopped.set()
        self._room.release()


class Flowing(StreamingResponse):
    """An answer in pieces. ``ended`` is awaited once it is over, also where its reader was gone before it began."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        ended: Callable[[], Awaitable[None]],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(pieces, status, headers, media_type)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A generator that was never begun does not run what stands in its ``finally``.
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._ended()


class Body:
    """The body of a request, for a thread that stores it: pieces of about a MiB, fetched as they are asked for."""

    PIECE = 1 << 20

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks, self._loop = chunks, asyncio.get_running_loop()

    def __iter__(self) -> Iterator[bytes]:
        """Called in the thread."""
        while data := asyncio.run_coroutine_threadsafe(self._piece(), self._loop).result():
            yield data

    async def _piece(self) -> bytes:
        held: list[bytes] = []
        size = 0
        async for chunk in self._chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= self.PIECE:
                break
        return b"".join(held)

    async def drain(self) -> None:
        """Read what is left, so that whoever sends it hears the answer."""
        async for _ in self._chunks:
            continue
