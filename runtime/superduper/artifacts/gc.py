"""Garbage collection: mark what is live, sweep the rest, while others read and write.

``lease.py`` tells why no live object is taken. In short: objects are listed first, leases read second, live ids
asked for third; what is not listed is not swept, and what is listed is either live, leased or an orphan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from superduper.artifacts.copies import Copy, copies, set_aside
from superduper.artifacts.digests import HASHERS
from superduper.artifacts.lease import GC_KEY, Lease, collector_at_work, read_leases
from superduper.artifacts.packs import PACK_BYTES, Pack, body, fresh_key
from superduper.artifacts.reference import check_id
from superduper.artifacts.seam import ObjectInfo
from superduper.errors import ArtifactMissing, InUse, InvalidReference

if TYPE_CHECKING:
    from superduper.artifacts.store import Artifacts

__all__ = ["GcReport", "Upkeep", "collect", "named_id"]

_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SMALL_PACK = 4 << 20
_MANY_PACKS = 8
_BATCH = 1000


@dataclass(frozen=True)
class GcReport:
    """What a collection found. Objects are payloads, loose or packed, and what was kept about them; sizes in bytes.

    In a dry run ``removed`` is what would have been.
    """

    dry_run: bool
    live: int = 0
    live_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0
    damaged_packs: tuple[str, ...] = ()
    """Packs whose index cannot be read: left alone."""

    @property
    def found(self) -> int:
        return self.live + self.removed


class Upkeep:
    """Holds the mark of the one process that may remove objects. Raises InUse where another does."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._store = artifacts.store
        self._lease = Lease(self._store, GC_KEY)

    def __enter__(self) -> float:
        """Gives the time by the store's clock."""
        if not self._lease.take():
            if not collector_at_work(self._store):
                self._store.delete([GC_KEY])
            if collector_at_work(self._store) or not self._lease.take():
                raise InUse(f"{self._store.uri}: another process is collecting or verifying; try again when it is done")
        info = self._store.head(GC_KEY)
        assert info is not None, "the mark was just put"
        return info.modified

    def __exit__(self, *_: object) -> None:
        self._lease.release()


def collect(
    artifacts: Artifacts, live: Iterable[str] | Callable[[], Iterable[str]], window: float, dry_run: bool
) -> GcReport:
    """See ``Artifacts.gc``."""
    store = artifacts.store
    with Upkeep(artifacts) as now:
        leftovers = list(store.leftovers())
        objects = list(store.list())
        artifacts.index.refresh()
        leases = read_leases(store)
        # Without a window everything that was listed and is neither live nor leased is an orphan, whatever its age.
        cutoff = min(leases.oldest, now - window if window > 0 else float("inf"))
        marks = {bytes.fromhex(check_id(id)) for id in leases.claimed}
        marks.update(bytes.fromhex(check_id(id)) for id in (live() if callable(live) else live))
        trees = {id for info in objects if (id := named_id(info.key, "trees/"))}
        marks.update(_held_by_trees(artifacts, marks, trees))
        sweep = _Sweep(artifacts, marks, cutoff, dry_run)
        sweep.doubles(objects)
        sweep.loose(objects)
        sweep.packs(objects)
        dead = [info for info in leftovers if info.modified < cutoff]
        sweep.count(False, len(dead), sum(info.size for info in dead))
        if not dry_run:
            store.discard([info.key for info in dead])
            store.delete(leases.void)
        return sweep.report()


def named_id(key: str, prefix: str) -> str:
    """The id in a key of that prefix (what follows a point is not part of it), or nothing."""
    name = key[len(prefix) :].partition(".")[0] if key.startswith(prefix) else ""
    return name if _ID.fullmatch(name) else ""


def _held_by_trees(artifacts: Artifacts, marks: set[bytes], trees: set[str]) -> Iterator[bytes]:
    """The blobs of live trees. A damaged manifest ends the collection: what it holds would be swept."""
    for id in [id for id in trees if bytes.fromhex(id) in marks]:
        try:
            tree = artifacts.tree(id)
        except (ArtifactMissing, InvalidReference):
            continue
        yield from (bytes.fromhex(blob) for blob in tree.blobs)


