"""Writers, readers and the collector in several processes; processes that are killed; disks that are full."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from superduper.artifacts import Artifacts
from superduper.artifacts.lease import GC_KEY, Lease
from superduper.artifacts.packs import SMALL
from superduper.backends.filesystem.artifacts import FileSystemArtifactStore
from superduper.errors import AccessDenied, StoreError, SuperduperError, UriError

DEADLINE = 60.0


def opened(folder: Path) -> Artifacts:
    return Artifacts(FileSystemArtifactStore(f"filesystem://{folder}"))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WRITER = """
import os, sys
from superduper.artifacts import Artifacts
from superduper.backends.filesystem.artifacts import FileSystemArtifactStore
artifacts = Artifacts(FileSystemArtifactStore("filesystem://" + sys.argv[1]))
seed, rounds = int(sys.argv[2]), int(sys.argv[3])
for round in range(rounds):
    with artifacts.writing() as writer:
        # Some alone, some in packs, some large, and some that others write as well and nobody keeps.
        count = (3, 40)[round % 2]
        ids = [writer.put(b"%d %d %d" % (seed, round, n)) for n in range(count)]
        ids += [writer.put(b"shared %d" % n) for n in range(round % 30)]
        if round % 5 == 0:
            ids.append(writer.put(b"%d" % (seed % 2) + bytes(2 << 20)))
        writer.flush()
        sys.stdout.write(" ".join(ids) + "\\n")
        sys.stdout.flush()
        # The row is committed once the parent has read the line; it answers.
        sys.stdin.readline()
