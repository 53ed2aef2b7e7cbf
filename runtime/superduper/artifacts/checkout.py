"""Copying trees out of the store, whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from superduper.artifacts.digests import hasher_of
from superduper.artifacts.packs import SMALL
from superduper.artifacts.tree import Entry, Tree
from superduper.errors import AccessDenied, StoreError

if TYPE_CHECKING:
    from superduper.artifacts.store import Artifacts

__all__ = ["checkout"]

_STEP = 8 << 20
_BUDGET = 64 << 20
_ATTEMPTS = 5


def checkout(artifacts: Artifacts, id: str, into: Path) -> Path:
    """Give ``into/<id>/<name>``, equal to what is stored; see ``Artifacts.checkout``."""
    tree = artifacts.tree(id)
    place = into / id
    try:
        for _ in range(_ATTEMPTS):
            before = _inode(place)
            if before is not None:
                if _equal(tree, place):
                    return place / tree.name
                _move_aside(place, before)
            _install(artifacts, tree, place)
        raise StoreError(
            f"{place} cannot be made equal to what is stored: someone keeps changing it, or the file system or the "
            "umask does not keep names and modes; name another folder"
        )
    except PermissionError as error:
        raise AccessDenied(f"{into}: no right to copy files there; name another folder ({error})") from error
    except StoreError:
        raise
    except OSError as error:
        problem = error.strerror or error
        raise StoreError(f"{into}: cannot copy files there: {problem}; free the disk or name another folder") from error


def _install(artifacts: Artifacts, tree: Tree, place: Path) -> None:
    """Write a fresh copy beside the place and rename it there; where another process was faster, leave its copy."""
    fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        fresh.mkdir(parents=True)
        _write(artifacts, tree, fresh)
        if not place.exists():
            os.rename(fresh, place)
    except OSError:
        if not place.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write(artifacts: Artifacts, tree: Tree, folder: Path) -> None:
    small: dict[str, list[Entry]] = {}
    for entry in tree.entries:
        path = _path(folder, tree, entry)
        if entry.type == "dir":
            os.mkdir(path)
        elif entry.type == "link":
            os.symlink(entry.target, path)
        elif entry.size <= SMALL:
            small.setdefault(entry.blob, []).append(entry)
        else:
            with open(path, "xb") as handle, artifacts.open(entry.blob) as source:
                while part := source.read(_STEP):
                    handle.write(part)
            _set_mode(path, entry)
    for blob, data in artifacts.iter_many(small, _BUDGET):
        for entry in small[blob]:
            path = _path(folder, tree, entry)
            with open(path, "xb") as handle:
                handle.write(data)
            _set_mode(path, entry)


def _path(folder: Path, tree: Tree, entry: Entry) -> str:
    return os.path.join(folder, tree.name, *entry.path)


def _set_mode(path: str, entry: Entry) -> None:
    if entry.executable:
        mode = os.stat(path).st_mode
        # Executable for whom it is readable, as the umask left it.
        os.chmod(path, stat.S_IMODE(mode) | (mode & 0o444) >> 2)


def _equal(tree: Tree, place: Path) -> bool:
    """Whether a folder holds the tree and nothing else, byte for byte."""
    try:
        if os.listdir(place) != [tree.name]:
            return False
        found = 0
        for entry in tree.entries:
            path = _path(place, tree, entry)
            if not _same(entry, path, os.lstat(path)):
                return False
            found += len(os.listdir(path)) if entry.type == "dir" else 0
        # Every entry but the root lies in one directory: more names than entries are names that were added.
        return found == len(tree.entries) - 1
    except (FileNotFoundError, NotADirectoryError):
        return False


def _same(entry: Entry, path: str, found: os.stat_result) -> bool:
    if entry.type == "dir":
        return stat.S_ISDIR(found.st_mode)
    if entry.type == "link":
        return stat.S_ISLNK(found.st_mode) and os.readlink(path) == entry.target
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
        return False
    if bool(found.st_mode & stat.S_IXUSR) != entry.executable:
        return False
    hasher = hasher_of(entry.blob)()
    with open(path, "rb", buffering=0) as handle:
        while part := handle.read(_STEP):
            hasher.update(part)
    return hasher.hexdigest() == entry.blob


def _inode(place: Path) -> int | None:
    try:
        return os.lstat(place).st_ino
    except FileNotFoundError:
        return None


def _move_aside(place: Path, inode: int) -> None:
    """Keep what someone changed as ``<id>.modified-1`` and so on, unless another process already put it in order."""
    number = 1
    while _inode(place) == inode:
        aside = place.with_name(f"{place.name}.modified-{number}")
        number += 1
        if os.path.lexists(aside):
            continue
        try:
            os.rename(place, aside)
        except FileNotFoundError:
            return
        except OSError:
            if not os.path.lexists(aside):
                raise