@dataclass
class _Sweep:
    artifacts: Artifacts
    marks: set[bytes]
    cutoff: float
    dry_run: bool
    dropped: set[tuple[str, bytes]] = field(default_factory=set)
    """Second copies: the object they lie in, and their id."""
    live: list[int] = field(default_factory=lambda: [0, 0])
    removed: list[int] = field(default_factory=lambda: [0, 0])

    def report(self) -> GcReport:
        return GcReport(
            self.dry_run,
            live=self.live[0],
            live_bytes=self.live[1],
            removed=self.removed[0],
            removed_bytes=self.removed[1],
            damaged_packs=tuple(sorted(self.artifacts.index.damaged)),
        )

    def count(self, live: bool, count: int, size: int) -> None:
        into = self.live if live else self.removed
        into[0] += count
        into[1] += size

    def doubles(self, objects: list[ObjectInfo]) -> None:
        """Of payloads that are stored more than once, keep the first sound copy; drop the others, if old enough."""
        old = {info.key for info in objects if info.modified < self.cutoff}
        seen = {bytes.fromhex(key) for key in old if _ID.fullmatch(key)} & self.marks
        twice: set[bytes] = set()
        for pack in self.artifacts.index.packs():
            for raw, _, _ in pack.entries():
                if raw in self.marks and pack.key in old:
                    (twice if raw in seen else seen).add(raw)
        for raw in twice:
            every = [copy for copy in self._copies(raw) if copy.key in old]
            # A sound loose copy is preferred: an address may have been handed out for it.
            every.sort(key=lambda copy: copy.place is not None)
            kept = next((copy for copy in every if copy.sound()), None)
            if kept is not None:
                self.dropped.update((copy.key, raw) for copy in every if copy.key != kept.key)

    def _copies(self, raw: bytes) -> list[Copy]:
        store = self.artifacts.store
        every = copies(store, self.artifacts.index, raw.hex())
        return [copy for copy in every if copy.place is not None or store.head(copy.id) is not None]

    def loose(self, objects: list[ObjectInfo]) -> None:
        dead: list[str] = []
        for info in objects:
            id = next((id for prefix in ("", "chunks/", "trees/") if (id := named_id(info.key, prefix))), "")
            if not id:
                continue
            raw = bytes.fromhex(id)
            live = (raw in self.marks and (info.key, raw) not in self.dropped) or info.modified >= self.cutoff
            self.count(live, 1, info.size)
            if not live:
                dead.append(info.key)
        for start in range(0, len(dead) if not self.dry_run else 0, _BATCH):
            self.artifacts.store.delete(dead[start : start + _BATCH])

    def packs(self, objects: list[ObjectInfo]) -> None:
        """Remove packs in which nothing lives, rewrite those with dead payloads, join many small ones."""
        old = {info.key for info in objects if info.key.startswith("packs/") and info.modified < self.cutoff}
        partly: list[Pack] = []
        whole: list[Pack] = []
        dead: list[str] = []
        for pack in self.artifacts.index.packs():
            lives = 0
            for raw, _, length in pack.entries():
                live = pack.key not in old or self._lives(pack, raw)
                lives += live
                self.count(live, 1, length)
            if pack.key not in old:
                continue
            (dead.append(pack.key) if not lives else (whole if lives == pack.count else partly).append(pack))
        small = [pack for pack in whole if pack.size < _SMALL_PACK]
        if len(small) >= _MANY_PACKS:
            partly.extend(small)
        if not self.dry_run:
            for width in HASHERS:
                self._rewrite([pack for pack in partly if pack.width == width], width)
            self.artifacts.store.delete([*dead, *(pack.key for pack in partly)])
            self.artifacts.index.refresh()

    def _lives(self, pack: Pack, raw: bytes) -> bool:
        return raw in self.marks and (pack.key, raw) not in self.dropped

    def _rewrite(self, packs: list[Pack], width: int) -> None:
        group: list[tuple[bytes, bytes]] = []
        held = 0
        for raw, payload in self._payloads(packs):
            if group and held + len(payload) > PACK_BYTES:
                self.artifacts.store.put(fresh_key(), body(group, width))
                group, held = [], 0
            group.append((raw, payload))
            held += len(payload)
        if group:
            self.artifacts.store.put(fresh_key(), body(group, width))

    def _payloads(self, packs: list[Pack]) -> Iterator[tuple[bytes, bytes]]:
        """What lives in the packs, in the order it was written; what is damaged is set aside on the way."""
        for pack in packs:
            for raw, offset, length in sorted(pack.entries(), key=lambda entry: entry[1]):
                if not self._lives(pack, raw):
                    continue
                payload = pack.read(offset, length)
                if HASHERS[pack.width](payload).digest() == raw:
                    yield raw, payload
                else:
                    set_aside(Copy(self.artifacts.store, raw.hex(), (pack, offset, length)))
