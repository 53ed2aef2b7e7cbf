"""Trees: a file or a directory as one manifest, whose id is the tree's id, and one blob per file.

The manifest is canonical JSON: the root's name and, sorted by path, an entry each for the root itself (an empty
path), every directory and every file. Names are the bytes that the file system has, undecodable ones escaped as
Python does (PEP 383): nothing is normalised.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from superduper.artifacts.reference import check_id
from superduper.errors import EncodeError, InvalidReference

__all__ = ["BadManifest", "Entry", "Symlinks", "Tree", "leaves", "scan"]

Symlinks = Literal["refuse", "keep"]
_FORMAT = "superduper.tree/1"


class BadManifest(ValueError):
    """A manifest that no `put_path` made. Stays inside this package."""


@dataclass(frozen=True, order=True)
class Entry:
    """One thing in a tree. ``size`` is in bytes; ``blob`` the id of a file's content; ``target`` a link's text."""

    path: tuple[str, ...]
    type: Literal["dir", "file", "link"]
    executable: bool = False
    size: int = 0
    blob: str = ""
    target: str = ""


@dataclass(frozen=True)
class Tree:
    """A file or directory as stored: its own name and its entries, the root first."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)

    @property
    def blobs(self) -> set[str]:
        """Ids of the files' contents."""
        return {entry.blob for entry in self.entries if entry.type == "file"}

    def dump(self) -> bytes:
        """Canonical JSON: equal trees are equal bytes."""
        entries = [_entry_to_json(entry) for entry in sorted(self.entries)]
        manifest = {"format": _FORMAT, "name": self.name, "entries": entries}
        return json.dumps(manifest, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def load(cls, data: bytes) -> Tree:
        """Read and check a manifest. Raises BadManifest for every trick that could lead out of the tree."""
        try:
            manifest = json.loads(data)
            if manifest["format"] != _FORMAT:
                raise BadManifest("it is not the manifest of a file or directory")
            tree = cls(manifest["name"], tuple(_entry_from_json(entry) for entry in manifest["entries"]))
        except BadManifest:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, InvalidReference) as error:
            raise BadManifest(f"it is not the manifest of a file or directory ({error})") from error
        tree._check()
        return tree

    def _check(self) -> None:
        _check_name(self.name)
        types: dict[tuple[str, ...], str] = {}
        for entry in self.entries:
            for part in entry.path:
                _check_name(part)
            if entry.path in types:
                raise BadManifest(f"two entries are named {'/'.join(entry.path)!r}")
            if entry.path and types.get(entry.path[:-1]) != "dir":
                raise BadManifest(f"{'/'.join(entry.path)!r} lies in no directory of the tree")
            if entry.type == "link" and (not entry.path or leaves(entry)):
                raise BadManifest(f"the link {'/'.join(entry.path)!r} leads out of the tree")
            types[entry.path] = entry.type
        if () not in types:
            raise BadManifest("it has no root")


def _check_name(name: str) -> None:
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name or os.sep in name:
        raise BadManifest(f"{name!r} is no name of a file or directory")


def leaves(link: Entry) -> bool:
    """Whether a link's text is absolute, climbs above the tree's root, or may do so by way of another link.

    ``..`` counts from the directory that the link lies in, which is a real one; after a name, which may itself be a
    link, it would count from anywhere.
    """
    target = link.target
    parts = [part for part in target.split("/") if part not in ("", ".")]
    names = [part for part in parts if part != ".."]
    climbs = len(parts) - len(names)
    return (
        not target or target.startswith("/") or "\0" in target or climbs > len(link.path) - 1 or parts[climbs:] != names
    )


def _entry_to_json(entry: Entry) -> dict[str, object]:
    common: dict[str, object] = {"path": list(entry.path), "type": entry.type}
    if entry.type == "file":
        return common | {"executable": entry.executable, "size": entry.size, "blob": entry.blob}
    return common | {"target": entry.target} if entry.type == "link" else common


def _entry_from_json(entry: dict[str, Any]) -> Entry:
    path = tuple(entry["path"])
    match entry["type"]:
        case "dir":
            return Entry(path, "dir")
        case "file":
            size, executable = entry["size"], entry["executable"]
            if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(executable, bool):
                raise BadManifest(f"{path!r} has no proper size or mode")
            return Entry(path, "file", executable, size, check_id(entry["blob"]))
        case "link" if isinstance(entry["target"], str):
            return Entry(path, "link", target=entry["target"])
    raise BadManifest(f"{path!r} is neither a file nor a directory nor a link")


def scan(root: Path, symlinks: Symlinks, put_file: Callable[[str], tuple[str, int]]) -> Iterator[Entry]:
    """The entries of a file or directory; ``put_file`` stores one file and gives its id and size.

    Links are never followed, but for the root itself, which the user named.
    """
    for path, full, found in _walk(str(root), (), os.stat(root)):
        if stat.S_ISDIR(found.st_mode):
            yield Entry(path, "dir")
        elif stat.S_ISREG(found.st_mode):
            blob, size = put_file(full)
            yield Entry(path, "file", bool(found.st_mode & stat.S_IXUSR), size, blob)
        elif stat.S_ISLNK(found.st_mode):
            yield _link(path, full, symlinks)
        else:
            raise EncodeError(f"{full}: only files and directories can be stored, this is a device, socket or pipe")


_Found = tuple[tuple[str, ...], str, os.stat_result]


def _walk(full: str, path: tuple[str, ...], found: os.stat_result) -> Iterator[_Found]:
    yield path, full, found
    if stat.S_ISDIR(found.st_mode):
        with os.scandir(full) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            below = f"{full}/{name}"
            yield from _walk(below, (*path, name), os.lstat(below))


def _link(path: tuple[str, ...], full: str, symlinks: Symlinks) -> Entry:
    if symlinks == "refuse":
        raise EncodeError(
            f"{full} is a symbolic link; store what it points to, or keep links with symlinks='keep', "
            "in a DataType as info={'symlinks': 'keep'}, on the command line as --symlinks keep"
        )
    entry = Entry(path, "link", target=os.readlink(full))
    if leaves(entry):
        raise EncodeError(f"{full} links to {entry.target!r}, outside of the directory; put the file there itself")
    return entry
