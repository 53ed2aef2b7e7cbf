"""The copies of a payload in a store: loose under its id, or in packs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from superduper.artifacts.digests import hasher_of
from superduper.artifacts.index import PackIndex, Place
from superduper.artifacts.seam import ArtifactStore

__all__ = ["Copy", "copies", "set_aside"]

_STEP = 8 << 20


@dataclass(frozen=True)
class Copy:
    """One copy. Every method raises KeyError where it is gone."""

    store: ArtifactStore
    id: str
    place: Place | None

    @property
    def key(self) -> str:
        """The object that it lies in."""
        return self.place[0].key if self.place else self.id

    @property
    def size(self) -> int:
        """In bytes."""
        if self.place:
            return self.place[2]
        info = self.store.head(self.id)
        if info is None:
            raise KeyError(self.id)
        return info.size

    def whole(self) -> bytes:
        """All of it, unverified."""
        return self.place[0].read(*self.place[1:]) if self.place else self.store.get(self.id)

    def read(self, start: int, length: int) -> bytes:
        """A range, unverified; less at the end."""
        if self.place:
            pack, offset, size = self.place
            return pack.read(offset + start, max(0, min(length, size - start)))
        return self.store.get_range(self.id, start, length)

    def parts(self, step: int = _STEP) -> Iterator[bytes]:
        """All of it in pieces of that many bytes."""
        start = 0
        while part := self.read(start, step):
            yield part
            start += len(part)

    def sound(self) -> bool:
        """Whether it is what its id says."""
        hasher = hasher_of(self.id)()
        for part in self.parts():
            hasher.update(part)
        return hasher.hexdigest() == self.id


def copies(store: ArtifactStore, index: PackIndex, id: str) -> Iterator[Copy]:
    """Where a payload may lie, likeliest first; the loose copy is named without looking whether it is there."""
    raw = bytes.fromhex(id)
    seen: set[tuple[str, int]] = set()
    for place in index.find(raw):
        seen.add((place[0].key, place[1]))
        yield Copy(store, id, place)
    yield Copy(store, id, None)
    if index.refresh():
        for place in index.find(raw):
            if (place[0].key, place[1]) not in seen:
                yield Copy(store, id, place)


def set_aside(copy: Copy) -> str:
    """Keep a damaged copy under ``corrupt/``; gives the key. A loose one is moved, a packed one copied out."""
    key = f"corrupt/{copy.id}"
    if copy.store.head(key) is not None:
        key = f"{key}.{uuid.uuid4().hex[:8]}"
    if copy.place:
        copy.store.put(key, copy.parts())
    else:
        copy.store.move(copy.id, key)
    return key
