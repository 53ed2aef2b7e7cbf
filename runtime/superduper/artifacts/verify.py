"""Reading everything to tell what is missing or damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from superduper.artifacts.chunks import CHUNK, ChunkHashes, chunk_key
from superduper.artifacts.copies import Copy, copies, set_aside
from superduper.artifacts.digests import HASHERS
from superduper.artifacts.gc import Upkeep, named_id
from superduper.artifacts.packs import Damaged, Pack, body, fresh_key
from superduper.artifacts.reference import blob, check_id, file
from superduper.artifacts.tree import BadManifest, Tree

if TYPE_CHECKING:
    from superduper.artifacts.store import Artifacts

__all__ = ["Damage", "Holder", "verify"]


@dataclass(frozen=True, slots=True)
class Holder:
    """A field of a row that needs an artifact; of a component, ``table`` is its type and ``row`` name and version."""

    table: str
    row: Any
    field: str = ""

    def __str__(self) -> str:
        if not self.field:
            return f"{self.table} {self.row}"
        return f"table {self.table!r}, row {self.row!r}, field {self.field!r}"


@dataclass(frozen=True)
class Damage:
    """One finding. ``key`` is the object in the store, or where it would lie; ``reference`` may be empty (a pack).

    ``needed_by`` is filled in by whoever knows the rows.
    """

    reference: str
    problem: str
    key: str
    needed_by: tuple[Holder, ...] = ()


def verify(artifacts: Artifacts, ids: Iterable[str] | None, aside: bool) -> Iterator[Damage]:
    """See ``Artifacts.verify``."""
    # Setting aside removes objects, so it must not cross a collection; reading may.
    with Upkeep(artifacts) if aside else nullcontext():
        artifacts.index.refresh()
        if ids is None:
            yield from _everything(artifacts, aside)
        else:
            seen: set[str] = set()
            for id in ids:
                yield from _one(artifacts, check_id(id), aside, seen)


def _everything(artifacts: Artifacts, aside: bool) -> Iterator[Damage]:
    store = artifacts.store
    for key, problem in sorted(artifacts.index.damaged.items()):
        yield Damage("", problem, key)
        if aside:
            store.move(key, f"corrupt/{key.rpartition('/')[2]}")
    for pack in artifacts.index.packs():
        yield from _pack(artifacts, pack, aside)
    trees: set[str] = set()
    for info in list(store.list()):
        if id := named_id(info.key, "chunks/"):
            yield from _chunks(artifacts, id, aside)
        elif id := named_id(info.key, "trees/"):
            trees.add(id)
        elif named_id(info.key, "") == info.key:
            copy = Copy(store, info.key, None)
            if not _sound(copy):
                yield _damaged(copy)
                if aside:
                    set_aside(copy)
    artifacts.index.refresh()
    seen: set[str] = set()
    for id in sorted(trees):
        yield from _tree(artifacts, id, aside, seen, only_missing=True)


def _sound(copy: Copy) -> bool:
    try:
        return copy.sound()
    except KeyError:
        # Removed since it was listed: nobody needs it.
        return True


def _damaged(copy: Copy) -> Damage:
    return Damage(blob(copy.id), "the stored bytes do not match their id", copy.key)


def _pack(artifacts: Artifacts, pack: Pack, aside: bool) -> Iterator[Damage]:
    store = artifacts.store
    bad: set[bytes] = set()
    for raw, offset, length in pack.entries():
        copy = Copy(store, raw.hex(), (pack, offset, length))
        if not _sound(copy):
            bad.add(raw)
            yield _damaged(copy)
            if aside:
                set_aside(copy)
    if bad and aside:
        rest = [(raw, pack.read(at, length)) for raw, at, length in pack.entries() if raw not in bad]
        if rest:
            store.put(fresh_key(), body(rest, pack.width))
        store.delete([pack.key])


def _chunks(artifacts: Artifacts, id: str, aside: bool) -> Iterator[Damage]:
    """Hashes by chunk are made anew when set aside: nothing of the user's is in them."""
    problem = ""
    try:
        hashes = ChunkHashes.load(artifacts.store, id)
        for copy in copies(artifacts.store, artifacts.index, id):
            try:
                fresh = ChunkHashes.of(copy.parts(CHUNK), hashes.width)
            except KeyError:
                continue
            if copy.sound() and (fresh.size, fresh.digests) != (hashes.size, hashes.digests):
                problem = "the hashes of its chunks are not those of its bytes"
    except KeyError:
        return
    except Damaged as error:
        problem = str(error)
    if problem:
        yield Damage(blob(id), problem, chunk_key(id))
        if aside:
            artifacts.store.move(chunk_key(id), f"corrupt/{id}.chunks")


def _one(artifacts: Artifacts, id: str, aside: bool, seen: set[str]) -> Iterator[Damage]:
    """A payload that some row or tree names, and, if it is a tree, what that holds."""
    if id in seen:
        return
    seen.add(id)
    there = False
    for copy in list(copies(artifacts.store, artifacts.index, id)):
        try:
            sound = copy.sound()
        except KeyError:
            continue
        there = True
        if not sound:
            yield _damaged(copy)
            if aside and copy.place is None:
                set_aside(copy)
    if not there:
        yield Damage(blob(id), "it is missing", id)
    elif next(iter(artifacts.store.list(f"trees/{id}")), None) is not None:
        yield from _tree(artifacts, id, aside, seen, only_missing=False)


def _tree(artifacts: Artifacts, id: str, aside: bool, seen: set[str], *, only_missing: bool) -> Iterator[Damage]:
    """What a tree holds. Its own damage is reported where it lies."""
    data = next((d for copy in copies(artifacts.store, artifacts.index, id) if (d := _whole(copy)) is not None), None)
    if data is None:
        return
    try:
        blobs = sorted(Tree.load(data).blobs)
    except BadManifest as error:
        yield Damage(file(id), str(error), id)
        return
    for held in blobs:
        if not only_missing:
            yield from _one(artifacts, held, aside, seen)
        elif held not in seen:
            seen.add(held)
            if not artifacts.places([held]):
                yield Damage(blob(held), f"it is missing, and the file or directory {id} holds it", held)


def _whole(copy: Copy) -> bytes | None:
    try:
        data = copy.whole()
    except KeyError:
        return None
    return data if HASHERS[len(copy.id) // 2](data).hexdigest() == copy.id else None
