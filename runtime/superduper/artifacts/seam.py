"""The seam to an object store: the verbs of object stores, atomic and stateless.

A key is a relative name with ``/`` between its parts, of letters, digits, ``.``, ``_`` and ``-``. What lies under
a key is whole or absent, never half-written. Content addressing, packs, trees, verification and garbage
collection stand above this seam, once for all stores. It is defined here, below the backends that fill it, and
is known to them as ``superduper.backends.base.artifacts``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

__all__ = ["ArtifactStore", "Buffer", "ObjectInfo", "Upload"]

Buffer = bytes | bytearray | memoryview
_T = TypeVar("_T")
_R = TypeVar("_R")


class ObjectInfo(NamedTuple):
    """What a store knows of an object. ``modified`` is in seconds since 1970, by the store's own clock."""

    key: str
    size: int
    modified: float


class Upload(ABC):
    """An object that is written bit by bit. Nothing lies under its key before ``finish``."""

    @abstractmethod
    def write(self, parts: Iterable[Buffer]) -> None:
        """Add bytes. Raises StoreError; then only ``abandon`` is left to do."""

    @abstractmethod
    def finish(self) -> None:
        """Make it durable and visible. Raises StoreError, and leaves nothing behind."""

    @abstractmethod
    def abandon(self) -> None:
        """Forget what was written."""


class ArtifactStore(ABC):
    """A place for objects. Safe to use from several threads and after a fork."""

    uri: str
    """As given, without secrets."""

    parallel: int = 1
    """How many requests are worth having under way at once: 1 where each is answered on the spot."""

    @abstractmethod
    def put(self, key: str, body: Buffer | Iterable[Buffer], *, overwrite: bool = True) -> bool:
        """Store durably, at once or not at all. False, and nothing changed, if it exists and may not be overwritten.

        An error raised by the body's iterator passes through and leaves nothing behind. Raises StoreError when
        the disk is full or the store refuses.
        """

    def put_many(self, objects: Mapping[str, bytes]) -> None:
        """Store several small objects, replacing what is there; one request where requests cost. Raises StoreError."""
        for _ in self.each(lambda item: self.put(*item), list(objects.items())):
            pass

    def begin(self, key: str) -> Upload | None:
        """Where that costs no more than writing it at once, an object to be written bit by bit; else None."""
        return None

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole object. Raises KeyError where there is none."""

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``; fewer at the end. Raises KeyError."""

    def get_many(self, keys: Sequence[str]) -> Iterable[bytes | None]:
        """The whole objects in the order asked, None where there is none; one request where requests cost."""
        return self.each(self._get, keys)

    def _get(self, key: str) -> bytes | None:
        try:
            return self.get(key)
        except KeyError:
            return None

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Size and time, or None."""

    def sizes(self, keys: Sequence[str]) -> dict[str, int]:
        """Bytes of those of the keys that exist; one request where requests cost."""
        return {info.key: info.size for info in self.each(self.head, keys) if info is not None}

    def each(self, function: Callable[[_T], _R], items: Sequence[_T]) -> Iterable[_R]:
        """The function over the items, several at once where the store takes time to answer."""
        if self.parallel == 1 or len(items) < 2:
            return map(function, items)
        with ThreadPoolExecutor(min(self.parallel, len(items))) as pool:
            return list(pool.map(function, items))

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with the prefix, in any order."""

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Remove; what is not there is passed over."""

    @abstractmethod
    def move(self, key: str, to: str) -> None:
        """Give the object another key, replacing what is there. Raises KeyError."""

    @abstractmethod
    def existing(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that lie at the store's root (no ``/`` in them) and exist; cheap for many."""

    @abstractmethod
    def leftovers(self) -> Iterator[ObjectInfo]:
        """What writes under way or cut short have left so far; the keys are for ``discard`` alone."""

    @abstractmethod
    def discard(self, leftovers: Sequence[str]) -> None:
        """Remove those leftovers."""

    def path(self, key: str) -> Path | None:
        """Where objects are ordinary local files, the path for that key: it may be mapped, never changed."""
        return None

    def url(self, key: str, expires: float) -> str:
        """An address from which it can be read for ``expires`` seconds without credentials. Raises Unsupported."""
        from superduper.errors import Unsupported

        raise Unsupported(f"{self.uri} has no addresses to hand out; read the handle, or use an s3:// store")

    @abstractmethod
    def drop(self) -> None:
        """Remove every object."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""
