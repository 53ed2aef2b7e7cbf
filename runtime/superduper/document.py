"""``Document``: a row as the user sees it, and the handles that stand in it for what is not loaded yet."""

from __future__ import annotations

import io
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superduper.errors import ArtifactError, DecodeError

if TYPE_CHECKING:
    from superduper.artifacts.blob import Blob
    from superduper.components.datatype import DataType


class _Empty:
    """Shown where a payload is not loaded."""

    def __repr__(self) -> str:
        return "<EMPTY>"

    def __bool__(self) -> bool:
        return False


EMPTY = _Empty()


class Encoded:
    """Bytes that are encoded already, as a file holds them: stored as they are, once the data type has read them."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Place:
    """Where a value was read: named in errors."""

    __slots__ = ("row", "table")

    def __init__(self, table: str, row: Any) -> None:
        self.table, self.row = table, row


class _Lazy(ABC):
    """A value that is in the artifact store until ``unpack``."""

    identifier = ""
    uri = None

    def __init__(self, reference: str, datatype: DataType, source: Source, place: Place) -> None:
        self.reference, self.datatype, self._source, self._place = reference, datatype, source, place
        self.x: Any = EMPTY
        self._uuid = ""

    @property
    def uuid(self) -> str:
        """A name for this handle, made when first asked for."""
        self._uuid = self._uuid or str(uuid.uuid4())
        return self._uuid

    def unpack(self, db: Any = None) -> Any:
        """The value, loaded and verified once; ``db`` is taken for the sake of older code and not needed."""
        if self.x is EMPTY:
            try:
                self.x = self._load()
            except ArtifactError as error:
                raise error.at(self._place.table, self._place.row) from error.__cause__
            except DecodeError as error:
                raise DecodeError(f"table {self._place.table!r}, row {self._place.row!r}: {error}") from error
        return self.x

    @abstractmethod
    def _load(self) -> Any:
        """Read, verify and decode."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(identifier={self.identifier!r}, uuid={self.uuid!r}, datatype={self.datatype!r}, "
            f"uri={self.uri!r}, x={self.x!r})"
        )


class Source:
    """What handles read from: the content layer and the folder that files are copied out to."""

    __slots__ = ("artifacts", "files")

    def __init__(self, artifacts: Any, files: Path) -> None:
        self.artifacts, self.files = artifacts, files


class LazyArtifact(_Lazy, io.RawIOBase):
    """Bytes in the artifact store: a value after ``unpack``, and at any time a readable, seekable file.

    ``size`` is in bytes; ``read_ranges([(start, length), …])`` gives a list of bytes; ``url(expires)`` an address for
    so many seconds where the store has such. All that is read is verified.
    """

    def __init__(self, reference: str, datatype: DataType, source: Source, place: Place) -> None:
        _Lazy.__init__(self, reference, datatype, source, place)
        self._opened: Blob | None = None

    @property
    def id(self) -> str:
        """The hash of the stored bytes, in hex."""
        return self.reference.rpartition(":")[2]

    def _load(self) -> Any:
        return self.datatype.decode(self._source.artifacts.get(self.id))

    def _blob(self) -> Blob:
        if self._opened is None:
            self._opened = self._source.artifacts.open(self.id)
        return self._opened

    def _placed(self, call: Callable[[Blob], Any]) -> Any:
        try:
            return call(self._blob())
        except ArtifactError as error:
            raise error.at(self._place.table, self._place.row) from error.__cause__

    @property
    def size(self) -> int:
        """Length in bytes."""
        return int(self._source.artifacts.size(self.id))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return int(self._placed(lambda blob: blob.readinto(buffer)))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._placed(lambda blob: blob.seek(offset, whence)))

    def tell(self) -> int:
        return self._blob().tell()

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each ``(start, length)``."""
        return list(self._placed(lambda blob: blob.read_ranges(ranges)))

    def url(self, expires: float = 3600) -> str:
        """An address for reading, without credentials, for ``expires`` seconds. Raises Unsupported."""
        return str(self._placed(lambda blob: blob.url(expires)))


class LazyFile(_Lazy):
    """A file or folder in the artifact store; ``unpack`` copies it out and gives the path of the copy."""

    def _load(self) -> str:
        path = self._source.artifacts.checkout(self.reference.rpartition(":")[2], self._source.files)
        return as_given(path)

    @property
    def size(self) -> int:
        """Total length of its files, in bytes."""
        return int(self._source.artifacts.tree(self.reference.rpartition(":")[2]).size)


def as_given(path: Path) -> str:
    """A relative path as people write it, ``./…``; an absolute one as it is."""
    return str(path) if path.is_absolute() else f"./{path}"


class Document(dict[str, Any]):
    """A row: a dict whose values may be handles (see ``unpack``)."""

    def unpack(self, db: Any = None) -> dict[str, Any]:
        """A plain dict with every handle replaced by its value; ``db`` is not needed."""
        return {key: _unpacked(value) for key, value in self.items()}

    def __repr__(self) -> str:
        return f"Document({dict.__repr__(self)})"


def unpack_all(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """``unpack`` of each, with the payloads of all read together. They are in memory together."""
    handles = [
        value
        for document in documents
        for value in document.values()
        if isinstance(value, LazyArtifact) and value.x is EMPTY
    ]
    if len(handles) > 1:
        _load_all(handles)
    return [document.unpack() for document in documents]


def _load_all(handles: list[LazyArtifact]) -> None:
    """Values of those that can be read; ``unpack`` says what is wrong with the others, and where they stand."""
    try:
        payloads = handles[0]._source.artifacts.get_many([handle.id for handle in handles])
    except ArtifactError:
        return
    payloads.reverse()
    for handle in handles:
        with suppress(DecodeError):
            handle.x = handle.datatype.decode(payloads.pop())


def _unpacked(value: Any) -> Any:
    if isinstance(value, _Lazy):
        return value.unpack()
    if isinstance(value, dict):
        return {key: _unpacked(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_unpacked(part) for part in value]
    return value


class Cursor:
    """Documents as they come; iterate, or take all with ``list``. Nothing holds the whole result."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = iter(documents)

    def __iter__(self) -> Iterator[Document]:
        return self._documents

    def __next__(self) -> Document:
        return next(self._documents)

    def close(self) -> None:
        """Give back what the query holds before it is at its end."""
        close = getattr(self._documents, "close", None)
        if close is not None:
            close()
