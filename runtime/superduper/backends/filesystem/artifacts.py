"""Artifacts as plain files in a folder.

A write goes to a temporary file under ``.tmp``, is forced to the disk, renamed into place, and the folder is forced
to the disk: a power cut leaves the object whole or absent.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from superduper.backends.base.artifacts import ArtifactStore, Buffer, ObjectInfo, Upload, check_key
from superduper.errors import AccessDenied, StoreError, UriError

_SCHEME = "filesystem://"
_TEMPORARY = ".tmp"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PARTS, _HELD = 1024, 1 << 20
"""So many parts of a body, or bytes of them, are written at once."""


class FileSystemArtifactStore(ArtifactStore):
    """``filesystem://./folder`` (relative to the working directory) or ``filesystem:///absolute/folder``."""

    def __init__(self, uri: str) -> None:
        if not uri.startswith(_SCHEME) or not uri[len(_SCHEME) :]:
            raise UriError(f"{uri!r} names no folder; write filesystem://./folder or filesystem:///absolute/folder")
        self.uri = uri
        self.root = Path(os.path.abspath(unquote(uri[len(_SCHEME) :])))
        self._prefix = f"{self.root}/"
        try:
            os.makedirs(self._prefix + _TEMPORARY, exist_ok=True)
            writable = os.access(self.root, os.R_OK | os.W_OK | os.X_OK)
        except OSError as error:
            raise self._refused(error, "create the folder") from error
        if not writable:
            raise AccessDenied(f"{self.root}: no right to read and write this folder; change its owner or its mode")

    def put(self, key: str, body: Buffer | Iterable[Buffer], *, overwrite: bool = True) -> bool:
        return self._put(key, body, overwrite)

    def _put(self, key: str, body: Buffer | Iterable[Buffer], overwrite: bool, *, tries: int = 50) -> bool:
        target = self._prefix + check_key(key)
        if not overwrite and os.path.exists(target):
            return False
        temporary = f"{self._prefix}{_TEMPORARY}/{uuid.uuid4().hex}"
        try:
            self._write(temporary, body)
            folder = os.path.dirname(target)
            if "/" in key:
                self._ensure(folder)
            if overwrite:
                os.replace(temporary, target)
            else:
                os.link(temporary, target)
                os.unlink(temporary)
            _sync_folder(folder)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            if isinstance(error, FileExistsError) and not overwrite:
                return False
            if isinstance(error, FileNotFoundError) and isinstance(body, (bytes, bytearray, memoryview)) and tries > 1:
                # A collector took the temporary file of a lease that it could not see yet: only the lease itself
                # is written without one. One that collects without a pause may do so several times.
                return self._put(key, body, overwrite, tries=tries - 1)
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise self._refused(error, f"write {key}") from error
            raise
        return True

    def _write(self, path: str, body: Buffer | Iterable[Buffer]) -> None:
        handle = self._create(path)
        try:
            if isinstance(body, (bytes, bytearray, memoryview)):
                _write_all(handle, [body])
            else:
                for some in _gathered(body):
                    _write_all(handle, some)
            os.fsync(handle)
        finally:
            os.close(handle)

    def _create(self, path: str) -> int:
        try:
            return os.open(path, _CREATE, 0o666)
        except FileNotFoundError:
            self._ensure(os.path.dirname(path))
            return os.open(path, _CREATE, 0o666)

    def begin(self, key: str) -> Upload:
        return _File(self, check_key(key))

    def _ensure(self, folder: str) -> None:
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            _sync_folder(os.path.dirname(folder))

    def get(self, key: str) -> bytes:
        with self._reading(key), open(self._prefix + check_key(key), "rb", buffering=0) as handle:
            return handle.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with self._reading(key):
            handle = os.open(self._prefix + check_key(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                parts: list[bytes] = []
                while length > 0 and (part := os.pread(handle, length, start)):
                    parts.append(part)
                    start += len(part)
                    length -= len(part)
            finally:
                os.close(handle)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise KeyError(key) from None
        except OSError as error:
            raise self._refused(error, f"read {key}") from error

    def head(self, key: str) -> ObjectInfo | None:
        try:
            found = os.stat(self._prefix + check_key(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._refused(error, f"look at {key}") from error
        return ObjectInfo(key, found.st_size, found.st_mtime)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        yield from (info for info in self._walk(f"{folder}/" if folder else "") if info.key.startswith(prefix))

    def _walk(self, below: str) -> Iterator[ObjectInfo]:
        try:
            entries = os.scandir(self._prefix + below)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refused(error, "list the folder") from error
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(f"{below}{entry.name}/")
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    yield ObjectInfo(below + entry.name, found.st_size, found.st_mtime)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                os.unlink(self._prefix + check_key(key))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._refused(error, f"remove {key}") from error

    def move(self, key: str, to: str) -> None:
        target = self._prefix + check_key(to)
        try:
            self._ensure(os.path.dirname(target))
            os.replace(self._prefix + check_key(key), target)
            _sync_folder(os.path.dirname(target))
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            raise self._refused(error, f"move {key}") from error

    def existing(self, keys: Sequence[str]) -> set[str]:
        # One listing against many look-ups: a name takes some 20 to 60 bytes of a directory on most file systems,
        # so its size tells which is cheaper. A wrong guess costs time, nothing else.
        with contextlib.suppress(FileNotFoundError):
            if len(keys) > os.stat(self.root).st_size // 100:
                return set(keys).intersection(os.listdir(self.root))
        return {key for key in keys if os.access(self._prefix + key, os.F_OK)}

    def leftovers(self) -> Iterator[ObjectInfo]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._prefix + _TEMPORARY) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    yield ObjectInfo(entry.name, found.st_size, found.st_mtime)

    def discard(self, leftovers: Sequence[str]) -> None:
        for name in leftovers:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._prefix}{_TEMPORARY}/{check_key(name)}")

    def path(self, key: str) -> Path | None:
        return self.root / check_key(key)

    def drop(self) -> None:
        self.delete([info.key for info in self.list()])
        self.discard([info.key for info in self.leftovers()])
        for folder in sorted((p for p in self.root.glob("*") if p.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def close(self) -> None:
        """Holds nothing open."""

    def _refused(self, error: OSError, what: str) -> AccessDenied | StoreError:
        if isinstance(error, PermissionError):
            return AccessDenied(f"{self.root}: no right to {what}; change the folder's owner or mode ({error})")
        return StoreError(
            f"{self.root}: cannot {what}: {error.strerror or error}; free or enlarge the disk, "
            "or name another folder (nothing was stored)"
        )

    def __repr__(self) -> str:
        return f"FileSystemArtifactStore({self.uri!r})"


class _File(Upload):
    """A temporary file that becomes an object."""

    def __init__(self, store: FileSystemArtifactStore, key: str) -> None:
        self._store, self._key = store, key
        self._path = f"{store._prefix}{_TEMPORARY}/{uuid.uuid4().hex}"
        with self._refusing():
            self._handle = store._create(self._path)

    def write(self, parts: Iterable[Buffer]) -> None:
        with self._refusing():
            for some in _gathered(parts):
                _write_all(self._handle, some)

    def finish(self) -> None:
        target = self._store._prefix + self._key
        try:
            with self._refusing():
                os.fsync(self._handle)
                self._store._ensure(os.path.dirname(target))
                os.replace(self._path, target)
                _sync_folder(os.path.dirname(target))
        finally:
            self.abandon()

    def abandon(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._store._refused(error, f"write {self._key}") from error


def _gathered(body: Iterable[Buffer]) -> Iterator[list[Buffer]]:
    """The parts in lists that one system call takes and that hold little memory."""
    some: list[Buffer] = []
    held = 0
    for part in body:
        some.append(part)
        held += len(part)
        if held >= _HELD or len(some) == _PARTS:
            yield some
            some, held = [], 0
    if some:
        yield some


def _write_all(handle: int, parts: list[Buffer]) -> None:
    """Written from where they lie, without a copy; a system call may take less than it was given."""
    left = sum(map(len, parts))
    while (left := left - os.writev(handle, parts)) > 0:
        whole = b"".join(parts)
        parts = [memoryview(whole)[-left:]]


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
