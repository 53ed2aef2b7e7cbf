"""Packs that are written while their payloads come."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from superduper.artifacts import Artifacts
from superduper.backends.filesystem.artifacts import FileSystemArtifactStore
from superduper.errors import StoreError

COUNT, SIZE = 200, 100_000


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(FileSystemArtifactStore(f"filesystem://{tmp_path / 'store'}"))


def payloads(count: int = COUNT, seed: int = 1) -> Iterator[bytes]:
    made = random.Random(seed)
    return (made.randbytes(SIZE) for _ in range(count))


def stored(artifacts: Artifacts) -> int:
    return sum(info.size for info in artifacts.store.list())


def under_way(artifacts: Artifacts) -> int:
    return sum(info.size for info in artifacts.store.leftovers())


def test_what_is_put_is_written_before_the_flush_and_seen_after_it(artifacts: Artifacts) -> None:
    with artifacts.writing() as writer:
        ids = [writer.put(payload) for payload in payloads()]
        assert under_way(artifacts) > COUNT * SIZE // 2
        assert not list(artifacts.store.list("packs/"))
        writer.flush()
        assert len(list(artifacts.store.list("packs/"))) == 1
    assert under_way(artifacts) == 0
    assert artifacts.get_many(ids) == list(payloads())


def test_the_same_payloads_again_in_one_writer_are_stored_once(artifacts: Artifacts) -> None:
    with artifacts.writing() as writer:
        ids = [writer.put(payload) for _ in range(3) for payload in payloads()]
    assert artifacts.get_many(ids) == 3 * list(payloads())
    assert stored(artifacts) < COUNT * SIZE * 1.02


def test_what_is_stored_already_is_not_stored_again(artifacts: Artifacts) -> None:
    for _ in range(2):
        with artifacts.writing() as writer:
            ids = [writer.put(payload) for payload in payloads()]
    assert artifacts.get_many(ids) == list(payloads())
    assert len(list(artifacts.store.list("packs/"))) == 1
    assert under_way(artifacts) == 0


def test_few_payloads_remain_files_of_their_own(artifacts: Artifacts) -> None:
    with artifacts.writing() as writer:
        ids = [writer.put(bytes([n]) * 1_000_000) for n in range(16)]
    assert {info.key for info in artifacts.store.list() if "/" not in info.key} == set(ids)


def test_an_error_of_the_caller_leaves_nothing(artifacts: Artifacts) -> None:
    with pytest.raises(ZeroDivisionError), artifacts.writing() as writer:
        for payload in payloads():
            writer.put(payload)
        raise ZeroDivisionError
    assert (stored(artifacts), under_way(artifacts)) == (0, 0)


def test_collections_in_between_take_nothing(artifacts: Artifacts) -> None:
    other = Artifacts(artifacts.store)
    ids = []
    with artifacts.writing() as writer:
        for n, payload in enumerate(payloads()):
            ids.append(writer.put(payload))
            if n % 50 == 10:
                other.gc([], window=0)
        writer.flush()
        other.gc([], window=0)
        assert artifacts.get_many(ids) == list(payloads())
    assert Artifacts(artifacts.store).get_many(ids) == list(payloads())


def test_after_a_pack_was_lost_no_flush_says_that_all_is_stored(artifacts: Artifacts) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(StoreError, match="were lost.*put all again"), artifacts.writing() as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, limits[1]))
        try:
            with pytest.raises(StoreError, match="free or enlarge the disk"):
                for payload in payloads():
                    writer.put(payload)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.put(b"one more")
    assert (stored(artifacts), under_way(artifacts)) == (0, 0)
