"""Hashes by chunk, so that a range of a large blob is verified without reading the blob.

    magic 8s, version u16, width of a digest u16, count u32, size of the blob u64, then the digests of its chunks of
    1 MiB each, then the SHA-256 of all before.

``chunks/<id>`` is written before ``<id>``. Where it is missing or damaged, the whole blob is verified instead.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator

from superduper.artifacts.digests import HASHERS
from superduper.artifacts.packs import Damaged
from superduper.artifacts.seam import ArtifactStore, Buffer

__all__ = ["CHUNK", "ChunkHashes", "chunk_key", "pieces"]

CHUNK = 1 << 20
_MAGIC = b"SDCHUNK\n"
_HEAD = struct.Struct(">8sHHIQ")


def chunk_key(id: str) -> str:
    """Where the hashes of a blob's chunks lie."""
    return f"chunks/{id}"


def pieces(data: Buffer) -> Iterator[memoryview]:
    """The chunks of a payload."""
    view = memoryview(data)
    return (view[start : start + CHUNK] for start in range(0, len(view), CHUNK))


class ChunkHashes:
    """The digests of a blob's chunks. ``size`` is the blob's, in bytes."""

    def __init__(self, width: int, size: int, digests: list[bytes]) -> None:
        self.width, self.size, self.digests = width, size, digests

    @classmethod
    def of(cls, chunks: Iterable[Buffer], width: int) -> ChunkHashes:
        """From the chunks themselves, each of 1 MiB but the last."""
        size, digests = 0, []
        for chunk in chunks:
            size += len(chunk)
            digests.append(HASHERS[width](chunk).digest())
        return cls(width, size, digests)

    @classmethod
    def load(cls, store: ArtifactStore, id: str) -> ChunkHashes:
        """Raises KeyError where there are none, Damaged where they are not what was written."""
        data = store.get(chunk_key(id))
        content, checksum = data[:-32], data[-32:]
        if len(data) < _HEAD.size + 32 or hashlib.sha256(content).digest() != checksum:
            raise Damaged("the hashes of its chunks do not match their checksum")
        magic, version, width, count, size = _HEAD.unpack_from(content)
        if magic != _MAGIC or version != 1 or len(content) != _HEAD.size + count * width or width != len(id) // 2:
            raise Damaged("the hashes of its chunks are not of a known form")
        digests = [content[at : at + width] for at in range(_HEAD.size, len(content), width)]
        return cls(width, size, digests)

    def dump(self) -> bytes:
        """As stored."""
        content = _HEAD.pack(_MAGIC, 1, self.width, len(self.digests), self.size) + b"".join(self.digests)
        return content + hashlib.sha256(content).digest()

    def match(self, number: int, chunk: Buffer) -> bool:
        """Whether that chunk is what was stored."""
        return HASHERS[self.width](chunk).digest() == self.digests[number]
