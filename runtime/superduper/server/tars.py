"""Files and folders as tar archives, written and read as a stream."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from superduper.errors import EncodeError

if TYPE_CHECKING:
    from superduper.artifacts.tree import Tree
    from superduper.datalayer import Datalayer

PIECE = 1 << 20


def packed(db: Datalayer, tree: Tree) -> Iterator[bytes]:
    """The archive: the root under its own name; equal trees are equal bytes."""
    for entry in sorted(tree.entries):
        info = tarfile.TarInfo("/".join((tree.name, *entry.path)))
        info.mode = 0o755 if entry.executable or entry.type == "dir" else 0o644
        if entry.type == "dir":
            info.type = tarfile.DIRTYPE
        elif entry.type == "link":
            info.type, info.linkname = tarfile.SYMTYPE, entry.target
        else:
            info.size = entry.size
        yield info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
        if entry.type == "file" and entry.size:
            with db.artifacts.open(entry.blob) as blob:
                while piece := blob.read(PIECE):
                    yield piece
            if over := entry.size % tarfile.BLOCKSIZE:
                yield b"\0" * (tarfile.BLOCKSIZE - over)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def unpacked(body: Iterable[bytes], folder: Path) -> Path:
    """Unpack the archive's only file or folder; gives its path. Raises EncodeError.

    Python's own filter for data refuses whatever leads out of the folder.
    """
    into = folder / "tree"
    into.mkdir()
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Pieces(body), PIECE), mode="r|*") as archive:
            archive.extractall(into, filter="data")
    except tarfile.FilterError as error:
        raise EncodeError(f"the archive is refused: {error}") from error
    except tarfile.TarError as error:
        raise EncodeError(f"the body is no tar archive, or it breaks off: {error}") from error
    found = sorted(into.iterdir())
    if len(found) != 1:
        shown = ", ".join(path.name for path in found[:5]) or "nothing"
        raise EncodeError(
            f"the archive has one file or folder at its top, and this one has {shown}: tar the folder itself"
        )
    return found[0]


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        part = self._held[: len(view)]
        view[: len(part)] = part
        self._held = self._held[len(part) :]
        return len(part)
