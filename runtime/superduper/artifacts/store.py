"""Content addressing: payloads under the hash of their bytes, verified whenever they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from superduper.artifacts.blob import Blob
from superduper.artifacts.copies import Copy, copies
from superduper.artifacts.digests import WIDTHS, hasher_of
from superduper.artifacts.index import PackIndex, Place
from superduper.artifacts.packs import Pack
from superduper.artifacts.reference import blob, check_id, file, raw_ids
from superduper.artifacts.seam import ArtifactStore
from superduper.artifacts.tree import BadManifest, Tree
from superduper.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing, ConfigError, InvalidReference, nearest

if TYPE_CHECKING:
    from superduper.artifacts.gc import GcReport
    from superduper.artifacts.verify import Damage
    from superduper.artifacts.writer import Writer

__all__ = ["Artifacts"]

_ASKED = 1000
"""Sizes that are asked for at once."""


class Artifacts:
    """The payloads of one store. Safe under threads and after a fork.

    ``hash`` names the algorithm for what is written, ``sha1`` or ``sha256``; ids of both are read.
    """

    def __init__(self, store: ArtifactStore, hash: str = "sha1") -> None:
        if hash not in WIDTHS:
            raise ConfigError(f"hash {hash!r} is unknown: it is sha1 or sha256{nearest(hash, WIDTHS)}")
        self.store, self.hash, self.width = store, hash, WIDTHS[hash]
        self.index = PackIndex(store)

    # -- writing -----------------------------------------------------------------------------------------------------

    def writing(self) -> Writer:
        """A writer, to be used in a ``with`` that also commits the rows: its lease keeps ``gc`` off what it stored."""
        from superduper.artifacts.writer import Writer

        return Writer(self)

    # -- reading -----------------------------------------------------------------------------------------------------

    def get(self, id: str) -> bytes:
        """The payload, verified. Raises ArtifactMissing, ArtifactCorrupt, InvalidReference."""
        hasher = hasher_of(check_id(id))
        damaged = None
        for copy in copies(self.store, self.index, id):
            try:
                data = copy.whole()
            except KeyError:
                continue
            if hasher(data).hexdigest() == id:
                return data
            damaged = copy
        raise self.failed(id, damaged)

    def get_many(self, ids: Sequence[str]) -> list[bytes]:
        """The payloads, verified, in the order asked; they are in memory together (see ``iter_many``)."""
        found: dict[str, bytes] = {}
        rest = self._from_packs(list(dict.fromkeys(ids)), found)
        if rest:
            rest = self._from_loose(rest, found)
        if rest and self.index.refresh():
            rest = self._from_packs(rest, found)
        for id in rest:
            # Raises the right error, or finds a sound second copy.
            found[id] = self.get(id)
        return [found[id] for id in ids]

    def iter_many(self, ids: Iterable[str], budget_bytes: int) -> Iterator[tuple[str, bytes]]:
        """(id, payload) in the order asked, with at most ``budget_bytes`` (or one payload) in memory at once."""
        group: list[str] = []
        held = 0
        left = iter(ids)
        while some := list(islice(left, _ASKED)):
            sizes = self.sizes(some)
            for id in some:
                # Raises the right error for one that is not there.
                size = sizes[id] if id in sizes else self.size(id)
                if group and held + size > budget_bytes:
                    yield from self._handed_out(group)
                    group, held = [], 0
                group.append(id)
                held += size
        yield from self._handed_out(group)

    def _handed_out(self, ids: list[str]) -> Iterator[tuple[str, bytes]]:
        payloads = self.get_many(ids)
        payloads.reverse()
        for id in ids:
            yield id, payloads.pop()

    def _from_packs(self, ids: list[str], found: dict[str, bytes]) -> list[str]:
        """Read what lies in known packs; gives the ids that do not, or are damaged there."""
        raws = raw_ids(ids)
        places = self.index.find_many(raws)
        if not places:
            return ids
        by_pack: dict[Pack, tuple[list[str], list[tuple[int, int]]]] = {}
        rest: list[str] = []
        for id, raw in zip(ids, raws, strict=True):
            if (place := places.get(raw)) is None:
                rest.append(id)
                continue
            pack, offset, length = place
            if (held := by_pack.get(pack)) is None:
                held = by_pack[pack] = ([], [])
            held[0].append(id)
            held[1].append((offset, length))
        for pack, (names, spots) in by_pack.items():
            hasher = hasher_of(names[0])
            try:
                payloads = pack.read_many(spots)
            except KeyError:
                rest.extend(names)
                continue
            for id, data in zip(names, payloads, strict=True):
                if hasher(data).hexdigest() == id:
                    found[id] = data
                else:
                    rest.append(id)
        return rest

    def _from_loose(self, ids: list[str], found: dict[str, bytes]) -> list[str]:
        rest: list[str] = []
        for id, data in zip(ids, self.store.get_many(ids), strict=True):
            if data is not None and hasher_of(id)(data).hexdigest() == id:
                found[id] = data
            else:
                rest.append(id)
        return rest

    def open(self, id: str) -> Blob:
        """A verified, seekable handle that reads only what it is asked for. Raises ArtifactMissing."""
        return Blob(self, id)

    def size(self, id: str) -> int:
        """Bytes of a payload, as stored. Raises ArtifactMissing."""
        return self.located(id).size

    def sizes(self, ids: Iterable[str]) -> dict[str, int]:
        """Bytes of those of the payloads that are there, as stored. Raises InvalidReference."""
        wanted = list(dict.fromkeys(ids))
        found = self._packed_sizes(wanted)
        if rest := [id for id in wanted if id not in found]:
            found |= self.store.sizes(rest)
        if (rest := [id for id in wanted if id not in found]) and self.index.refresh():
            found |= self._packed_sizes(rest)
        return found

    def _packed_sizes(self, ids: list[str]) -> dict[str, int]:
        return {raw.hex(): place[2] for raw, place in self.index.find_many(raw_ids(ids)).items()}

    def located(self, id: str) -> Copy:
        """A copy that is there. Raises ArtifactMissing."""
        for copy in copies(self.store, self.index, check_id(id)):
            if copy.place is not None or self.store.head(id) is not None:
                return copy
        raise self.failed(id, None)

    def places(self, ids: Sequence[str]) -> dict[str, Place | None]:
        """Those of the ids that are stored, each with a place in a pack, or None where it is loose."""
        self.index.refresh()
        packed = self.index.find_many([bytes.fromhex(id) for id in ids])
        found: dict[str, Place | None] = {raw.hex(): place for raw, place in packed.items()}
        if len(found) < len(ids):
            found.update(dict.fromkeys(self.store.existing([id for id in ids if id not in found])))
        return found

    def failed(self, id: str, damaged: Copy | None, kind: Callable[[str], str] = blob) -> ArtifactError:
        """The error for an id that cannot be read."""
        reference, store = kind(id), self.store.uri
        if damaged is not None:
            where = f"the bytes in {damaged.key} do not match the id"
        elif self.index.damaged:
            key, problem = next(iter(self.index.damaged.items()))
            where = f"it is nowhere else, and may lie in the damaged pack {key} ({problem})"
        elif self.store.head(f"corrupt/{id}") is not None:
            where = f"it was found damaged and set aside as corrupt/{id}"
        else:
            return ArtifactMissing(
                "no object has this id; it was removed, or the store is not the one it was written to",
                reference=reference,
                store=store,
            )
        return ArtifactCorrupt(
            f"{where}; restore it from a backup or insert it again", reference=reference, store=store
        )

    # -- files and directories ---------------------------------------------------------------------------------------

    def tree(self, id: str) -> Tree:
        """What a file or directory consists of. Raises InvalidReference where the id names something else."""
        data = self.get(id)
        try:
            return Tree.load(data)
        except BadManifest as error:
            raise InvalidReference(
                f"it names no file or directory: {error}", reference=file(id), store=self.store.uri
            ) from error

    def checkout(self, tree_id: str, into: Path) -> Path:
        """Copy a file or directory out to ``into/<id>/<name>``, verified; gives that path.

        What is already there is compared with the hashes and used if equal; if someone changed it, it is kept as
        ``<id>.modified-<n>`` beside the fresh copy.
        """
        from superduper.artifacts.checkout import checkout

        return checkout(self, tree_id, Path(into))

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def gc(
        self, live: Iterable[str] | Callable[[], Iterable[str]], *, window: float = 86400, dry_run: bool = False
    ) -> GcReport:
        """Remove what is not live and older than ``window`` seconds; correct while others write.

        ``live``: the ids of all blobs and trees that any row names. It is asked only after the collection has begun,
        so it must read the rows when it is iterated: a generator, or a function that gives one. Raises InUse where
        another collection runs.
        """
        from superduper.artifacts.gc import collect

        return collect(self, live, window, dry_run)

    def verify(self, ids: Iterable[str] | None = None, *, set_aside: bool = False) -> Iterator[Damage]:
        """Read everything (or those ids, with what trees hold) and tell what is missing or damaged.

        ``set_aside`` moves the damaged to ``corrupt/``, so that the same bytes can be stored again.
        """
        from superduper.artifacts.verify import verify

        return verify(self, ids, set_aside)

    def close(self) -> None:
        """Give back the store's connections."""
        self.index.forget()
        self.store.close()

    def __repr__(self) -> str:
        return f"Artifacts({self.store!r}, hash={self.hash!r})"
