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
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

from superduper import wire
from superduper.artifacts.seam import ArtifactStore
from superduper.backends.base.metadata import ComponentKey
from superduper.backends.http import records
from superduper.datalayer import Datalayer
from superduper.errors import QueryError, StoreError, SuperduperError, Unreachable
from superduper.server import running
from superduper.server.answers import Answers
from superduper.server.calls import CALLS, STREAMS, arguments
from superduper.server.flow import Body, Produced
from superduper.uris import without_password

ALIVE_SECONDS = 5.0
"""Between two signs of life."""
CALL_BYTES = 256 << 20
"""Bytes of the arguments of one call at most: of the rows of one insert."""
BATCH = 200
"""Rows of one frame at most."""
PIECE = 4 << 20
"""Bytes of an object that are read at once."""
SMALL, SMALLS = 128 << 10, 128
"""Bytes of an object at most that is sent with others, and how many of them make a frame."""
WORKERS = 64

Access = Callable[..., Awaitable[Datalayer]]
"""A dependency that lets in who may, and gives the datalayer; it does not block."""


def router(access: Access, changed: Callable[[str, str], None] | None = None) -> APIRouter:
    """The routes. ``changed`` is told part and method of each write that was done."""
    return _Seams(access, changed).router


class _Seams:
    def __init__(self, access: Access, changed: Callable[[str, str], None] | None) -> None:
        self.router = APIRouter(include_in_schema=False)
        self.answers = Answers()
        self.changed = changed
        self.calls = ThreadPoolExecutor(WORKERS, "seams-call")
        # Apart from the calls: a reader may hold many streams open while it asks for more.
        self.streams = ThreadPoolExecutor(2 * WORKERS, "seams-stream")
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
        args, kwargs = arguments(known, await _whole(request), f"{part}/{method}")
        if method in STREAMS.get(part, {}):
            return await self._stream(partial(_items, db, part, method, args, kwargs))
        run = partial(_run, db, part, method, args, kwargs)
        if known.reads:
            return await self._result(run)
        return await self._once(request, f"{part}/{method}", partial(self._written, part, method, run))

    async def _written(self, part: str, method: str, run: Callable[[], Any]) -> Response:
        """Done to the end, whoever still listens."""
        try:
            value = await asyncio.get_running_loop().run_in_executor(self.calls, run)
        except (SuperduperError, KeyError) as error:
            return self._refusal(error)
        if self.changed is not None:
            self.changed(part, method)
        return self._value(value)

    async def _result(self, run: Callable[[], Any]) -> Response:
        return await self._alive(Produced(lambda: iter([run()]), self.calls), single=True)

    async def _stream(self, items: Callable[[], Iterable[Any]]) -> Response:
        if self.open_streams >= 2 * WORKERS:
            raise Unreachable(
                f"{self.open_streams} results are being read at once, and no more are opened; read them to the end"
            )
        self.open_streams += 1
        return await self._alive(Produced(lambda: iter(items()), self.streams), single=False)

    async def _alive(self, produced: Produced[Any], *, single: bool) -> Response:
        """The only item as it is, where it comes soon; else frames, with signs of life between them."""
        try:
            if await produced.ready(ALIVE_SECONDS):
                more, item = await produced.take()
                if single:
                    await self._close(produced, single)
                    return self._value(item)
                begun = [item] if more else []
                frames = self._frames(produced, begun, ended=not more, single=single)
            else:
                frames = self._frames(produced, [], ended=False, single=single)
        except BaseException:
            await self._close(produced, single)
            raise
        return StreamingResponse(frames, media_type=wire.STREAM_TYPE)

    async def _close(self, produced: Produced[Any], single: bool) -> None:
        if not single:
            self.open_streams -= 1
        await produced.close()

    async def _frames(
        self, produced: Produced[Any], begun: list[Any], *, ended: bool, single: bool
    ) -> AsyncGenerator[bytes, None]:
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
        finally:
            await self._close(produced, single)

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
        produced: Produced[bytes] = Produced(partial(_pieces, store, key, start + len(first), end), self.streams)
        return StreamingResponse(_bytes(produced, first), status, headers, media_type="application/octet-stream")

    async def _write(self, db: Datalayer, key: str, body: Body, overwrite: bool) -> Response:
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


async def _whole(request: Request) -> bytes:
    """The body, if it is not too large."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > CALL_BYTES:
            raise StoreError(
                f"rows of one call have at most {CALL_BYTES >> 20} MiB here; add fewer at once, and keep large values as artifacts"
            )
    return bytes(held)


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


async def _bytes(produced: Produced[bytes], first: bytes) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        while True:
            more, piece = await produced.take()
            if not more or piece is None:
                return
            yield piece
    finally:
        await produced.close()
