"""Where a table's source lies: a local folder or a prefix of a bucket, read alike."""

from __future__ import annotations

import contextlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from urllib.parse import unquote

from superduper.errors import NotFound, StoreError, UriError


class Entry(NamedTuple):
    """A file: its path within the folder, with ``/`` between the parts; bytes; seconds since 1970."""

    path: str
    size: int
    modified: float


class Folder(ABC):
    """Files to read. ``root`` is shown in messages."""

    root: str

    @abstractmethod
    def entries(self) -> list[Entry]:
        """All files at any depth, by path; those whose own or folder's name starts with a dot are left out."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole file. Raises NotFound."""

    @abstractmethod
    def local(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """The file as a local one, for as long as the context is open; a local folder as it is. Raises NotFound."""

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """The file, to be read in order. Raises NotFound."""
        with self.local(path) as found, found.open("rb") as file:
            yield file

    def _missing(self, path: str) -> NotFound:
        return NotFound(f"{self.root}: there is no file {path!r}")


class LocalFolder(Folder):
    """A folder of this machine. Neither names nor links lead out of it, unless ``bound`` is false: then paths may be any."""

    def __init__(self, root: Path, *, bound: bool = True) -> None:
        self.path, self.root, self.bound = root, str(root), bound

    def entries(self) -> list[Entry]:
        found = []
        for file in self.path.rglob("*"):
            relative = file.relative_to(self.path)
            if any(part.startswith(".") for part in relative.parts) or file.is_symlink() or not file.is_file():
                continue
            stat = file.stat()
            found.append(Entry(relative.as_posix(), stat.st_size, stat.st_mtime))
        return sorted(found)

    def read(self, path: str) -> bytes:
        with self.local(path) as found:
            return found.read_bytes()

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        found = (self.path / path).resolve()
        if self.bound and not found.is_relative_to(self.path.resolve()):
            raise StoreError(f"{self.root}: {path!r} leads out of the source's folder; name files within it only")
        if not found.exists():
            raise self._missing(path)
        try:
            yield found
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{found}: cannot be read: {error.strerror or error}") from error


class BucketFolder(Folder):
    """A prefix of an S3 bucket, with credentials from the environment."""

    def __init__(self, uri: str) -> None:
        from superduper.backends.s3.driver import Location
        from superduper.backends.s3.obstore_driver import ObstoreDriver

        # The client itself: an artifact store takes keys of its own making only, and a bucket has what names it likes.
        self.driver, self.root = ObstoreDriver(Location.parse(uri)), uri
        with self.driver.translated("list the bucket"):
            self.driver.probe()

    def entries(self) -> list[Entry]:
        with self.driver.translated("list the bucket"):
            return sorted(
                Entry(info.key, info.size, info.modified)
                for info in self.driver.list("")
                if not any(part.startswith(".") for part in info.key.split("/"))
            )

    def read(self, path: str) -> bytes:
        with self._named(path):
            return self.driver.get(path)

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / PurePosixPath(path).name
            with self._named(path), copy.open("wb") as file:
                for start in range(0, self.driver.head(path).size, _PIECE):
                    file.write(self.driver.get_range(path, start, _PIECE))
            yield copy

    @contextlib.contextmanager
    def _named(self, path: str) -> Iterator[None]:
        try:
            with self.driver.translated(f"read {path}"):
                yield
        except KeyError as error:
            raise self._missing(path) from error


_PIECE = 8 << 20


def open_folder(uri: str) -> tuple[Folder, str | None]:
    """The folder at the URI; where the URI names a file, the folder that it is in and the file's name.

    Raises UriError, NotFound, MissingExtra, Unreachable, AccessDenied.
    """
    check_scheme(uri)
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        path = Path(unquote(rest))
        if path.is_dir():
            return LocalFolder(path), None
        if path.is_file():
            return LocalFolder(path.parent), path.name
        raise NotFound(f"{uri}: there is no such file or folder")
    where, mark, options = uri.partition("?")
    name = where.rstrip("/").rpartition("/")[2]
    if "." in name and where.count("/") > 2 and not where.endswith("/"):
        return BucketFolder(where[: -len(name) - 1] + mark + options), name
    return BucketFolder(uri), None


def check_scheme(uri: str) -> None:
    """Raises UriError where no source can be read from there."""
    if uri.partition("://")[0] not in ("file", "s3"):
        raise UriError(f"{uri}: a source is read from file:// or s3://")
