"""The artifacts of a datalayer, by way of its server: streamed both ways, in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from typing import Any

from superduper import wire
from superduper.backends.base.artifacts import ArtifactStore, Buffer, ObjectInfo, check_key
from superduper.backends.http import records
from superduper.backends.http.client import Server, connect
from superduper.config import Settings
from superduper.errors import StoreError, Unreachable
from superduper.uris import without_password

PART = "artifacts"
PIECE = 1 << 20
"""Bytes of a frame of an upload at most; what is smaller goes as one."""
TOGETHER = 4 << 20
"""Bytes of several objects that are sent in one request, about."""
KEYS = 10_000
"""Keys that are asked for at once."""


class HttpArtifactStore(ArtifactStore):
    """``http://host:8000`` or ``https://host``: the artifact store of the datalayer that is served there."""

    configured = True
    parallel = 8

    def __init__(self, uri: str, settings: Settings | None = None) -> None:
        self.uri = without_password(uri)
        self.server = connect(uri, settings)
        self._closed = False

    def _open(self) -> Server:
        if self._closed:
            raise StoreError(f"the connection to {self.uri} was closed; connect again with superduper({self.uri!r})")
        return self.server

    def put(self, key: str, body: Buffer | Iterable[Buffer], *, overwrite: bool = True) -> bool:
        server = self._open()
        if isinstance(body, (bytes, bytearray, memoryview)):
            data = memoryview(body).cast("B")
            return bool(server.write(check_key(key), lambda: _whole(data), overwrite=overwrite, repeatable=True))
        pieces = _pieces(body)
        first, second = next(pieces, b""), next(pieces, None)
        if second is None:
            return bool(server.write(check_key(key), lambda: _whole(first), overwrite=overwrite, repeatable=True))
        if not overwrite and self.head(key) is not None:
            return False
        failed: list[BaseException] = []
        frames = _frames(chain((first, second), pieces), failed)
        try:
            return bool(server.write(check_key(key), lambda: frames, overwrite=overwrite, repeatable=False))
        except Exception as error:
            # The caller's own error; the server was told to forget what it had got.
            if failed:
                raise failed[0] from error
            raise

    def put_many(self, objects: Mapping[str, bytes]) -> None:
        """Many to a request; what is not small, in one of its own."""
        server = self._open()
        held: dict[str, bytes] = {}
        size = 0
        for key, data in objects.items():
            if len(data) > PIECE:
                self.put(key, data)
                continue
            held[check_key(key)] = data
            size += len(data)
            if size >= TOGETHER or len(held) >= KEYS:
                server.call(PART, "put_many", held)
                held, size = {}, 0
        if held:
            server.call(PART, "put_many", held)

    def get(self, key: str) -> bytes:
        found: bytes = self._open().read(check_key(key))
        return found

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """Small objects many to a request, a large one in a request of its own."""
        for some in _chunks([check_key(key) for key in keys]):
            said = self._said(some)
            for key in some:
                data: Any = next(said, True)
                yield self._get(key) if data is True else data

    def _said(self, keys: Sequence[str]) -> Iterator[Any]:
        """Bytes, None, or True for one that is to be read by itself. It ends early where the answer breaks off."""
        with suppress(Unreachable), closing(self._open().stream(PART, "get_many", keys)) as batches:  # type: ignore[type-var]
            for batch in batches:
                yield from batch

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if length <= 0:
            if self.head(key) is None:
                raise KeyError(key)
            return b""
        found: bytes = self._open().read(check_key(key), start, length)
        return found

    def head(self, key: str) -> ObjectInfo | None:
        said = self._open().call(PART, "head", check_key(key))
        return None if said is None else records.info(said)

    def sizes(self, keys: Sequence[str]) -> dict[str, int]:
        server = self._open()
        found: dict[str, int] = {}
        for some in _chunks([check_key(key) for key in keys]):
            found |= server.call(PART, "sizes", some)
        return found

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for batch in self._open().stream(PART, "list", prefix):
            yield from map(records.info, batch)

    def delete(self, keys: Sequence[str]) -> None:
        server = self._open()
        for some in _chunks([check_key(key) for key in keys]):
            server.call(PART, "delete", some)

    def move(self, key: str, to: str) -> None:
        self._open().call(PART, "move", check_key(key), check_key(to))

    def existing(self, keys: Sequence[str]) -> set[str]:
        server = self._open()
        return {key for some in _chunks(keys) for key in server.call(PART, "existing", list(some))}

    def leftovers(self) -> Iterator[ObjectInfo]:
        for batch in self._open().stream(PART, "leftovers"):
            yield from map(records.info, batch)

    def discard(self, leftovers: Sequence[str]) -> None:
        server = self._open()
        for some in _chunks(leftovers):
            server.call(PART, "discard", list(some))

    def url(self, key: str, expires: float) -> str:
        """An address of the server's own store, where that has such. Raises Unsupported."""
        return str(self._open().call(PART, "url", check_key(key), float(expires)))

    def drop(self) -> None:
        self._open().call(PART, "drop")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.server.leave()

    def __repr__(self) -> str:
        return f"HttpArtifactStore({self.uri!r})"


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS):
        yield keys[start : start + KEYS]


def _pieces(body: Iterable[Buffer]) -> Iterator[Buffer]:
    """The body in pieces that are neither tiny nor larger than a frame."""
    held = bytearray()
    for part in body:
        if not held and len(part) >= PIECE:
            view = memoryview(part).cast("B")
            yield from (view[start : start + PIECE] for start in range(0, len(view), PIECE))
            continue
        held += part
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
    if held:
        yield bytes(held)


def _whole(data: Buffer) -> Any:
    """An object that is in memory, as frames: one text where it is small."""
    if len(data) <= PIECE:
        return wire.frame(wire.DATA, data) + wire.frame(wire.END)
    return _frames((data[start : start + PIECE] for start in range(0, len(data), PIECE)), [])


def _frames(pieces: Iterable[Buffer], failed: list[BaseException]) -> Iterator[bytes]:
    """Frames of a body; one that fails in the middle ends with the word that nothing of it shall stay."""
    try:
        for piece in pieces:
            yield wire.frame(wire.DATA, piece)
    except Exception as error:  # noqa: BLE001 - whatever the caller's iterator raises is raised again by put
        failed.append(error)
        yield wire.frame(wire.ABORT)
        return
    yield wire.frame(wire.END)
