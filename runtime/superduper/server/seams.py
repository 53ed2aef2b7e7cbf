"""The three stores of a datalayer over HTTP, as ``superduper.backends.http`` speaks to them.

``POST /v1/seams/{part}/{method}`` runs one method of one store; which there are stands in ``calls.py``. A
result that takes longer than a few seconds is announced by signs of life, so that a slow query is told from a dead
server. ``GET`` and ``PUT /v1/seams/artifacts/object`` carry an object in pieces.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from superduper import wire
from superduper.artifacts.seam import ArtifactStore
from superduper.backends.base.metadata import ComponentKey
from superduper.backends.http import records
from superduper.datalayer import Datalayer
from superduper.errors import QueryError, StoreError, SuperduperError
from superduper.server import failures, running
from superduper.server.access import Busy
from superduper.server.answers import Answers
from superduper.server.budget import ROW, Budget, Held
from superduper.server.calls import CALLS, STREAMS, Call, arguments
from superduper.server.flow import Body, Flowing, Produced
from superduper.uris import without_password

ALIVE_SECONDS = 5.0
"""Between two signs of life."""
CALL_BYTES = 256 << 20
"""Bytes of the arguments of one call at most: of the rows of one insert."""
BATCH = 200
"""Rows of one frame at most."""
PIECE = 2 << 20
"""Bytes of an object that are read at once. A slow reader holds four of them."""
SMALL, SMALLS = 128 << 10, 128
"""Bytes of an object at most that is sent with others, and how many of them make a frame."""
WORKERS = 64

Access = Callable[..., Awaitable[Datalayer]]
"""A dependency that lets in who may, and gives the datalayer; it does not block."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much goes on at a time: bytes of arguments that are held, and results and objects that are streamed."""

    budget: Budget = dataclasses.field(default_factory=Budget)
    streams: int = 2 * WORKERS


def router(
    access: Access, changed: Callable[[str, str], None] | None = None, limits: Limits | None = None
) -> APIRouter:
    """The routes. ``changed`` is told part and method of each write that was done."""
    return _Seams(access, changed, limits or Limits()).router