"""


def writer_process(folder: Path, seed: int, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seed), str(rounds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_collector_that_never_stops_takes_nothing_from_writing_processes(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    rows: dict[int, list[str]] = {}
    lock = threading.Lock()
    ended = threading.Event()
    failed: list[BaseException] = []

    def commit(seed: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            with lock:
                # Only the last rows of each writer live: what it wrote before becomes garbage, and is written again.
                rows[seed] = line.split()
            process.stdin.write("\n")
            process.stdin.flush()

    def live() -> list[str]:
        with lock:
            return [id for ids in rows.values() for id in ids]

    def collect() -> None:
        artifacts = opened(folder)
        while not ended.is_set():
            try:
                artifacts.gc(live, window=0)
                with lock:
                    known = [id for ids in rows.values() for id in ids]
                    opened(folder).get_many(known)
            except BaseException as error:
                failed.append(error)
                return

    processes = [writer_process(folder, seed, 40) for seed in range(3)]
    committing = [threading.Thread(target=commit, args=(s, p)) for s, p in enumerate(processes)]
    collecting = threading.Thread(target=collect)
    for thread in (*committing, collecting):
        thread.start()
    for thread in committing:
        thread.join(DEADLINE)
    ended.set()
    collecting.join(DEADLINE)
    assert [process.wait(DEADLINE) for process in processes] == [0, 0, 0]
    for process in processes:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
    assert failed == []
    artifacts = opened(folder)
    assert len(artifacts.get_many(live())) == len(live())
    assert list(artifacts.verify()) == []
    artifacts.gc([], window=0)
    assert files(folder) == set()


def test_writers_killed_at_any_moment_leave_nothing_unreadable_and_no_byte_after_a_collection(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    rng = random.Random(5)
    acknowledged: list[str] = []
    for seed in range(8):
        process = writer_process(folder, seed, 1000)
        assert process.stdout is not None
        assert process.stdin is not None
        for _ in range(rng.randrange(1, 30)):
            acknowledged.extend(process.stdout.readline().split())
            process.stdin.write("\n")
            process.stdin.flush()
        time.sleep(rng.random() / 100)  # Not a wait for anything: the moment of the kill is what varies.
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
        process.stdin.close()
        process.stdout.close()
    artifacts = opened(folder)
    artifacts.get_many(acknowledged)
    assert list(artifacts.verify()) == []
    artifacts.gc(acknowledged, window=0)
    artifacts.get_many(acknowledged)
    artifacts.gc([], window=0)
    assert files(folder) == set()


def test_a_collector_that_was_killed_does_not_stop_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from superduper.backends.filesystem.artifacts import FileSystemArtifactStore\n"
        "from superduper.artifacts.lease import GC_KEY, Lease\n"
        "Lease(FileSystemArtifactStore('filesystem://' + sys.argv[1]), GC_KEY).take()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / GC_KEY).exists()
    artifacts = opened(tmp_path)
    with artifacts.writing() as writer:
        writer.put(b"x")
    artifacts.gc([], window=0)
    assert files(tmp_path) == set()


def test_a_lease_of_another_machine_holds_until_its_heartbeat_is_old(tmp_path: Path) -> None:
    artifacts = opened(tmp_path)
    lease = Lease(artifacts.store)
    lease.take()
    path = tmp_path / lease.key
    path.write_text(path.read_text().replace('"place": "', '"place": "elsewhere '))
    with artifacts.writing() as writer:
        writer.put(b"orphan")
    artifacts.gc([], window=0)
    assert len(files(tmp_path)) == 2
    os.utime(path, (time.time() - 700, time.time() - 700))
    artifacts.gc([], window=0)
    assert files(tmp_path) == set()
    lease.release()


def _in_child(function: Callable[[], None]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join(DEADLINE)
    return process.exitcode


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_reads_and_writes_and_does_not_end_its_parents_lease(tmp_path: Path) -> None:
    artifacts = opened(tmp_path)
    with artifacts.writing() as writer:
        ids = [writer.put(b"%d" % n) for n in range(50)]
    artifacts.get_many(ids)

    def child() -> None:
        assert artifacts.get(ids[3]) == b"3"
        with artifacts.writing() as own:
            own.put(b"of the child")
        held.__exit__(None, None, None)

    held = artifacts.writing()
    with held:
        held.hold()
        assert _in_child(child) == 0
        assert len(list((tmp_path / "leases").iterdir())) == 1
    assert len(list((tmp_path / "leases").iterdir())) == 0


def test_many_processes_check_out_the_same_tree_at_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(20):
        (source / str(n)).write_bytes(b"%d" % n * 1000)
    artifacts = opened(tmp_path / "store")
    with artifacts.writing() as writer:
        id = writer.put_path(source)
    code = (
        "import sys, pathlib\n"
        "from superduper.artifacts import Artifacts\n"
        "from superduper.backends.filesystem.artifacts import FileSystemArtifactStore\n"
        "artifacts = Artifacts(FileSystemArtifactStore('filesystem://' + sys.argv[1]))\n"
        "for _ in range(20):\n"
        "    path = artifacts.checkout(sys.argv[2], pathlib.Path(sys.argv[3]))\n"
        "    assert len(list(path.iterdir())) == 20\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store"), id, str(tmp_path / "out")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(DEADLINE) for process in processes] == [0] * 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == [id]


@pytest.mark.parametrize(
    "payloads", [[bytes(SMALL) * 3], [b"%d" % n * 10_000 for n in range(100)]], ids=["large", "pack"]
)
def test_a_full_disk_is_a_store_error_and_leaves_nothing(tmp_path: Path, payloads: list[bytes]) -> None:
    artifacts = opened(tmp_path)
    with artifacts.writing() as writer:
        kept = writer.put(b"kept")
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(StoreError, match=f"{tmp_path}.*free or enlarge the disk"), artifacts.writing() as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        try:
            for payload in payloads:
                writer.put(payload)
            writer.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {name for name in files(tmp_path) if not name.startswith("chunks/")} == before
    assert artifacts.get(kept) == b"kept"
    artifacts.gc([kept], window=0)
    assert files(tmp_path) == before


def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=f"{tmp_path}/file/store"):
        opened(tmp_path / "file" / "store")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)

    def child() -> None:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        for folder in (locked, locked / "below"):
            with pytest.raises(AccessDenied, match=str(folder)):
                opened(folder)

    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    locked.chmod(0o500)
    assert _in_child(child) == 0


@pytest.mark.parametrize("uri", ["filesystem://", "filesystem:/x", "file:///x"])
def test_a_uri_without_a_folder_is_refused(uri: str) -> None:
    with pytest.raises(UriError, match="names no folder"):
        FileSystemArtifactStore(uri)


def test_a_relative_folder_is_made_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileSystemArtifactStore("filesystem://./data/artifacts")
    monkeypatch.chdir("/")
    store.put("a", b"x")
    assert (tmp_path / "data" / "artifacts" / "a").read_bytes() == b"x"


def test_a_file_that_changes_while_it_is_stored_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "growing"
    source.write_bytes(bytes(2 * SMALL))
    artifacts = opened(tmp_path / "store")
    ended = threading.Event()

    def grow() -> None:
        with source.open("ab", buffering=0) as handle:
            while not ended.is_set():
                handle.write(b"x" * 1000)

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        with pytest.raises(SuperduperError, match="changed while"), artifacts.writing() as writer:
            writer.put_path(source)
    finally:
        ended.set()
        growing.join()
    assert {name for name in files(tmp_path / "store") if not name.startswith("chunks/")} == set()
