"""What users see of artifacts, alike on every store."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import threading
from pathlib import Path

import pytest

from superduper.artifacts import Artifacts
from superduper.artifacts.packs import SMALL
from superduper.backends.base.artifacts import ArtifactStore
from superduper.errors import ArtifactCorrupt, ArtifactMissing, EncodeError, InvalidReference

MANY = [f"payload {n}".encode() * (n % 7 + 1) for n in range(60)]
LARGE = os.urandom(3 * SMALL + 12345)


def put(artifacts: Artifacts, *payloads: bytes) -> list[str]:
    with artifacts.writing() as writer:
        return [writer.put(payload) for payload in payloads]


def stored(artifacts: Artifacts) -> int:
    return sum(info.size for info in artifacts.store.list())


def damage(store: ArtifactStore, key: str, at: int) -> None:
    """Flip one byte of a stored object."""
    data = bytearray(store.get(key))
    data[at] ^= 1
    store.put(key, data)


def test_the_id_is_the_hash_of_the_bytes_and_the_object_holds_exactly_them(artifacts: Artifacts) -> None:
    payload = pickle.dumps("This is a test", protocol=4)
    (id,) = put(artifacts, payload)
    assert id == "866cf8526595d3620d6045172fb16d1efefac4b1"
    assert artifacts.store.get(id) == payload
    assert artifacts.get(id) == payload


def test_sha256_is_written_where_chosen_and_both_are_read(artifacts: Artifacts) -> None:
    (old,) = put(artifacts, b"x")
    other = Artifacts(artifacts.store, hash="sha256")
    new = put(other, b"x", *MANY)
    assert new[0] == hashlib.sha256(b"x").hexdigest()
    assert artifacts.get_many([old, *new]) == [b"x", b"x", *MANY]


def test_nothing_else_is_left_in_the_store_when_a_writer_ends(artifacts: Artifacts) -> None:
    ids = put(artifacts, b"a", b"b")
    assert {info.key for info in artifacts.store.list()} == set(ids)


def test_a_writer_that_stores_nothing_asks_nothing_of_the_store(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object, **__: object) -> bool:
        raise AssertionError("nothing was to be stored")

    monkeypatch.setattr(artifacts.store, "put", unexpected)
    with artifacts.writing() as writer:
        writer.flush()


def test_a_lease_lies_in_the_store_from_the_first_payload_to_the_end(artifacts: Artifacts) -> None:
    with artifacts.writing() as writer:
        writer.put(b"one")
        assert len(list(artifacts.store.list("leases/"))) == 1
        writer.flush()
        assert len(list(artifacts.store.list("leases/"))) == 1
    assert list(artifacts.store.list("leases/")) == []


def test_many_small_payloads_share_a_pack_and_read_alike(artifacts: Artifacts) -> None:
    ids = put(artifacts, *MANY)
    assert len(list(artifacts.store.list())) == 1
    assert artifacts.get_many(ids[::-1]) == MANY[::-1]
    assert [artifacts.get(id) for id in ids] == MANY
    fresh = Artifacts(artifacts.store)
    assert fresh.get_many([ids[3], ids[3], ids[40]]) == [MANY[3], MANY[3], MANY[40]]
    assert fresh.size(ids[6]) == len(MANY[6])
    assert list(fresh.iter_many(ids, budget_bytes=100)) == list(zip(ids, MANY, strict=True))


def test_a_reader_finds_packs_that_another_wrote_later(artifacts: Artifacts) -> None:
    put(artifacts, *MANY)
    reader = Artifacts(artifacts.store)
    reader.get(put(artifacts, b"one")[0])
    later = [payload + b"!" for payload in MANY]
    ids = put(Artifacts(artifacts.store), *later)
    assert reader.get_many(ids) == later


def test_loose_packed_and_large_payloads_mix(artifacts: Artifacts) -> None:
    ids = [*put(artifacts, *MANY), *put(artifacts, b"loose", LARGE)]
    assert artifacts.get_many(ids) == [*MANY, b"loose", LARGE]


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * SMALL, b"x" * (SMALL + 1)], ids=len)
def test_any_size_is_kept(artifacts: Artifacts, payload: bytes) -> None:
    (id,) = put(artifacts, payload)
    assert artifacts.get(id) == payload
    with artifacts.open(id) as handle:
        assert handle.size == len(payload)
        assert handle.read() == payload


def test_the_same_bytes_again_grow_the_store_by_less_than_a_hundredth(artifacts: Artifacts) -> None:
    payloads = [*MANY, LARGE]
    put(artifacts, *payloads)
    before = stored(artifacts)
    put(artifacts, *payloads, *payloads)
    put(Artifacts(artifacts.store), *payloads, MANY[0])
    assert stored(artifacts) - before < before / 100


def test_a_missing_payload_is_named_with_its_store(artifacts: Artifacts) -> None:
    id = "0" * 40
    for read in (artifacts.get, artifacts.open, artifacts.size, lambda i: artifacts.get_many([i])):
        with pytest.raises(ArtifactMissing) as caught:
            read(id)
        assert caught.value.reference == f"&:blob:{id}"
        assert caught.value.store == artifacts.store.uri


@pytest.mark.parametrize("id", ["", "../x", "0" * 39, "A" * 40, "0" * 40 + "\n", "/etc/passwd"])
def test_a_forged_id_reaches_no_store(artifacts: Artifacts, id: str) -> None:
    for read in (artifacts.get, artifacts.open, artifacts.size, lambda i: artifacts.get_many([i])):
        with pytest.raises(InvalidReference):
            read(id)


def test_a_flipped_byte_is_noticed_loose(artifacts: Artifacts) -> None:
    (id,) = put(artifacts, b"precious")
    damage(artifacts.store, id, 3)
    for read in (artifacts.get, lambda i: artifacts.get_many([i]), lambda i: artifacts.open(i).read(2)):
        with pytest.raises(ArtifactCorrupt) as caught:
            read(id)
        assert caught.value.reference == f"&:blob:{id}"
        assert caught.value.store == artifacts.store.uri


def test_a_flipped_byte_is_noticed_packed(artifacts: Artifacts) -> None:
    ids = put(artifacts, *MANY)
    (pack,) = artifacts.store.list("packs/")
    damage(artifacts.store, pack.key, 3)
    reader = Artifacts(artifacts.store)
    with pytest.raises(ArtifactCorrupt):
        reader.get(ids[0])
    with pytest.raises(ArtifactCorrupt):
        reader.get_many(ids)
    assert reader.get_many(ids[1:]) == MANY[1:]
    assert [found.reference for found in reader.verify()] == [f"&:blob:{ids[0]}"]


def test_a_flipped_byte_in_a_packs_index_is_noticed(artifacts: Artifacts) -> None:
    ids = put(artifacts, *MANY)
    (pack,) = artifacts.store.list("packs/")
    damage(artifacts.store, pack.key, pack.size - 100)
    reader = Artifacts(artifacts.store)
    with pytest.raises(ArtifactCorrupt, match="index"):
        reader.get(ids[0])
    assert [found.key for found in reader.verify()] == [pack.key]


def test_a_range_of_a_large_payload_is_verified_by_its_chunk_alone(artifacts: Artifacts) -> None:
    (id,) = put(artifacts, LARGE)
    damage(artifacts.store, id, 2 * SMALL + 5)
    with artifacts.open(id) as handle:
        assert handle.read_ranges([(10, 4096), (SMALL - 5, 10)]) == [LARGE[10:4106], LARGE[SMALL - 5 : SMALL + 5]]
        with pytest.raises(ArtifactCorrupt):
            handle.read_ranges([(2 * SMALL, 1)])
    with pytest.raises(ArtifactCorrupt):
        artifacts.get(id)


def test_damaged_or_missing_hashes_of_chunks_never_give_wrong_bytes(artifacts: Artifacts) -> None:
    (id,) = put(artifacts, LARGE)
    damage(artifacts.store, f"chunks/{id}", 60)
    assert [found.key for found in artifacts.verify()] == [f"chunks/{id}"]
    with artifacts.open(id) as handle:
        handle.seek(-100, io.SEEK_END)
        assert handle.read() == LARGE[-100:]
    artifacts.store.delete([f"chunks/{id}"])
    damage(artifacts.store, id, 5)
    with artifacts.open(id) as handle, pytest.raises(ArtifactCorrupt):
        handle.read_ranges([(2 * SMALL, 1)])


@pytest.mark.parametrize("payload", [b"0123456789" * 10, LARGE], ids=["small", "large"])
def test_a_truncated_object_is_no_shorter_blob(artifacts: Artifacts, payload: bytes) -> None:
    (id,) = put(artifacts, payload)
    for keep in (0, len(payload) // 2):
        artifacts.store.put(id, payload[:keep])
        with pytest.raises(ArtifactCorrupt):
            artifacts.open(id).read()
        with pytest.raises(ArtifactCorrupt):
            artifacts.open(id).read_ranges([(len(payload) - 1, 1)])


def test_a_handle_is_a_file(artifacts: Artifacts) -> None:
    (id,) = put(artifacts, LARGE)
    handle = artifacts.open(id)
    assert (handle.id, handle.size, handle.readable(), handle.seekable(), handle.writable()) == (
        id,
        len(LARGE),
        True,
        True,
        False,
    )
    assert handle.seek(SMALL - 3) == SMALL - 3
    assert handle.read(6) == LARGE[SMALL - 3 : SMALL + 3]
    assert handle.tell() == SMALL + 3
    buffer = bytearray(10)
    assert handle.readinto(buffer) == 10
    assert bytes(buffer) == LARGE[SMALL + 3 : SMALL + 13]
    assert handle.seek(-4, io.SEEK_END) == len(LARGE) - 4
    assert handle.read(100) == LARGE[-4:]
    assert handle.read(1) == b""
    handle.seek(0)
    assert io.BufferedReader(handle).read() == LARGE
    for wrong in ((-1, io.SEEK_SET), (0, 7)):
        with pytest.raises(ValueError, match="seek"):
            artifacts.open(id).seek(*wrong)
    with pytest.raises(ValueError, match="closed"):
        handle.read()


def test_a_put_that_finds_its_object_damaged_sets_it_aside_and_mends_it(artifacts: Artifacts) -> None:
    for payloads in ([b"loose"], MANY, [LARGE]):
        ids = put(artifacts, *payloads)
        key = next((info.key for info in artifacts.store.list("packs/")), ids[0])
        damage(artifacts.store, key, 2)
        fresh = Artifacts(artifacts.store)
        put(fresh, *payloads)
        assert fresh.get_many(ids) == list(payloads)
        assert artifacts.store.head(f"corrupt/{ids[0]}") is not None
        artifacts.store.drop()


def test_a_failed_writer_stores_nothing_that_waited(artifacts: Artifacts) -> None:
    with pytest.raises(ZeroDivisionError), artifacts.writing() as writer:
        writer.put(b"never")
        raise ZeroDivisionError
    assert list(artifacts.store.list()) == []


def test_threads_share_a_writer_and_a_reader(artifacts: Artifacts) -> None:
    payloads = [[f"{thread} {n}".encode() for n in range(40)] for thread in range(4)]
    ids: list[list[str]] = [[] for _ in payloads]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for payload in payloads[number]:
                ids[number].append(writer.put(payload))
            writer.flush()
            assert artifacts.get_many(ids[number]) == payloads[number]
        except BaseException as error:
            failed.append(error)

    with artifacts.writing() as writer:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_verify_sets_aside_what_is_damaged_and_the_rest_stays(artifacts: Artifacts) -> None:
    ids = put(artifacts, *MANY)
    (loose,) = put(artifacts, b"loose")
    (pack,) = artifacts.store.list("packs/")
    damage(artifacts.store, pack.key, 1)
    damage(artifacts.store, loose, 1)
    artifacts = Artifacts(artifacts.store)
    found = {damage.reference for damage in artifacts.verify(set_aside=True)}
    assert found == {f"&:blob:{ids[0]}", f"&:blob:{loose}"}
    assert {info.key for info in artifacts.store.list("corrupt/")} == {f"corrupt/{ids[0]}", f"corrupt/{loose}"}
    assert list(artifacts.verify()) == []
    assert artifacts.get_many(ids[1:]) == MANY[1:]
    with pytest.raises(ArtifactCorrupt, match="set aside"):
        artifacts.get(ids[0])
    missing = {damage.reference: damage.problem for damage in artifacts.verify([*ids, loose])}
    assert missing == {f"&:blob:{ids[0]}": "it is missing", f"&:blob:{loose}": "it is missing"}


# -- files and directories -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data__set:ü"
    (root / "empty").mkdir(parents=True)
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "übung.txt").write_text("unicode")
    (root / "a" / "b" / "u\u0308bung.txt").write_text("decomposed")
    (root / "a" / "x__y:z").write_bytes(b"same")
    (root / "same").write_bytes(b"same")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "large").write_bytes(LARGE)
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"no unicode")
    return root


def put_path(artifacts: Artifacts, path: Path, **options: str) -> str:
    with artifacts.writing() as writer:
        return writer.put_path(path, **options)  # type: ignore[arg-type]


def listing(root: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for path in sorted(root.rglob("*")):
        data = path.read_bytes() if path.is_file() else b"dir"
        found[str(path.relative_to(root))] = (path.stat().st_mode & 0o100, data)
    return found


def test_a_directory_comes_back_as_it_was(artifacts: Artifacts, folder: Path, tmp_path: Path) -> None:
    id = put_path(artifacts, folder)
    out = Artifacts(artifacts.store).checkout(id, tmp_path / "out")
    assert out == tmp_path / "out" / id / folder.name
    assert listing(out) == listing(folder)
    assert artifacts.tree(id).size == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_a_file_comes_back_as_it_was(artifacts: Artifacts, folder: Path, tmp_path: Path) -> None:
    for name in ("run.sh", "large"):
        out = artifacts.checkout(put_path(artifacts, folder / name), tmp_path / "out")
        assert out.name == name
        assert out.read_bytes() == (folder / name).read_bytes()
        assert os.access(out, os.X_OK) == (name == "run.sh")


def test_equal_content_is_one_id_and_other_content_of_equal_size_and_time_another(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    ids = []
    for place, text in (("1", "aaa"), ("2", "aaa"), ("3", "bbb")):
        (tmp_path / place).mkdir()
        path = tmp_path / place / "file.txt"
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        ids.append(put_path(artifacts, path))
    assert ids[0] == ids[1] != ids[2]


def test_a_checkout_is_reused_and_one_that_was_changed_is_kept_beside(
    artifacts: Artifacts, folder: Path, tmp_path: Path
) -> None:
    id = put_path(artifacts, folder)
    into = tmp_path / "out"
    first = artifacts.checkout(id, into)
    inode = first.stat().st_ino
    assert artifacts.checkout(id, into).stat().st_ino == inode
    (first / "same").write_bytes(b"edit")
    again = artifacts.checkout(id, into)
    assert listing(again) == listing(folder)
    assert (into / f"{id}.modified-1" / folder.name / "same").read_bytes() == b"edit"
    (again / "added").write_bytes(b"")
    assert listing(artifacts.checkout(id, into)) == listing(folder)
    assert (into / f"{id}.modified-2" / folder.name / "added").exists()
    assert sorted(p.name for p in into.iterdir()) == sorted([id, f"{id}.modified-1", f"{id}.modified-2"])


def test_links_are_refused_or_kept_but_never_lead_out(artifacts: Artifacts, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_text("text")
    (root / "sub" / "link").symlink_to("../file")
    with pytest.raises(EncodeError, match="symbolic link"):
        put_path(artifacts, root)
    out = artifacts.checkout(put_path(artifacts, root, symlinks="keep"), tmp_path / "out")
    assert (out / "sub" / "link").readlink() == Path("../file")
    for target in ("/etc/passwd", "../../secret", "x/../../../secret", "."):
        (root / "sub" / "bad").symlink_to(target)
        if target == ".":
            put_path(artifacts, root, symlinks="keep")
        else:
            with pytest.raises(EncodeError, match="outside"):
                put_path(artifacts, root, symlinks="keep")
        (root / "sub" / "bad").unlink()


def test_what_is_neither_file_nor_directory_is_refused_and_named(artifacts: Artifacts, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "nothing", tmp_path):
        with pytest.raises(EncodeError, match=str(path)):
            put_path(artifacts, path)
    assert list(artifacts.store.list()) == []


def test_a_flipped_byte_in_a_file_or_manifest_fails_the_checkout_and_leaves_nothing(
    artifacts: Artifacts, folder: Path, tmp_path: Path
) -> None:
    id = put_path(artifacts, folder)
    for damaged in (hashlib.sha1(LARGE).hexdigest(), id):
        damage(artifacts.store, damaged, 7)
        with pytest.raises(ArtifactCorrupt):
            artifacts.checkout(id, tmp_path / "out")
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
        damage(artifacts.store, damaged, 7)


def test_a_file_missing_from_a_tree_is_found_by_verify(artifacts: Artifacts, folder: Path) -> None:
    id = put_path(artifacts, folder)
    gone = hashlib.sha1(b"same").hexdigest()
    artifacts.store.delete([gone])
    for found in (list(artifacts.verify()), list(artifacts.verify([id]))):
        assert [damage.reference for damage in found] == [f"&:blob:{gone}"]
