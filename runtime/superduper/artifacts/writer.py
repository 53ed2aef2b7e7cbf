"""Writing payloads: hashed, stored once, durable at ``flush``."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from superduper.artifacts.chunks import CHUNK, ChunkHashes, chunk_key, pieces
from superduper.artifacts.copies import Copy, copies, set_aside
from superduper.artifacts.digests import HASHERS
from superduper.artifacts.index import Place
from superduper.artifacts.lease import Lease, collector_at_work
from superduper.artifacts.packs import PACK_BYTES, SMALL, Growing, body, body_of_one, fresh_key
from superduper.artifacts.reference import blob
from superduper.artifacts.seam import Buffer
from superduper.artifacts.tree import Symlinks, Tree, scan
from superduper.errors import ArtifactCollision, EncodeError, StoreError

if TYPE_CHECKING:
    from types import TracebackType

    from superduper.artifacts.store import Artifacts

__all__ = ["Writer"]

#: More payloads than this at a flush go into a pack; so many or fewer become a file each.
_LOOSE = 16
#: So many bytes wait at most where a store takes a pack bit by bit: little enough to be used again while it is cached.
_PASSED_ON = 4 << 20

Chunks = Callable[[], Iterator[Buffer]]


class Writer:
    """Stores payloads under a lease. Use it in a ``with`` that ends after the rows are committed. Safe under threads.

    The lease is taken with the first payload: where there is none, nothing is asked of the store.

    Payloads of at most 1 MiB wait in memory, 64 MiB together, until ``flush``, or the end of the ``with``; if that
    ends by an error they are dropped. A store that takes objects bit by bit gets them sooner, as a pack that grows.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts, self._store = artifacts, artifacts.store
        self._hasher, self._width = HASHERS[artifacts.width], artifacts.width
        self._lease: Lease | None = None
        self._lock = threading.RLock()
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._growing: Growing | None = None
        self._grows = True
        self._lost: BaseException | None = None
        self._trees: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def hold(self) -> Lease:
        """Keep the collector off what is stored from now on, by others too, until the ``with`` ends."""
        with self._lock:
            if self._lease is None:
                lease = Lease(self._store)
                lease.take()
                self._lease = lease
            return self._lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._pending.clear()
            if self._growing is not None:
                self._growing.abandon()
            if self._lease is not None:
                self._lease.release()

    def put(self, data: Buffer) -> str:
        """Store bytes; gives their id at once. They are durable after ``flush``.

        Raises StoreError where the store refuses, ArtifactCollision where other bytes have the same id.
        """
        if self._lease is None:
            self.hold()
        raw = self._hasher(data).digest()
        size = len(data)
        if size > SMALL:
            view = memoryview(data)
            self._put_large(raw.hex(), partial(pieces, view))
            return raw.hex()
        with self._lock:
            held = self._pending.get(raw)
            if held is None:
                self._pending[raw] = data if type(data) is bytes else bytes(data)
                self._pending_bytes += size
                if self._pending_bytes >= PACK_BYTES:
                    self._flush_pending()
                elif self._pending_bytes >= _PASSED_ON and len(self._pending) > _LOOSE and self._grows:
                    self._pass_on()
            elif held != data:
                raise self._collision(raw.hex())
        return raw.hex()

    def put_path(self, path: str | os.PathLike[str], *, symlinks: Symlinks = "refuse") -> str:
        """Store a file or directory as a tree; gives the tree's id. Files are streamed, never held whole.

        ``symlinks="keep"`` stores links that stay within the directory as links; else they are refused.
        Raises EncodeError where there is no such path or something cannot be stored.
        """
        root = Path(path)
        # Only the last part of an absolute path is the thing's own name; '.' and '..' are none.
        name = os.path.basename(os.path.abspath(root))
        try:
            entries = tuple(scan(root, symlinks, self.put_file))
        except StoreError:
            raise
        except OSError as error:
            raise EncodeError(f"{error.filename or root}: cannot be read: {error.strerror or error}") from error
        if not name:
            raise EncodeError(f"{root}: the root of the file system has no name; store a directory in it")
        id = self.put(Tree(name, entries).dump())
        with self._lock:
            self._trees.add(id)
        return id

    def put_file(self, path: str) -> tuple[str, int]:
        """Store a file's bytes, streamed; gives their id and how many they are. Errors as for ``put``, and OSError."""
        self.hold()
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size <= SMALL:
                data = handle.read(SMALL + 1)
                if len(data) <= SMALL:
                    return self.put(data), len(data)
        hasher, size = self._hasher(), 0
        for chunk in _read(path):
            hasher.update(chunk)
            size += len(chunk)
        id = hasher.hexdigest()
        self._put_large(id, lambda: self._unchanged(path, id))
        return id, size

    def _unchanged(self, path: str, id: str) -> Iterator[bytes]:
        """A file's chunks; raises at the end if they are not what was hashed before."""
        hasher = self._hasher()
        for chunk in _read(path):
            hasher.update(chunk)
            yield chunk
        if hasher.hexdigest() != id:
            raise EncodeError(f"{path} changed while it was being stored; try again when nothing writes to it")

    def flush(self) -> None:
        """All that was put is durable when this returns."""
        with self._lock:
            self._flush_pending()
            if self._trees:
                self._mark_trees()

    def _flush_pending(self) -> None:
        self._check()
        if self._growing is not None:
            self._pass_on()
            self._close_pack()
        if not self._pending:
            return
        new, collecting = self._new()
        if len(new) > _LOOSE or (new and collecting):
            self._store.put(fresh_key(), body(new.items(), self._width))
        elif new:
            self._store.put_many({raw.hex(): data for raw, data in new.items()})
        self._no_longer_pending()

    def _pass_on(self) -> None:
        """Add what waits to a pack that grows, if the store has such; a full one is closed."""
        self._check()
        if self._growing is not None and not self._growing.ids.isdisjoint(self._pending):
            self._close_pack()  # the same ids again: they are compared with what is stored
        if self._growing is None:
            upload = self._store.begin(fresh_key())
            if upload is None:
                self._grows = False
                return
            self._growing = Growing(upload, self._width)
        new, _ = self._new()
        with self._losing(self._growing):
            self._growing.add(new)
        self._no_longer_pending()
        if self._growing.size >= PACK_BYTES:
            self._close_pack()

    def _close_pack(self) -> None:
        pack, self._growing = self._growing, None
        if pack is None:
            return
        if not pack.ids:
            pack.abandon()
            return
        with self._losing(pack):
            pack.finish()

    @contextmanager
    def _losing(self, pack: Growing) -> Iterator[None]:
        """What was in a pack that failed is no longer held: nothing after it may count as stored."""
        try:
            yield
        except BaseException as error:
            self._lost, self._growing = error, None
            pack.abandon()
            raise

    def _check(self) -> None:
        if self._lost is not None:
            raise StoreError(
                f"{self._store.uri}: payloads were lost with a pack that could not be written ({self._lost}); put all again"
            ) from self._lost

    def _new(self) -> tuple[dict[bytes, bytes], bool]:
        """What waits and is not stored; and whether a collection is under way, so that nothing stored is relied on."""
        known, collecting = self._claimed([raw.hex() for raw in self._pending])
        new = dict(self._pending)
        if known and not collecting:
            for id in self._equal(known):
                del new[bytes.fromhex(id)]
        return new, collecting

    def _no_longer_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0

    def _claimed(self, ids: list[str]) -> tuple[dict[str, Place | None], bool]:
        """Those of the ids that are stored, now claimed; and whether a collection is under way all the same."""
        known = self._artifacts.places(ids)
        if not known:
            return known, collector_at_work(self._store)
        self.hold().claim(known)
        if collector_at_work(self._store):
            return known, True
        # A whole collection may have come and gone before the claim. A pack that it removed is still mapped here,
        # so being readable proves nothing: only what is listed now is there, and stays.
        return self._artifacts.places(list(known)), False

    def _mark_trees(self) -> None:
        """Say which ids are trees, so that the collector knows that they keep other blobs alive."""
        self.hold().claim(self._trees)
        # A mark that exists may be about to be swept: one of a new name is not.
        suffix = f".{uuid.uuid4().hex}" if collector_at_work(self._store) else ""
        for id in self._trees:
            self._store.put(f"trees/{id}{suffix}", b"")
        self._trees.clear()

    def _equal(self, known: dict[str, Place | None]) -> Iterator[str]:
        """Those of the pending payloads whose stored bytes are the same; what is damaged is set aside."""
        by_pack: dict[str, list[tuple[str, Place]]] = {}
        others: list[str] = []
        for id, place in known.items():
            if place is None:
                others.append(id)
            else:
                by_pack.setdefault(place[0].key, []).append((id, place))
        for held in by_pack.values():
            try:
                stored = held[0][1][0].read_many([place[1:] for _, place in held])
            except KeyError:
                others.extend(id for id, _ in held)
                continue
            for (id, _), data in zip(held, stored, strict=True):
                if data == self._pending[bytes.fromhex(id)]:
                    yield id
                else:
                    others.append(id)
        for id in others:
            payload = self._pending[bytes.fromhex(id)]
            if self._same(id, len(payload), lambda payload=payload: pieces(payload)):  # type: ignore[misc]
                yield id

    def _put_large(self, id: str, chunks: Chunks) -> None:
        hashes = ChunkHashes.of(chunks(), self._width)
        known, collecting = self._claimed([id])
        if known and not collecting and self._same(id, hashes.size, chunks):
            return
        self._store.put(chunk_key(id), hashes.dump())
        if collecting:
            self._store.put(fresh_key(), body_of_one(bytes.fromhex(id), hashes.size, chunks()))
        else:
            self._store.put(id, chunks())

    def _same(self, id: str, size: int, chunks: Chunks) -> bool:
        """Whether a stored copy is equal. If none is, damaged ones are set aside; a sound one is a collision."""
        differing: list[Copy] = []
        for copy in copies(self._store, self._artifacts.index, id):
            try:
                if copy.size == size and all(map(_equal, copy.parts(CHUNK), chunks())):
                    return True
            except KeyError:
                continue
            differing.append(copy)
        for copy in differing:
            if copy.sound():
                raise self._collision(id)
            set_aside(copy)
        return False

    def _collision(self, id: str) -> ArtifactCollision:
        return ArtifactCollision(
            f"other bytes with the same {self._artifacts.hash} are stored; set the hash to sha256 (nothing was stored)",
            reference=blob(id),
            store=self._store.uri,
        )


def _equal(stored: Buffer, given: Buffer) -> bool:
    return bytes(stored) == bytes(given)


def _read(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as handle:
        while chunk := _fill(handle.read, CHUNK):
            yield chunk


def _fill(read: Callable[[int], bytes | None], length: int) -> bytes:
    """A whole chunk though a read may give less (a pipe or network file system does)."""
    chunk = read(length) or b""
    while 0 < len(chunk) < length and (more := read(length - len(chunk))):
        chunk += more
    return chunk
