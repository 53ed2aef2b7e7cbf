"""Leases: how writers and the garbage collector keep out of each other's way, on any store, without locks.

A writer puts ``leases/<uuid>`` before it stores anything, and removes it once its rows are committed. The collector
puts ``leases/gc`` first of all, then lists the objects, then reads the leases, then asks which ids are live. So

- an object listed was stored under a lease that is still there (then nothing younger than the lease is swept), or
  under one that has ended (then its row is committed, and the id is live);
- a payload that already exists is *claimed* by the writer (``leases/<uuid>.<n>`` holds the ids) before it looks for
  ``leases/gc``: either the collector reads the claim and leaves the object alone, or the writer sees the collector
  and stores the payload once more in a new pack, which that collector cannot have listed.

A lease tells its process. One of a dead process of this machine is void at once; one of another machine when its
heartbeat has stopped for ten minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from superduper.artifacts.seam import ArtifactStore, ObjectInfo
from superduper.errors import SuperduperError

__all__ = ["GC_KEY", "Lease", "Leases", "collector_at_work", "read_leases"]

GC_KEY = "leases/gc"
_BEAT = 30.0
_EXPIRY = 600.0


class Lease:
    """One lease, held from ``take`` to ``release`` and kept alive by a heartbeat."""

    def __init__(self, store: ArtifactStore, key: str | None = None) -> None:
        self._store = store
        self.key = key or f"leases/{uuid.uuid4().hex}"
        self._pid = os.getpid()
        self._claims = 0
        self._started: float | None = None
        self._ended = threading.Event()
        self._beating = threading.Lock()

    def take(self) -> bool:
        """Put the lease; False where the key is taken."""
        if not self._store.put(self.key, self._body(), overwrite=False):
            return False
        threading.Thread(target=self._beat, name="superduper-lease", daemon=True).start()
        return True

    def claim(self, ids: Iterable[str]) -> None:
        """Say that these objects, which others stored, are wanted here."""
        self._claims += 1
        self._store.put(f"{self.key}.{self._claims}", "\n".join(ids).encode())

    def release(self) -> None:
        """End the lease. In a child of the process that took it: nothing, it is not the child's."""
        if os.getpid() != self._pid:
            return
        self._ended.set()
        with self._beating:
            self._store.delete([f"{self.key}.{n}" for n in range(1, self._claims + 1)])
            self._store.delete([self.key])

    def _body(self) -> bytes:
        process = {"place": _place(), "pid": self._pid, "born": _born(self._pid), "started": self._started}
        return json.dumps(process).encode()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            # A store that does not answer now may answer in half a minute; the lease lives ten.
            with self._beating, contextlib.suppress(SuperduperError, OSError):
                if self._ended.is_set():
                    return
                if self._started is None:
                    info = self._store.head(self.key)
                    self._started = info.modified if info else time.time() - _BEAT
                self._store.put(self.key, self._body())


@dataclass
class Leases:
    """What the collector reads: when the oldest live lease began, what is claimed, and which keys are void."""

    oldest: float = float("inf")
    claimed: set[str] = field(default_factory=set)
    void: list[str] = field(default_factory=list)


def read_leases(store: ArtifactStore) -> Leases:
    """All writers' leases and claims."""
    found = [info for info in store.list("leases/") if not info.key.startswith(GC_KEY)]
    alive: dict[str, float] = {}
    result = Leases()
    for info in found:
        if "." not in info.key and (started := _alive(store, info)) is not None:
            alive[info.key] = started
    for info in found:
        if info.key.partition(".")[0] not in alive:
            result.void.append(info.key)
        elif "." in info.key:
            with contextlib.suppress(KeyError):
                result.claimed.update(store.get(info.key).decode().split())
    result.oldest = min(alive.values(), default=float("inf"))
    return result


def collector_at_work(store: ArtifactStore) -> bool:
    """Whether a garbage collection is under way in any process."""
    info = store.head(GC_KEY)
    return info is not None and _alive(store, info) is not None


def _alive(store: ArtifactStore, info: ObjectInfo) -> float | None:
    """When a lease began, by the store's clock; None where its process is gone."""
    try:
        process = json.loads(store.get(info.key))
        place, pid, born, started = process["place"], process["pid"], process["born"], process["started"]
    except KeyError:
        return None
    except ValueError:
        # Not ours to understand: it counts as alive until it is old.
        place = pid = born = started = None
    gone = _born(pid) != born if place == _place() else time.time() - info.modified > _EXPIRY
    return None if gone else (started if started is not None else info.modified)


def _place() -> str:
    """What has to be equal for a process number to mean the same: boot, and namespace where there are any."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as handle:
        parts.append(handle.read().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _born(pid: int) -> str | None:
    """When a process started, so that a number given again is not taken for it; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            state, *rest = handle.read().rpartition(b")")[2].split()
            return None if state in (b"Z", b"X") else rest[18].decode()
    except FileNotFoundError:
        pass
    if os.path.isdir("/proc/self"):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
