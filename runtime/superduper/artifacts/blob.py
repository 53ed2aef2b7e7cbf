"""A handle to one payload that reads only what it is asked for, and verifies that."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from superduper.artifacts.chunks import CHUNK, ChunkHashes
from superduper.artifacts.copies import Copy, copies
from superduper.artifacts.digests import hasher_of
from superduper.artifacts.packs import SMALL, Damaged
from superduper.artifacts.seam import Buffer

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from superduper.artifacts.store import Artifacts

__all__ = ["Blob"]

_RUN = 16 << 20


class Blob(io.RawIOBase):
    """A payload as a file: ``id``, ``size`` in bytes, ``read``, ``readinto``, ``seek``, ``tell``, ``read_ranges``.

    Up to 1 MiB is read and verified at once; of more, only the chunks of 1 MiB that a range touches. Every read
    raises ArtifactCorrupt rather than give wrong bytes.
    """

    def __init__(self, artifacts: Artifacts, id: str) -> None:
        super().__init__()
        copy = artifacts.located(id)
        self.id, self.size = id, copy.size
        self._artifacts, self._copy = artifacts, copy
        self._at = 0
        self._hashes: ChunkHashes | None = None
        # What was verified last: its start and bytes.
        self._held: tuple[int, bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"cannot seek to {offset} from {whence}: a blob starts at 0, whence is 0, 1 or 2")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly ``size`` bytes, less at the end; all that is left if it is negative or None."""
        length = self.size - self._at if size is None or size < 0 else size
        data = self._verified(self._at, length)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several (start, length) at once, in the order asked; less where one goes beyond the end."""
        for start, length in ranges:
            if start < 0 or length < 0:
                raise ValueError(f"range ({start}, {length}): start and length are not negative")
        return list(self._artifacts.store.each(lambda r: self._verified(*r), ranges))

    def url(self, expires: float = 3600) -> str:
        """An address that serves the payload for ``expires`` seconds without credentials. Raises Unsupported.

        A packed payload is first copied to an object of its own. What an address serves is not verified.
        """
        store = self._artifacts.store
        if store.head(self.id) is None and store.parallel > 1:
            store.put(self.id, self._artifacts.get(self.id))
        return store.url(self.id, expires)

    def _verified(self, start: int, length: int) -> bytes:
        if self.closed:
            raise ValueError("the blob is closed; open it again")
        # Before anything is cut off at the end, the end itself is verified: a truncated object is no shorter blob.
        if self.size <= SMALL:
            if self._held is None:
                self._held = 0, self._artifacts.get(self.id)
        elif self._hashes is None:
            self._hashes = self._chunk_hashes()
        length = min(length, self.size - start)
        if length <= 0:
            return b""
        base, data = self._held or (0, b"")
        if start < base or start + length > base + len(data):
            base, data = self._load(start, length)
        return data if length == len(data) else data[start - base : start - base + length]

    def _load(self, start: int, length: int) -> tuple[int, bytes]:
        """The chunks that a range touches, verified, and where they start."""
        first, last = start // CHUNK, (start + length - 1) // CHUNK
        parts = [self._chunks(n, min(last + 1, n + _RUN // CHUNK)) for n in range(first, last + 1, _RUN // CHUNK)]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        # Small steps through a large blob are served from the chunk that was verified; a large read is not kept.
        if len(data) <= 2 * CHUNK:
            self._held = first * CHUNK, data
        return first * CHUNK, data

    def _chunks(self, first: int, end: int) -> bytes:
        assert self._hashes is not None
        damaged: Copy | None = None
        for copy in [self._copy, *copies(self._artifacts.store, self._artifacts.index, self.id)]:
            try:
                data = copy.read(first * CHUNK, (end - first) * CHUNK)
            except KeyError:
                continue
            if self._match(first, end, data):
                self._copy = copy
                return data
            damaged = copy
        raise self._artifacts.failed(self.id, damaged)

    def _match(self, first: int, end: int, data: Buffer) -> bool:
        assert self._hashes is not None
        view = memoryview(data)
        if len(view) != min(end * CHUNK, self.size) - first * CHUNK:
            return False
        return all(
            self._hashes.match(n, view[(n - first) * CHUNK : (n + 1 - first) * CHUNK]) for n in range(first, end)
        )

    def _chunk_hashes(self) -> ChunkHashes:
        """As stored; where they are not to be trusted, made anew by reading the whole payload against its id."""
        try:
            hashes = ChunkHashes.load(self._artifacts.store, self.id)
            if hashes.size == self.size and len(hashes.digests) == -(-self.size // CHUNK):
                return hashes
        except (KeyError, Damaged):
            pass
        damaged: Copy | None = None
        for copy in copies(self._artifacts.store, self._artifacts.index, self.id):
            hasher, digests, make = hasher_of(self.id)(), [], hasher_of(self.id)
            try:
                for chunk in copy.parts(CHUNK):
                    hasher.update(chunk)
                    digests.append(make(chunk).digest())
            except KeyError:
                continue
            if hasher.hexdigest() == self.id:
                return ChunkHashes(len(self.id) // 2, self.size, digests)
            damaged = copy
        raise self._artifacts.failed(self.id, damaged)

    def __repr__(self) -> str:
        return f"<Blob {self.id} of {self.size:,} bytes>"