class _Seams:
    def __init__(self, access: Access, changed: Callable[[str, str], None] | None, limits: Limits) -> None:
        self.router = APIRouter(include_in_schema=False)
        self.answers = Answers()
        self.changed, self.limits = changed, limits
        self.calls = ThreadPoolExecutor(WORKERS, "seams-call")
        # Apart from the calls: a reader may hold many streams open while it asks for more.
        self.streams = ThreadPoolExecutor(limits.streams, "seams-stream")
        self.open_streams = 0
        self._add_routes(access)

    def _add_routes(self, access: Access) -> None:
        datalayer = Depends(access)

        @self.router.get("/v1/seams")
        async def greet(db: Datalayer = datalayer) -> Response:
            return self._value(greeting(db))

        @self.router.get("/v1/seams/artifacts/object")
        async def read(request: Request, key: str, db: Datalayer = datalayer) -> Response:
            return await self._guarded(partial(self._read, db, key, request.headers.get("range")))

        @self.router.put("/v1/seams/artifacts/object")
        async def write(request: Request, key: str, overwrite: bool = True, db: Datalayer = datalayer) -> Response:
            body = Body(_unframed(request))
            return await self._guarded(
                partial(self._once, request, f"writing {key}", partial(self._write, db, key, body, overwrite))
            )

        @self.router.post("/v1/seams/{part}/{method}")
        async def call(request: Request, part: str, method: str, db: Datalayer = datalayer) -> Response:
            return await self._guarded(partial(self._call, request, db, part, method))

    async def _guarded(self, do: Callable[[], Any]) -> Response:
        try:
            answer: Response = await do()
        except (SuperduperError, KeyError) as error:
            answer = self._refusal(error)
        except Busy as error:
            answer = failures.answer(error)
        except ClientDisconnect:
            # It broke off before it was whole, or was given up: nothing of it is kept, and nobody may be left to be told.
            answer = self._refusal(StoreError("the body broke off before its end, and nothing of it was stored"))
        answer.headers["superduper-instance"] = self.answers.instance
        return answer

    def _refusal(self, error: BaseException) -> Response:
        from superduper.server.statuses import status_of

        return Response(wire.dumps(wire.error_to(error)), status_of(error), media_type=wire.MEDIA_TYPE)

    def _value(self, value: Any) -> Response:
        return Response(
            wire.dumps(value), media_type=wire.MEDIA_TYPE, headers={"superduper-instance": self.answers.instance}
        )

    async def _once(self, request: Request, what: str, do: Callable[[], Any]) -> Response:
        number, before = request.headers.get("superduper-request"), request.headers.get("superduper-retry")
        return await self.answers.once(number, before, what, do)

    # Methods

    async def _call(self, request: Request, db: Datalayer, part: str, method: str) -> Response:
        known = CALLS.get(part, {}).get(method) or STREAMS.get(part, {}).get(method)
        if known is None:
            raise QueryError(f"{part}/{method} is nothing that can be called here")
        what = f"{part}/{method}"
        if begun := self.answers.begun(request.headers.get("superduper-request")):
            # What it is called with is held already, for the first time that it was sent.
            async for _ in request.stream():
                continue
            return await asyncio.shield(begun)
        with ExitStack() as ends:
            held = ends.enter_context(self.limits.budget.hold())
            args, kwargs = await self._arguments(request, held, known, what)
            if method in STREAMS.get(part, {}):
                return await self._stream(partial(_items, db, part, method, args, kwargs), ends)
            run = partial(_run, db, part, method, args, kwargs)
            if known.reads:
                return await self._alive(Produced(lambda: iter([run()]), self.calls), ends.pop_all(), single=True)
            return await self._once(request, what, partial(self._written, part, method, run, ends))

    async def _arguments(
        self, request: Request, held: Held, known: Call, what: str
    ) -> tuple[list[Any], dict[str, Any]]:
        body = await self._whole(request, held)
        args, kwargs = arguments(known, body, what)
        held.grow(len(body) + ROW * sum(len(arg) for arg in args if isinstance(arg, (list, dict))))
        return args, kwargs

    async def _whole(self, request: Request, held: Held) -> bytearray:
        """The body, if it is not too large. What it will hold is asked for first, so that no half of it waits for room."""
        limit = min(CALL_BYTES, self.limits.budget.limit)
        length = request.headers.get("content-length", "0")
        body = bytearray()
        if length.isdigit() and int(length) <= limit:
            held.grow(int(length))
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise StoreError(
                    f"rows of one call have at most {limit >> 20} MiB here; add fewer at once, and keep large values as artifacts"
                )
            held.grow(len(body))
        return body

    async def _written(self, part: str, method: str, run: Callable[[], Any], ends: ExitStack) -> Response:
        """Done to the end, whoever still listens."""
        with ends.pop_all():
            try:
                value = await asyncio.get_running_loop().run_in_executor(self.calls, run)
            except (SuperduperError, KeyError) as error:
                return self._refusal(error)
        if self.changed is not None:
            self.changed(part, method)
        return self._value(value)

    async def _stream(self, items: Callable[[], Iterable[Any]], ends: ExitStack) -> Response:
        self._stream_begun(ends)
        return await self._alive(Produced(lambda: iter(items()), self.streams), ends.pop_all(), single=False)

    def _stream_begun(self, ends: ExitStack) -> None:
        """A thread is taken until ``ends`` closes. Raises Busy where none is left: to wait for one would be silence."""
        if self.open_streams >= self.limits.streams:
            raise Busy(
                f"{self.open_streams} results and objects are being read and written at once, and no more are opened; read "
                "them to the end"
            )
        self.open_streams += 1
        ends.callback(self._stream_ended)

    def _stream_ended(self) -> None:
        self.open_streams -= 1

    async def _alive(self, produced: Produced[Any], ends: ExitStack, *, single: bool) -> Response:
        """The only item as it is, where it comes soon; else frames, with signs of life between them."""
        try:
            if await produced.ready(ALIVE_SECONDS):
                more, item = await produced.take()
                if single:
                    await _close(produced, ends)
                    return self._value(item)
                frames = self._frames(produced, [item] if more else [], ended=not more)
            else:
                frames = self._frames(produced, [], ended=False)
        except BaseException:
            await _close(produced, ends)
            raise
        return Flowing(frames, partial(_close, produced, ends), media_type=wire.STREAM_TYPE)

    async def _frames(self, produced: Produced[Any], begun: list[Any], *, ended: bool) -> AsyncGenerator[bytes, None]:
        try:
            for item in begun:
                yield wire.frame(wire.ITEM, wire.dumps(item))
            while not ended:
                if not await produced.ready(ALIVE_SECONDS):
                    yield wire.frame(wire.ALIVE)
                    continue
                more, item = await produced.take()
                if not more:
                    break
                yield wire.frame(wire.ITEM, wire.dumps(item))
            yield wire.frame(wire.END)
        except (SuperduperError, KeyError) as error:
            yield wire.frame(wire.ERROR, wire.dumps(wire.error_to(error))) + wire.frame(wire.END)

    # Objects

    async def _read(self, db: Datalayer, key: str, wanted: str | None) -> Response:
        start, length = _range(wanted)
        store, loop = db.artifact_store, asyncio.get_running_loop()
        first = await loop.run_in_executor(
            self.calls, store.get_range, key, start, PIECE if length is None else min(length, PIECE)
        )
        headers = {} if length is None else {"content-range": f"bytes {start}-{start + max(len(first), 1) - 1}/*"}
        status = 200 if length is None else 206
        if len(first) < PIECE or len(first) == length:
            if length and not first:
                status = 416
            return Response(first, status, headers, media_type="application/octet-stream")
        info = await loop.run_in_executor(self.calls, store.head, key)
        if info is None:
            raise KeyError(key)
        end = info.size if length is None else min(info.size, start + length)
        if length is not None:
            headers["content-range"] = f"bytes {start}-{end - 1}/{info.size}"
        headers["content-length"] = str(end - start)
        with ExitStack() as ends:
            self._stream_begun(ends)
            produced: Produced[bytes] = Produced(partial(_pieces, store, key, start + len(first), end), self.streams, 1)
            ended = partial(_close, produced, ends.pop_all())
        return Flowing(_bytes(produced, [first]), ended, status, headers, "application/octet-stream")

    async def _write(self, db: Datalayer, key: str, body: Body, overwrite: bool) -> Response:
        with ExitStack() as ends:
            self._stream_begun(ends)
            try:
                new = await asyncio.get_running_loop().run_in_executor(
                    self.streams, lambda: db.artifact_store.put(key, body, overwrite=overwrite)
                )
                await body.drain()
            except (SuperduperError, KeyError) as error:
                return self._refusal(error)
        return self._value(new)


