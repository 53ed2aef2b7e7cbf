#!/usr/bin/env python3
"""Reads and tidies a folder of images (an OCI image layout, as `buildah push oci:FOLDER:NAME` writes it).

layout.py FOLDER list                        each image's name and the digest of its manifest
layout.py FOLDER stream --without FILE NAME… these images as an archive on stdout, for `ctr images import -`; layers whose
                                             digests stand in FILE are left out: containerd has them
layout.py FOLDER prune                       remove what belongs to no image
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "org.opencontainers.image.ref.name"


def images(layout: Path) -> dict[str, dict[str, Any]]:
    """The manifests' descriptors by name. One that a newer image of its name replaced has no name any more."""
    index = layout / "index.json"
    found = json.loads(index.read_text()) if index.exists() else {"manifests": []}
    return {entry["annotations"][NAME]: entry for entry in found["manifests"] if NAME in entry.get("annotations", {})}


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / Path(*digest.split(":"))


def blobs(layout: Path, image: dict[str, Any]) -> Iterator[str]:
    """The digests that an image consists of, its layers first, its manifest last."""
    manifest = json.loads(blob(layout, image["digest"]).read_text())
    for part in (*manifest["layers"], manifest["config"], image):
        yield part["digest"]


def stream(layout: Path, names: list[str], known: set[str]) -> None:
    """Write these images without the known layers; configurations and manifests always go along."""
    chosen = [images(layout)[name] for name in names]
    entries = [
        {**image, "annotations": {"io.containerd.image.name": name}} for name, image in zip(names, chosen, strict=True)
    ]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:

        def add(name: str, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        add("oci-layout", {"imageLayoutVersion": "1.0.0"})
        for digest in dict.fromkeys(digest for image in chosen for digest in blobs(layout, image)):
            if digest not in known:
                archive.add(blob(layout, digest), f"blobs/{digest.replace(':', '/')}")
        add("index.json", {"schemaVersion": 2, "manifests": entries})


def prune(layout: Path) -> None:
    """Drop replaced manifests from the index, and the blobs that no image has."""
    kept = images(layout)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(kept.values())}))
    needed = {blob(layout, digest) for image in kept.values() for digest in blobs(layout, image)}
    for path in layout.glob("blobs/*/*"):
        if path not in needed:
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", type=Path)
    parser.add_argument("command", choices=["list", "stream", "prune"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--without", type=Path)
    given = parser.parse_intermixed_args()
    if given.command == "list":
        for name, image in images(given.layout).items():
            print(name, image["digest"])
    elif given.command == "stream":
        stream(given.layout, given.names, set(given.without.read_text().split()) if given.without else set())
    elif (given.layout / "index.json").exists():
        prune(given.layout)


if __name__ == "__main__":
    main()
