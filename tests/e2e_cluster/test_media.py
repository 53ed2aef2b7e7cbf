"""Large payloads through the server: up, down and in part, with a memory limit that a whole one would break."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.e2e_cluster.kube import REPOSITORY, Kube
from tests.e2e_cluster.test_digits import manifests
from tests.e2e_cluster.test_mistakes import datalayer

LIMIT = "300Mi"
SIZE = 512 * 1024**2


@pytest.fixture
def media(kube: Kube) -> Kube:
    """The media example, without its sources: those are files of the person who applies it."""
    objects = list(manifests(REPOSITORY / "examples" / "02-media"))
    for each in objects:
        if each["kind"] == "Table":
            del each["spec"]["source"]
        if each["kind"] == "Datalayer":
            each["spec"] = {**datalayer()["spec"], "server": {"resources": {"limits": {"memory": LIMIT}}}}
    kube.apply(objects)
    for name in ("pictures", "films", "sounds"):
        kube.wait_ready("table", name, seconds=120)
    return kube


def test_a_film_larger_than_the_servers_memory_goes_up_and_comes_back(media: Kube, tmp_path: Path) -> None:
    film, again = tmp_path / "film.mp4", tmp_path / "again.mp4"
    block = os.urandom(1024**2)
    with film.open("wb") as file:
        for number in range(SIZE // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])
    digest = hashlib.sha1(film.read_bytes(), usedforsecurity=False).hexdigest()
    with media.opened("media", tmp_path / "home") as db:
        db.insert("films", [{"id": "long", "film": film.read_bytes(), "size": SIZE}])
        row = db["films"].find_one({"id": "long"}).execute()
        assert row["film"].id == digest
        assert row["film"].size == SIZE
        start = SIZE // 2 - 5
        row["film"].seek(start)
        with film.open("rb") as file:
            file.seek(start)
            assert row["film"].read(100) == file.read(100)
        with again.open("wb") as file:
            row["film"].seek(0)
            while part := row["film"].read(8 * 1024**2):
                file.write(part)
    assert hashlib.sha1(again.read_bytes(), usedforsecurity=False).hexdigest() == digest
    [pod] = media.list("pods", "app.kubernetes.io/name=server")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0, "the server ran out of memory"


def test_a_folder_goes_up_and_comes_back_file_for_file(media: Kube, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    for name in ("a/one.wav", "a/b/two.wav", "three.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(1000))
    with media.opened("media", tmp_path / "home") as db:
        db.insert("sounds", [{"id": "all", "sound": str(folder)}])
        copy = Path(db["sounds"].find_one({"id": "all"}).execute().unpack()["sound"])
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert {str(f.relative_to(copy)): f.read_bytes() for f in copy.rglob("*") if f.is_file()} == files