def greeting(db: Datalayer) -> dict[str, Any]:
    """What a client has to know before its first call."""
    from superduper import __version__

    return {
        "version": __version__,
        "abilities": dataclasses.asdict(db.databackend.abilities),
        "databackend": without_password(db.databackend.uri),
        "metadata": without_password(db.metadata.uri),
        "artifactStore": without_password(db.artifact_store.uri),
        "compute": db.compute.uri,
        "hash": db.settings.hash,
    }


async def _close(produced: Produced[Any], ends: ExitStack) -> None:
    ends.close()
    await produced.close()


def _run(db: Datalayer, part: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if part == "metadata":
        if method == "put_job":
            args = [records.job(args[0])]
        elif method == "children":
            args = [records.key(args[0])]
        elif method == "add_component":
            kwargs = {**kwargs, "children": [ComponentKey(*key) for key in kwargs.get("children", ())]}
        found = getattr(db.metadata, method)(*args, **kwargs)
        return wire.dumps(found) if method == "state" else records.plain(found)
    if part == "artifacts":
        found = getattr(db.artifact_store, method)(*args, **kwargs)
        return sorted(found) if isinstance(found, (set, frozenset)) else found
    if part == "models":
        return getattr(running, method)(db, *args, **kwargs)
    found = getattr(db.databackend, method)(*args, **kwargs)
    return sorted(found) if isinstance(found, (set, frozenset)) else found


def _items(db: Datalayer, part: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> Iterator[Any]:
    if part == "data":
        batch = min(int(kwargs.get("batch", BATCH)), BATCH if method == "select" else 1000)
        yield from getattr(db.databackend, method)(*args, batch=batch)
        return
    if part == "models":
        yield from getattr(running, method)(db, *args, **kwargs)
        return
    if method == "get_many":
        yield from _objects(db.artifact_store, args[0])
        return
    found = db.metadata.artifacts() if part == "metadata" else getattr(db.artifact_store, method)(*args)
    batch_: list[Any] = []
    for one in found:
        batch_.append(one if isinstance(one, str) else list(one))
        if len(batch_) >= 500:
            yield batch_
            batch_ = []
    if batch_:
        yield batch_


def _objects(store: ArtifactStore, keys: list[str]) -> Iterator[list[bytes | bool | None]]:
    """Objects in lists of so many bytes; None for one that is not there, True for one that is too large to go along."""

    def read(key: str) -> bytes | bool | None:
        try:
            data = store.get_range(key, 0, SMALL + 1)
        except KeyError:
            return None
        return data if len(data) <= SMALL else True

    for start in range(0, len(keys), SMALLS):
        yield list(store.each(read, keys[start : start + SMALLS]))


async def _unframed(request: Request) -> AsyncIterator[bytes]:
    """The bytes of an object that arrives in frames. Raises where its sender gave up."""
    frames = wire.Unframer()
    async for chunk in request.stream():
        for part in frames.feed(chunk):
            yield part
    if not frames.ended:
        raise ClientDisconnect("its sender gave up")


def _range(header: str | None) -> tuple[int, int | None]:
    """Start and length that ``bytes=3-6`` says."""
    if header is None:
        return 0, None
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if (
        not header.startswith("bytes=")
        or not dash
        or not first.isdigit()
        or not last.isdigit()
        or int(last) < int(first)
    ):
        raise QueryError(f"the range {header!r} is not understood: write bytes=0-1023")
    return int(first), int(last) - int(first) + 1


def _pieces(store: Any, key: str, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = store.get_range(key, start, min(PIECE, end - start))
        if not piece:
            raise StoreError(f"{key} became shorter while it was read")
        start += len(piece)
        yield piece


async def _bytes(produced: Produced[bytes], first: list[bytes]) -> AsyncGenerator[bytes, None]:
    # Out of the list, so that nothing keeps it while the rest is read.
    yield first.pop()
    while True:
        more, piece = await produced.take()
        if not more or piece is None:
            return
        yield piece
