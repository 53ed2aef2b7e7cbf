from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from superduper.artifacts import Artifacts, Entry, Tree
from superduper.artifacts.tree import BadManifest
from superduper.backends.memory.artifacts import MemoryArtifactStore
from superduper.errors import InvalidReference

BLOB = "0" * 40
FILE = {"type": "file", "executable": False, "size": 1, "blob": BLOB}


def manifest(*entries: dict[str, Any], name: Any = "root") -> bytes:
    return json.dumps({"format": "superduper.tree/1", "name": name, "entries": entries}).encode()


ROOT = {"path": [], "type": "dir"}

TRICKS: dict[str, bytes] = {
    "climbs": manifest(ROOT, {"path": [".."], **FILE}),
    "climbs inside": manifest(ROOT, {"path": ["a"], "type": "dir"}, {"path": ["a", ".."], **FILE}),
    "absolute": manifest(ROOT, {"path": ["/etc/passwd"], **FILE}),
    "separator": manifest(ROOT, {"path": ["a/b"], **FILE}),
    "empty part": manifest(ROOT, {"path": [""], **FILE}),
    "point": manifest(ROOT, {"path": ["."], **FILE}),
    "nul": manifest(ROOT, {"path": ["a\0b"], **FILE}),
    "no text": manifest(ROOT, {"path": [3], **FILE}),
    "twice": manifest(ROOT, {"path": ["a"], **FILE}, {"path": ["a"], **FILE}),
    "name climbs": manifest(ROOT, name=".."),
    "name absolute": manifest(ROOT, name="/etc"),
    "name empty": manifest(ROOT, name=""),
    "name missing": manifest(ROOT, name=None),
    "below a file": manifest(ROOT, {"path": ["a"], **FILE}, {"path": ["a", "b"], **FILE}),
    "below a link": manifest(
        ROOT,
        {"path": ["a"], "type": "link", "target": "b"},
        {"path": ["a", "x"], **FILE},
        {"path": ["b"], "type": "dir"},
    ),
    "below nothing": manifest(ROOT, {"path": ["a", "b"], **FILE}),
    "no root": manifest({"path": ["a"], **FILE}),
    "root is a link": manifest({"path": [], "type": "link", "target": "x"}),
    "link leads out": manifest(ROOT, {"path": ["a"], "type": "link", "target": "../x"}),
    "link is absolute": manifest(ROOT, {"path": ["a"], "type": "link", "target": "/etc"}),
    "link climbs after a link": manifest(
        ROOT,
        {"path": ["p"], "type": "dir"},
        {"path": ["p", "up"], "type": "link", "target": ".."},
        {"path": ["x"], "type": "link", "target": "p/up/.."},
    ),
    "blob is a path": manifest(ROOT, {"path": ["a"], **FILE, "blob": "../../x"}),
    "size is negative": manifest(ROOT, {"path": ["a"], **FILE, "size": -1}),
    "device": manifest(ROOT, {"path": ["a"], "type": "device"}),
    "other format": json.dumps({"format": "x", "name": "a", "entries": [ROOT]}).encode(),
    "no json": b"hello",
    "a list": b"[]",
}


@pytest.mark.parametrize("data", TRICKS.values(), ids=TRICKS)
def test_a_manifest_with_a_trick_is_refused_and_writes_nothing(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadManifest):
        Tree.load(data)
    artifacts = Artifacts(MemoryArtifactStore())
    with artifacts.writing() as writer:
        id = writer.put(data)
    with pytest.raises(InvalidReference, match="names no file or directory"):
        artifacts.checkout(id, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a__b", "a:b", "ü", "u\u0308", "-rf", "a b", "&:blob:x", "\udcff\udcfe", "CON", "~"])
def test_odd_names_are_names(name: str) -> None:
    tree = Tree(name, (Entry((), "dir"), Entry((name,), "file", True, 3, BLOB)))
    assert Tree.load(tree.dump()) == tree


def test_equal_trees_are_equal_bytes_whatever_the_order() -> None:
    entries = (Entry((), "dir"), Entry(("a",), "dir"), Entry(("b",), "file", False, 1, BLOB))
    assert Tree("x", entries).dump() == Tree("x", entries[::-1]).dump()
    assert Tree("y", entries).dump() != Tree("x", entries).dump()


def test_a_tree_tells_its_size_and_blobs() -> None:
    tree = Tree("x", (Entry((), "dir"), Entry(("b",), "file", False, 7, BLOB), Entry(("c",), "file", True, 5, BLOB)))
    assert (tree.size, tree.blobs) == (12, {BLOB})
