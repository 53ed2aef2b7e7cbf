"""Artifacts on their way out of the store and into it, without being held whole."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from superduper.artifacts import reference
from superduper.artifacts.digests import HASHERS
from superduper.artifacts.reference import check_id
from superduper.errors import EncodeError, InvalidReference, StoreError
from superduper.server.tars import unpacked
from superduper.server.values import folder_of_uploads

if TYPE_CHECKING:
    from superduper.artifacts.tree import Tree
    from superduper.datalayer import Datalayer

PIECE = 1 << 20
"""Bytes that are read and sent at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact: the id asked for, that of its bytes, how many they are; ``name`` and ``tree`` of a file or folder."""

    id: str
    blob: str
    size: int
    name: str = ""
    tree: Tree | None = None


def find(db: Datalayer, id: str, *, folder: bool) -> Found:
    """The artifact of that id, or reference. Raises ArtifactMissing, InvalidReference where it is of the other kind."""
    found = check_id(id.rpartition(":")[2])
    if next(iter(db.artifact_store.list(f"trees/{found}")), None) is None:
        if folder:
            raise InvalidReference("it is no file or folder, so it is given as it is, without ?tar", reference=found)
        return Found(found, found, db.artifacts.size(found))
    tree = db.artifacts.tree(found)
    root = min(tree.entries)
    if folder:
        return Found(found, "", tree.size, tree.name, tree)
    if root.type != "file":
        raise InvalidReference(f"it is the folder {tree.name!r}: ask for it with ?tar=1", reference=found)
    return Found(found, root.blob, root.size, tree.name, tree)


def pieces(db: Datalayer, id: str, start: int, length: int) -> Iterator[bytes]:
    """So many bytes from there on, verified."""
    with db.artifacts.open(id) as blob:
        blob.seek(start)
        while length > 0:
            piece = blob.read(min(PIECE, length))
            if not piece:
                return
            length -= len(piece)
            yield piece


def put_blob(db: Datalayer, body: Iterable[bytes], *, expected: str | None) -> tuple[str, str, int]:
    """Store the bytes: id, reference, size. Raises EncodeError where the id is not the one expected; StoreError."""
    if expected is not None:
        _check_width(db, expected)
    with folder_of_uploads(db) as folder:
        path = folder / "body"
        size, hasher = 0, HASHERS[db.artifacts.width]()
        try:
            with path.open("wb") as file:
                for piece in body:
                    file.write(piece)
                    hasher.update(piece)
                    size += len(piece)
        except OSError as error:
            raise _full(error) from error
        _expect(expected, hasher.hexdigest())
        with db.artifacts.writing() as writer:
            id, size = writer.put_file(str(path))
            writer.flush()
    return id, reference.blob(id), size


def put_tree(db: Datalayer, body: Iterable[bytes], *, expected: str | None) -> tuple[str, str, int]:
    """Store the file or folder that a tar holds; as ``put_blob``. Raises EncodeError where it is no such tar."""
    if expected is not None:
        _check_width(db, expected)
    with folder_of_uploads(db) as folder:
        try:
            root = unpacked(body, Path(folder))
        except OSError as error:
            raise _full(error) from error
        with db.artifacts.writing() as writer:
            id = writer.put_path(root, symlinks="keep")
            _expect(expected, id)
            writer.flush()
        return id, reference.file(id), db.artifacts.tree(id).size


def _check_width(db: Datalayer, expected: str) -> None:
    if len(check_id(expected)) != 2 * db.artifacts.width:
        raise InvalidReference(
            f"new artifacts are named by {db.artifacts.hash} here, and this id is of another hash; POST it without an id",
            reference=expected,
        )


def _expect(expected: str | None, id: str) -> None:
    if expected is not None and expected != id:
        raise EncodeError(f"the bytes that were sent have the id {id}, not {expected}: nothing was stored")


def _full(error: OSError) -> Exception:
    if isinstance(error, (StoreError, ConnectionError)) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return error
    return StoreError(f"the bytes cannot be kept on their way into the store: {error.strerror}")
