"""What every store does with objects: the seam."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from superduper.backends.base.artifacts import ArtifactStore
from superduper.errors import InvalidReference, Unsupported


def test_an_object_is_read_back_as_it_was_put(store: ArtifactStore) -> None:
    assert store.put("a", b"hello")
    assert store.get("a") == b"hello"


@pytest.mark.parametrize("body", [b"", bytearray(b"xy"), memoryview(b"xyz")], ids=["empty", "bytearray", "memoryview"])
def test_any_buffer_may_be_put(store: ArtifactStore, body: bytes) -> None:
    store.put("a", body)
    assert store.get("a") == bytes(body)


def test_a_body_may_come_in_parts_of_any_size(store: ArtifactStore) -> None:
    pieces = [b"a", b"b" * 3_000_000, b"", b"c" * 9_000_000, b"d"]
    store.put("packs/large", iter(pieces))
    assert store.get("packs/large") == b"".join(pieces)


def test_a_body_that_fails_leaves_nothing_and_its_own_error_passes(store: ArtifactStore) -> None:
    def body() -> Iterator[bytes]:
        yield b"x" * 9_000_000
        yield b"x" * 9_000_000
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        store.put("a", body())
    assert store.head("a") is None
    assert list(store.list()) == []
    assert list(store.leftovers()) == []


def test_a_put_replaces_what_is_there_unless_told_not_to(store: ArtifactStore) -> None:
    assert store.put("a", b"one")
    assert store.put("a", b"second")
    assert not store.put("a", b"third", overwrite=False)
    assert store.get("a") == b"second"
    assert [info.key for info in store.list()] == ["a"]


def test_of_several_that_create_the_same_key_at_once_at_most_one_does(store: ArtifactStore) -> None:
    start = threading.Barrier(6)
    created: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if store.put("leases/gc", str(number).encode(), overwrite=False):
            created.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) <= 1
    if created:
        assert store.get("leases/gc") == str(created[0]).encode()


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, 5, b""),
        (4, 0, b""),
    ],
    ids=["head", "middle", "beyond the end", "at the end", "nothing"],
)
def test_a_range_is_cut_at_the_end(store: ArtifactStore, start: int, length: int, expected: bytes) -> None:
    store.put("a", b"0123456789")
    assert store.get_range("a", start, length) == expected


def test_a_range_crosses_the_stores_own_chunks(store: ArtifactStore) -> None:
    data = bytes(range(256)) * 20_000
    store.put("a", data)
    assert store.get_range("a", 1_048_000, 2_200_000) == data[1_048_000 : 1_048_000 + 2_200_000]


def test_what_is_not_there_is_a_key_error_or_none(store: ArtifactStore) -> None:
    with pytest.raises(KeyError):
        store.get("nothing")
    with pytest.raises(KeyError):
        store.get_range("nothing", 0, 10)
    with pytest.raises(KeyError):
        store.move("nothing", "somewhere")
    assert store.head("nothing") is None
    store.delete(["nothing"])


def test_head_tells_size_and_time(store: ArtifactStore) -> None:
    before = time.time()
    store.put("a", b"12345")
    info = store.head("a")
    assert info is not None
    assert (info.key, info.size) == ("a", 5)
    assert before - 2 <= info.modified <= time.time() + 2


def test_a_list_has_what_starts_with_the_prefix(store: ArtifactStore) -> None:
    for key in ("ab", "packs/x.pack", "packs/y.pack", "trees/ab", "trees/ab.1", "trees/cd"):
        store.put(key, key.encode())
    assert {info.key for info in store.list("packs/")} == {"packs/x.pack", "packs/y.pack"}
    assert {info.key for info in store.list("trees/ab")} == {"trees/ab", "trees/ab.1"}
    assert {(info.key, info.size) for info in store.list("a")} == {("ab", 2)}
    assert len(list(store.list())) == 6


def test_more_than_a_thousand_objects_are_listed_and_removed(store: ArtifactStore) -> None:
    keys = [f"chunks/{n:05}" for n in range(1050)]
    for key in keys:
        store.put(key, b"x")
    assert sorted(info.key for info in store.list("chunks/")) == keys
    store.delete(keys)
    assert list(store.list()) == []


def test_existing_tells_which_of_many_are_there(store: ArtifactStore) -> None:
    for name in ("aa", "bb", "cc"):
        store.put(name, b"x")
    assert store.existing(["aa", "cc", "dd"]) == {"aa", "cc"}
    assert store.existing([*(f"n{n}" for n in range(200)), "bb"]) == {"bb"}
    assert store.existing([]) == set()


def test_many_are_written_and_read_at_once_in_the_order_asked(store: ArtifactStore) -> None:
    large = bytes(range(256)) * 2_000
    given = {f"n{n}": b"%d" % n * n for n in range(150)} | {"large": large, "packs/x.pack": b"pack"}
    store.put_many(given)
    keys = ["large", "nothing", *given, "packs/nothing", "n7"]
    assert list(store.get_many(keys)) == [large, None, *given.values(), None, given["n7"]]
    assert list(store.get_many([])) == []


def test_sizes_are_those_of_the_objects_that_are_there(store: ArtifactStore) -> None:
    for name in ("aa", "bb", "packs/x.pack"):
        store.put(name, b"x" * len(name))
    assert store.sizes(["aa", "packs/x.pack", "dd"]) == {"aa": 2, "packs/x.pack": 12}
    assert store.sizes([]) == {}


def test_a_moved_object_lies_under_the_new_key_alone(store: ArtifactStore) -> None:
    store.put("a", b"damaged")
    store.put("corrupt/a", b"older")
    store.move("a", "corrupt/a")
    assert store.head("a") is None
    assert store.get("corrupt/a") == b"damaged"
    assert len(list(store.list())) == 1


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", "a//b", ".tmp/x", "a\0b", "ä", "a b"])
def test_a_key_cannot_lead_out_of_the_store(store: ArtifactStore, key: str) -> None:
    for use in (store.get, store.head, lambda k: store.put(k, b"x"), lambda k: store.delete([k])):
        with pytest.raises(InvalidReference):
            use(key)


def test_an_address_serves_the_object_or_is_refused(store: ArtifactStore, request: pytest.FixtureRequest) -> None:
    import urllib.request

    store.put("a", b"for all who have the address")
    if "s3" not in request.node.callspec.id:
        with pytest.raises(Unsupported, match="no addresses"):
            store.url("a", 60)
        return
    address = store.url("a", 60)
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.read() == b"for all who have the address"


def test_drop_leaves_nothing(store: ArtifactStore) -> None:
    store.put("a", b"x")
    store.put("packs/b", b"x")
    store.drop()
    assert list(store.list()) == []
    store.put("a", b"again")
    assert store.get("a") == b"again"
