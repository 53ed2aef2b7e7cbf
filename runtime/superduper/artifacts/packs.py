"""Packs: many small payloads in one immutable object, so that many cost one write to the disk.

    payloads, back to back
    index     sorted by id; each entry: id (20 or 32 bytes), offset (u64), length (u64), big-endian
    footer    magic 8s, version u16, width of an id u16, count u32, offset of the index u64, SHA-256 of index + head

The index is checked against its SHA-256 when the pack is opened; each payload against its id whenever it is read.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from superduper.artifacts.seam import ArtifactStore, Buffer, Upload

__all__ = ["PACK_BYTES", "SMALL", "Damaged", "Growing", "Pack", "body", "body_of_one", "fresh_key"]

#: Payloads of at most this many bytes may be packed.
SMALL = 1 << 20
#: A pack is closed when it holds this much: what a writer keeps in memory at most, and less where a store lets it.
PACK_BYTES = 64 << 20
#: The index of a pack with more payloads than this is never held as a table (some 250 bytes for each).
_TABLE = 1 << 17

_MAGIC = b"SDPACK\r\n"
_HEAD = struct.Struct(">8sHHIQ")
_FOOTER = _HEAD.size + 32


class Damaged(Exception):
    """A pack whose index cannot be trusted. Stays inside this package."""


def fresh_key() -> str:
    """A key that no pack ever had: packs are never written twice."""
    return f"packs/{uuid.uuid4().hex}.pack"


def body(payloads: Iterable[tuple[bytes, Buffer]], width: int) -> Iterator[Buffer]:
    """The bytes of a pack, part by part, from pairs of (raw id, payload)."""
    entries: list[bytes] = []
    offset = 0
    pack = _entry(width).pack
    for raw, payload in payloads:
        entries.append(pack(raw, offset, len(payload)))
        offset += len(payload)
        yield payload
    yield _tail(entries, width, offset)


class Growing:
    """A pack that is written while its payloads come: they need not all be held. Nobody sees it before ``finish``."""

    def __init__(self, upload: Upload, width: int) -> None:
        self.ids: set[bytes] = set()
        self.size = 0
        self._upload, self._width, self._pack = upload, width, _entry(width).pack
        self._entries: list[bytes] = []

    def add(self, payloads: Mapping[bytes, Buffer]) -> None:
        """Write payloads by their raw ids, none of which may be here yet."""
        for raw, payload in payloads.items():
            self._entries.append(self._pack(raw, self.size, len(payload)))
            self.size += len(payload)
        self.ids.update(payloads)
        self._upload.write(payloads.values())

    def finish(self) -> None:
        """Make it a pack, durably."""
        self._upload.write([_tail(self._entries, self._width, self.size)])
        self._upload.finish()

    def abandon(self) -> None:
        """Forget it."""
        self._upload.abandon()


def body_of_one(raw: bytes, size: int, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
    """The bytes of a pack that holds one payload of any size, given in chunks."""
    yield from chunks
    yield _tail([_entry(len(raw)).pack(raw, 0, size)], len(raw), size)


def _tail(entries: list[bytes], width: int, start: int) -> bytes:
    entries.sort()
    index = b"".join(entries)
    head = _HEAD.pack(_MAGIC, 1, width, len(entries), start)
    return index + head + hashlib.sha256(index + head).digest()


def _entry(width: int) -> struct.Struct:
    return struct.Struct(f">{width}sQQ")


class Pack:
    """A pack opened for reading. A local one is mapped, of another only the index is held."""

    def __init__(self, store: ArtifactStore, key: str, size: int) -> None:
        """Raises KeyError where it is gone, Damaged where its index is."""
        self.store, self.key, self.size = store, key, size
        path = store.path(key)
        self._map: mmap.mmap | bytes = self._mapped(path) if path is not None else b""
        footer = self._bytes(size - _FOOTER, _FOOTER) if size >= _FOOTER else b""
        if len(footer) != _FOOTER:
            raise Damaged(f"{key} is cut short")
        magic, version, self.width, self.count, self._start = _HEAD.unpack_from(footer)
        if magic != _MAGIC or version != 1 or self.width not in (20, 32):
            raise Damaged(f"{key} does not end as a pack does")
        self._entry = _entry(self.width)
        if self._start + self.count * self._entry.size + _FOOTER != size:
            raise Damaged(f"{key} is cut short")
        index = self._bytes(self._start, self.count * self._entry.size)
        if hashlib.sha256(index + footer[: _HEAD.size]).digest() != footer[_HEAD.size :]:
            raise Damaged(f"the index of {key} does not match its checksum")
        # Mapped, the index is read where it lies; else it is kept.
        self._index: mmap.mmap | bytes = self._map or index
        self._base: int = self._start if self._map else 0
        self._spread = 2 * math.isqrt(self.count) + 4
        self._asked = 0
        self._table: dict[bytes, tuple[int, int]] | None = None

    def _mapped(self, path: Path) -> mmap.mmap | bytes:
        try:
            with open(path, "rb") as handle:
                self.size = handle.seek(0, 2)
                return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        except FileNotFoundError:
            raise KeyError(self.key) from None

    def _bytes(self, start: int, length: int) -> bytes:
        return self._map[start : start + length] if self._map else self.store.get_range(self.key, start, length)

    def find(self, raw: bytes) -> tuple[int, int] | None:
        """(offset, length) of a payload, or None.

        Ids are evenly spread, so the place of one in the sorted index is known to within a few square roots of the
        count: one short piece is searched, and only if it proves the wrong one, the halves of the whole.
        """
        if len(raw) != self.width or not self.count:
            return None
        step, base = self._entry.size, self._base
        guess = (int.from_bytes(raw[:8], "big") * self.count) >> 64
        low, high = max(0, guess - self._spread), min(self.count, guess + self._spread)
        piece = self._index[base + low * step : base + high * step]
        at = piece.find(raw)
        while at >= 0 and at % step:
            at = piece.find(raw, at + 1)
        if at >= 0:
            _, offset, length = self._entry.unpack_from(piece, at)
            return offset, length
        if (not low or piece[: self.width] < raw) and (high == self.count or piece[-step : self.width - step] > raw):
            return None
        return self._bisect(raw)

    def _bisect(self, raw: bytes) -> tuple[int, int] | None:
        step, base, low, high = self._entry.size, self._base, 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._index[base + middle * step : base + middle * step + self.width] < raw:
                low = middle + 1
            else:
                high = middle
        if low == self.count:
            return None
        found, offset, length = self._entry.unpack_from(self._index, base + low * step)
        return (offset, length) if found == raw else None

    def entries(self) -> Iterator[tuple[bytes, int, int]]:
        """(raw id, offset, length) of all payloads, sorted by id."""
        step = self._entry.size
        return self._entry.iter_unpack(self._index[self._base : self._base + self.count * step])

    def find_many(self, raws: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Those of the payloads that are here."""
        self._asked += len(raws)
        if self._table is None and self._asked * 8 > self.count and self.count <= _TABLE:
            # Asked for so many, the rest is likely to follow: rows that were written together are read together.
            self._table = {raw: (offset, length) for raw, offset, length in self.entries()}
        if (table := self._table) is not None:
            return {raw: table[raw] for raw in raws if raw in table}
        if len(raws) * 8 > self.count:
            wanted = set(raws)
            return {raw: (offset, length) for raw, offset, length in self.entries() if raw in wanted}
        return {raw: found for raw in raws if (found := self.find(raw)) is not None}

    @property
    def is_table(self) -> bool:
        """Whether its index is held as a table."""
        return self._table is not None

    def let_go(self) -> None:
        """Hold no table; one is made again when as much is asked for again."""
        self._table, self._asked = None, 0

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the pack, unverified. Raises KeyError where the pack is gone."""
        return self._bytes(offset, length)

    def read_many(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several payloads; neighbours come in one request where requests cost."""
        if self._map:
            mapped = self._map
            return [mapped[offset : offset + length] for offset, length in places]
        found: dict[tuple[int, int], bytes] = {}
        for run in _runs(sorted(set(places))):
            start = run[0][0]
            data = self.store.get_range(self.key, start, max(o + n for o, n in run) - start)
            found.update({(o, n): data[o - start : o - start + n] for o, n in run})
        return [found[place] for place in places]


def _runs(places: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Sorted places in groups that one request may fetch: at most 256 KiB between two, 16 MiB together."""
    run: list[tuple[int, int]] = []
    for offset, length in places:
        if run and (offset - sum(run[-1]) > 256 << 10 or offset + length - run[0][0] > 16 << 20):
            yield run
            run = []
        run.append((offset, length))
    if run:
        yield run
