from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from superduper.artifacts.index import PackIndex
from superduper.artifacts.packs import Damaged, Pack, body, body_of_one, fresh_key
from superduper.backends.base.artifacts import ArtifactStore
from superduper.backends.filesystem.artifacts import FileSystemArtifactStore
from superduper.backends.memory.artifacts import MemoryArtifactStore


@pytest.fixture(params=["mapped", "ranged"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return FileSystemArtifactStore(f"filesystem://{tmp_path}") if request.param == "mapped" else MemoryArtifactStore()


def raw(text: str) -> bytes:
    return hashlib.sha1(text.encode()).digest()


def packed(store: ArtifactStore, pairs: list[tuple[bytes, bytes]], width: int = 20) -> Pack:
    key = fresh_key()
    store.put(key, body(pairs, width))
    info = store.head(key)
    assert info is not None
    return Pack(store, key, info.size)


@pytest.mark.parametrize("count", [0, 1, 2, 17, 5000])
def test_every_payload_is_found_and_nothing_else(store: ArtifactStore, count: int) -> None:
    pairs = [(raw(str(n)), b"v%d" % n) for n in range(count)]
    pack = packed(store, pairs)
    for id, payload in pairs:
        place = pack.find(id)
        assert place is not None
        assert pack.read(*place) == payload
    for n in range(300):
        assert pack.find(raw(f"absent {n}")) is None
    assert pack.find(b"\0" * 20) is None
    assert pack.find(b"\xff" * 20) is None
    assert pack.find(b"\0" * 32) is None


def test_ids_that_are_not_evenly_spread_are_found_too(store: ArtifactStore) -> None:
    """No hash makes such ids, but the place of one must not depend on luck."""
    rng = random.Random(7)
    ids = sorted({b"\x80" * 8 + rng.randbytes(12) for _ in range(3000)} | {b"\0" * 19 + bytes([n]) for n in range(99)})
    pack = packed(store, [(id, id) for id in ids])
    for id in ids:
        place = pack.find(id)
        assert place is not None
        assert pack.read(*place) == id
    assert pack.find(b"\x80" * 20) is None


def test_few_and_many_are_looked_up_alike(store: ArtifactStore) -> None:
    pairs = [(raw(str(n)), b"v%d" % n) for n in range(1000)]
    pack = packed(store, pairs)
    for wanted in (pairs[:3], pairs[::2]):
        found = pack.find_many([*(id for id, _ in wanted), raw("absent")])
        assert list(found) == [id for id, _ in wanted] or set(found) == {id for id, _ in wanted}
        assert pack.read_many([found[id] for id, _ in wanted]) == [payload for _, payload in wanted]


def test_a_pack_of_one_large_payload_is_a_pack(store: ArtifactStore) -> None:
    key = fresh_key()
    store.put(key, body_of_one(raw("x"), 6, [b"abc", b"def"]))
    info = store.head(key)
    assert info is not None
    pack = Pack(store, key, info.size)
    assert pack.find(raw("x")) == (0, 6)
    assert pack.read(0, 6) == b"abcdef"


@pytest.mark.parametrize("cut", [0, 1, 40, 90, 200], ids=lambda n: f"cut to {n}")
def test_a_pack_cut_short_is_damaged_not_misread(store: ArtifactStore, cut: int) -> None:
    key = fresh_key()
    data = b"".join(body([(raw(str(n)), b"payload") for n in range(20)], 20))
    store.put(key, data[:cut])
    with pytest.raises(Damaged):
        Pack(store, key, cut)


def test_a_flip_of_any_byte_of_index_or_footer_is_noticed(store: ArtifactStore) -> None:
    pairs = [(raw(str(n)), b"v") for n in range(4)]
    data = b"".join(body(pairs, 20))
    for at in range(4, len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        key = fresh_key()
        store.put(key, flipped)
        with pytest.raises(Damaged):
            Pack(store, key, len(data))


def test_an_index_over_many_packs_finds_each_payload_before_and_after_it_merged_them(store: ArtifactStore) -> None:
    pairs = [[(raw(f"{p} {n}"), b"%d %d" % (p, n)) for n in range(30)] for p in range(25)]
    for part in pairs:
        packed(store, part)
    packed(store, [(hashlib.sha256(b"x").digest(), b"x")], 32)
    index = PackIndex(store)
    for _ in range(3):
        for part in pairs:
            for id, payload in part:
                ((pack, offset, length),) = index.find(id)
                assert pack.read(offset, length) == payload
            places = index.find_many([id for id, _ in part])
            assert [place[0].read(*place[1:]) for place in (places[id] for id, _ in part)] == [v for _, v in part]
        assert len(index.find(hashlib.sha256(b"x").digest())) == 1
        assert index.find(raw("absent")) == []


def test_an_index_follows_packs_that_come_and_go(store: ArtifactStore) -> None:
    index = PackIndex(store)
    assert index.find(raw("x")) == []
    pack = packed(store, [(raw("x"), b"x")])
    assert index.refresh()
    assert not index.refresh()
    assert len(index.find(raw("x"))) == 1
    store.delete([pack.key])
    assert index.refresh()
    assert index.find(raw("x")) == []
