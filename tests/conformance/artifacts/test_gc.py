"""Garbage collection, alike on every store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from superduper.artifacts import Artifacts
from superduper.artifacts.lease import Lease
from superduper.artifacts.packs import SMALL
from superduper.errors import ArtifactMissing, InUse

MANY = [f"payload {n}".encode() for n in range(60)]
LARGE = os.urandom(SMALL + 100)


def put(artifacts: Artifacts, *payloads: bytes) -> list[str]:
    with artifacts.writing() as writer:
        return [writer.put(payload) for payload in payloads]


def keys(artifacts: Artifacts) -> set[str]:
    return {info.key for info in artifacts.store.list()}


def test_without_a_window_no_orphan_byte_remains_and_no_live_one_goes(artifacts: Artifacts) -> None:
    packed = put(artifacts, *MANY)
    loose = put(artifacts, b"loose", b"orphan", LARGE)
    live = [*packed[::2], loose[0]]
    report = artifacts.gc(live, window=0)
    assert artifacts.get_many(live) == [*MANY[::2], b"loose"]
    assert len(keys(artifacts)) == 2
    assert report.removed == 30 + 3
    assert report.live == 31
    assert report.removed_bytes > len(LARGE)
    for orphan in (packed[1], loose[1], loose[2]):
        with pytest.raises(ArtifactMissing):
            artifacts.get(orphan)
    artifacts.gc([], window=0)
    assert keys(artifacts) == set()


def test_a_dry_run_tells_and_removes_nothing(artifacts: Artifacts) -> None:
    ids = put(artifacts, *MANY, LARGE)
    before = keys(artifacts)
    dry = artifacts.gc(ids[:10], window=0, dry_run=True)
    assert keys(artifacts) == before
    real = artifacts.gc(ids[:10], window=0)
    assert (dry.dry_run, real.dry_run) == (True, False)
    assert (dry.live, dry.removed, dry.removed_bytes) == (real.live, real.removed, real.removed_bytes)
    assert dry.found == len(MANY) + 2


def test_what_is_younger_than_the_window_stays(artifacts: Artifacts) -> None:
    ids = put(artifacts, *MANY, LARGE)
    put(artifacts, b"loose")
    before = keys(artifacts)
    assert artifacts.gc([], window=3600).removed == 0
    assert keys(artifacts) == before
    assert artifacts.get_many(ids) == [*MANY, LARGE]


def test_a_live_tree_keeps_its_files_and_a_dead_one_does_not(artifacts: Artifacts, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(40):
        (folder / str(n)).write_text(f"file {n}")
    (folder / "large").write_bytes(LARGE)
    with artifacts.writing() as writer:
        id = writer.put_path(folder)
    artifacts.gc([id], window=0)
    assert len(list(artifacts.checkout(id, tmp_path / "out").iterdir())) == 41
    artifacts.gc([], window=0)
    assert keys(artifacts) == set()


def test_what_a_writer_holds_stays_though_no_row_names_it_yet(artifacts: Artifacts) -> None:
    (old,) = put(artifacts, b"orphan that is wanted again")
    old_packed = put(artifacts, *MANY)
    other = Artifacts(artifacts.store)
    with artifacts.writing() as writer:
        new = writer.put(b"new")
        again = [writer.put(b"orphan that is wanted again"), *(writer.put(payload) for payload in MANY)]
        writer.flush()
        assert again == [old, *old_packed]
        other.gc([], window=0)
        assert artifacts.get_many([new, *again]) == [b"new", b"orphan that is wanted again", *MANY]
    other.gc([new], window=0)
    assert other.get(new) == b"new"
    with pytest.raises(ArtifactMissing):
        other.get(old)


def test_a_writer_that_starts_during_a_collection_loses_nothing(artifacts: Artifacts, tmp_path: Path) -> None:
    """The collection asks for live ids in its middle: there the writer stores what is about to be swept."""
    payloads = [b"loose orphan", *MANY, LARGE]
    put(artifacts, b"loose orphan", LARGE)
    put(artifacts, *MANY)
    (tmp_path / "file").write_bytes(b"in a tree")
    with artifacts.writing() as writer:
        writer.put_path(tmp_path / "file")
    other = Artifacts(artifacts.store)
    stored: list[str] = []

    def live() -> Iterator[str]:
        with other.writing() as writer:
            stored.extend(writer.put(payload) for payload in payloads)
            stored.append(writer.put_path(tmp_path / "file"))
        # No row names them by the time they are asked for: what was read before is all that counts as live.
        yield from ()

    artifacts.gc(live, window=0)
    for reader in (artifacts, other, Artifacts(artifacts.store)):
        assert reader.get_many(stored[:-1]) == payloads
        assert reader.checkout(stored[-1], tmp_path / "out").read_bytes() == b"in a tree"
    artifacts.gc(stored, window=0)
    assert artifacts.get_many(stored[:-1]) == payloads
    assert artifacts.checkout(stored[-1], tmp_path / "out").read_bytes() == b"in a tree"
    assert list(artifacts.verify()) == []


def test_only_one_collection_runs_at_a_time(artifacts: Artifacts) -> None:
    put(artifacts, b"x")

    def live() -> Iterator[str]:
        with pytest.raises(InUse, match="another process"):
            Artifacts(artifacts.store).gc([], window=0)
        yield from ()

    artifacts.gc(live, window=0)
    assert keys(artifacts) == set()


def test_many_small_packs_become_one_and_readers_follow(artifacts: Artifacts) -> None:
    batches = [[f"batch {b} row {n}".encode() for n in range(20)] for b in range(10)]
    ids = [put(artifacts, *batch) for batch in batches]
    reader = Artifacts(artifacts.store)
    assert reader.get(ids[0][0]) == batches[0][0]
    assert len(keys(artifacts)) == 10
    report = artifacts.gc([id for batch in ids for id in batch], window=0)
    assert report.removed == 0
    assert len(keys(artifacts)) == 1
    for batch, payloads in zip(ids, batches, strict=True):
        assert reader.get_many(batch) == payloads
        assert reader.get(batch[3]) == payloads[3]


def test_of_payloads_stored_twice_one_sound_copy_is_kept(artifacts: Artifacts) -> None:
    (id,) = put(artifacts, b"twice")
    artifacts.store.delete([id])
    put(artifacts, b"twice", *MANY)
    artifacts.store.put(id, b"twicf")
    ids = [id, *put(artifacts, *MANY)]
    artifacts.gc(ids, window=0)
    assert artifacts.get(id) == b"twice"
    artifacts.store.put(id, b"twice")
    artifacts.gc(ids, window=0)
    assert artifacts.get_many(ids) == [b"twice", *MANY]
    assert artifacts.gc(ids, window=0).live == len(ids)


def test_damaged_packs_and_what_was_set_aside_are_never_removed(artifacts: Artifacts) -> None:
    put(artifacts, *MANY)
    (pack,) = artifacts.store.list("packs/")
    data = bytearray(artifacts.store.get(pack.key))
    data[-100] ^= 1
    artifacts.store.put(pack.key, data)
    artifacts.store.put("corrupt/something", b"x")
    report = Artifacts(artifacts.store).gc([], window=0)
    assert report.damaged_packs == (pack.key,)
    assert keys(artifacts) == {pack.key, "corrupt/something"}


def test_a_collection_that_comes_and_goes_before_a_claim_is_noticed(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = [*MANY, LARGE]
    put(artifacts, *MANY)
    put(artifacts, LARGE)
    other = Artifacts(artifacts.store)
    claim = Lease.claim

    def late(lease: Lease, ids: Iterable[str]) -> None:
        lease.release()
        other.gc([], window=0)
        lease.take()
        claim(lease, ids)

    monkeypatch.setattr(Lease, "claim", late)
    ids = put(artifacts, *payloads)
    assert Artifacts(artifacts.store).get_many(ids) == payloads
