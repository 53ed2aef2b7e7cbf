"""Which pack holds a payload: the packs of a store, listed once and again when something is missed."""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from superduper.artifacts.packs import Damaged, Pack
from superduper.artifacts.seam import ArtifactStore

__all__ = ["PackIndex", "Place"]

#: A payload in a pack: the pack, offset and length.
Place = tuple[Pack, int, int]


class _Merged:
    """The indexes of several packs as one sorted list, held as bytes: a look-up costs the same for 3 or 3,000 packs."""

    def __init__(self, packs: Iterable[Pack]) -> None:
        self.packs = list(packs)
        entries = [
            (raw + number.to_bytes(4, "big") + offset.to_bytes(8, "big") + length.to_bytes(8, "big"))
            for number, pack in enumerate(self.packs)
            for raw, offset, length in pack.entries()
        ]
        entries.sort()
        self._step = len(entries[0]) if entries else 1
        self._width = self._step - 20
        self._data = b"".join(entries)
        self.count = len(entries)

    def find(self, raw: bytes) -> list[Place]:
        step, width, data = self._step, self._width, self._data
        if len(raw) != width:
            return []
        at = bisect_left(range(self.count), raw, key=lambda i: data[i * step : i * step + width])
        found: list[Place] = []
        while data[at * step : at * step + width] == raw:
            rest = data[at * step + width : (at + 1) * step]
            number = int.from_bytes(rest[:4], "big")
            found.append((self.packs[number], int.from_bytes(rest[4:12], "big"), int.from_bytes(rest[12:], "big")))
            at += 1
        return found


class PackIndex:
    """The packs of one store. Safe under threads; packs written or removed by others are noticed on a miss."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._packs: dict[str, Pack] | None = None
        self._merged: list[_Merged] = []
        self._single: list[Pack] = []
        self._table: Pack | None = None
        self._wasted = 0
        self.damaged: dict[str, str] = {}
        """Packs that cannot be opened: key and what is wrong."""
        _OPEN.add(self)

    def packs(self) -> list[Pack]:
        """All packs as last listed."""
        with self._lock:
            if self._packs is None:
                self.refresh()
            return list((self._packs or {}).values())

    def refresh(self) -> bool:
        """List the packs again; true if any is new or gone."""
        with self._lock:
            before = self._packs or {}
            after: dict[str, Pack] = {}
            damaged: dict[str, str] = {}
            for info in self._store.list("packs/"):
                if info.key in before:
                    after[info.key] = before[info.key]
                elif info.key in self.damaged:
                    damaged[info.key] = self.damaged[info.key]
                else:
                    try:
                        after[info.key] = Pack(self._store, info.key, info.size)
                    except Damaged as error:
                        damaged[info.key] = str(error)
                    except KeyError:
                        continue
            changed = before.keys() != after.keys() or damaged.keys() != self.damaged.keys()
            self._packs, self.damaged = after, damaged
            if changed:
                kept = [m for m in self._merged if all(p.key in after for p in m.packs)]
                held = {p.key for m in kept for p in m.packs}
                self._merged, self._single = kept, [p for k, p in after.items() if k not in held]
            return changed

    def forget(self) -> None:
        """Let go of all packs; the next look-up lists again."""
        with self._lock:
            self._packs, self._merged, self._single, self.damaged, self._table = None, [], [], {}, None

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock and been in the middle of a change."""
        self._lock = threading.RLock()
        self.forget()

    def find(self, raw: bytes) -> list[Place]:
        """Every place of a payload in the packs known so far."""
        with self._lock:
            if self._packs is None:
                self.refresh()
            found = [place for merged in self._merged for place in merged.find(raw)]
            for pack in self._single:
                at = pack.find(raw)
                if at is not None:
                    found.append((pack, *at))
            self._spent(1)
            return found

    def find_many(self, raws: Sequence[bytes]) -> dict[bytes, Place]:
        """One place of each payload that the packs known so far hold."""
        with self._lock:
            if self._packs is None:
                self.refresh()
            found: dict[bytes, Place] = {}
            missing: Sequence[bytes] = raws
            for merged in self._merged:
                for raw in missing:
                    if places := merged.find(raw):
                        found[raw] = places[0]
                missing = [raw for raw in missing if raw not in found]
            for pack in self._single:
                if not missing:
                    break
                here = pack.find_many(missing)
                if pack.is_table and pack is not self._table:
                    # One at a time: their memory is not to grow with the store.
                    if self._table is not None:
                        self._table.let_go()
                    self._table = pack
                found.update({raw: (pack, *at) for raw, at in here.items()})
                missing = [raw for raw in missing if raw not in here]
            self._spent(len(missing) + 1)
            return found

    def _spent(self, lookups: int) -> None:
        """Merge single packs once as much was spent on searching them one by one as merging costs."""
        if len(self._single) < 8:
            return
        self._wasted += lookups * len(self._single)
        small = sum(pack.count for pack in self._single)
        if self._wasted > small:
            self._wasted = 0
            for width in (20, 32):
                self._merge([pack for pack in self._single if pack.width == width])
            self._single = []

    def _merge(self, packs: list[Pack]) -> None:
        """Like with like, as a log-structured tree does: an entry is merged again only when its list doubles."""
        if not packs:
            return
        count = sum(pack.count for pack in packs)
        while self._merged and self._merged[-1].count < 2 * count and self._merged[-1].packs[0].width == packs[0].width:
            last = self._merged.pop()
            packs = [*last.packs, *packs]
            count += last.count
        self._merged.append(_Merged(packs))


_OPEN: weakref.WeakSet[PackIndex] = weakref.WeakSet()


def _after_fork() -> None:
    for index in list(_OPEN):
        index.after_fork()


os.register_at_fork(after_in_child=_after_fork)
