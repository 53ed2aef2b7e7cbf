"""Artifacts in this process' memory: for tests, trials and notebooks. They end with the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from superduper.backends.base.artifacts import ArtifactStore, Buffer, ObjectInfo, check_key
from superduper.errors import UriError


class MemoryArtifactStore(ArtifactStore):
    """``memory://``; each instance is a store of its own."""

    def __init__(self, uri: str = "memory://") -> None:
        if uri not in ("memory://", "memory:///"):
            raise UriError(f"{uri!r}: the memory store has no name and no options; write memory://")
        self.uri = "memory://"
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, body: Buffer | Iterable[Buffer], *, overwrite: bool = True) -> bool:
        check_key(key)
        data = bytes(body) if isinstance(body, (bytes, bytearray, memoryview)) else b"".join(body)
        with self._lock:
            if not overwrite and key in self._objects:
                return False
            self._objects[key] = (data, time.time())
        return True

    def get(self, key: str) -> bytes:
        return self._objects[check_key(key)][0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._objects[check_key(key)][0][start : start + length]

    def head(self, key: str) -> ObjectInfo | None:
        found = self._objects.get(check_key(key))
        return None if found is None else ObjectInfo(key, len(found[0]), found[1])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            held = [ObjectInfo(k, len(v[0]), v[1]) for k, v in self._objects.items() if k.startswith(prefix)]
        yield from held

    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._objects.pop(check_key(key), None)

    def move(self, key: str, to: str) -> None:
        with self._lock:
            self._objects[check_key(to)] = self._objects.pop(check_key(key))

    def existing(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if key in self._objects}

    def leftovers(self) -> Iterator[ObjectInfo]:
        return iter(())

    def discard(self, leftovers: Sequence[str]) -> None:
        """There are none."""

    def drop(self) -> None:
        with self._lock:
            self._objects.clear()

    def close(self) -> None:
        """Keeps what it holds: the same instance may be used again."""

    def __repr__(self) -> str:
        return "MemoryArtifactStore('memory://')"
