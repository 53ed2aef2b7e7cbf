"""Workers that die, schedulers that are not there, runs that are interrupted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from superduper import Listener, ObjectModel, superduper
from superduper.backends import registry
from superduper.backends.base.compute import Batch, ComputeBackend
from superduper.backends.dask import run
from superduper.backends.dask.compute import DaskComputeBackend
from superduper.backends.ray.compute import RayComputeBackend
from superduper.errors import MissingExtra, Unreachable, UriError
from superduper.jobs.predictor import Predictor
from tests.servers.dask import DaskScheduler, DaskWorkers
from tests.servers.locks import FileLock
from tests.servers.ray import RayHead

# No `if __name__ == "__main__"`: what a script does at its top is done once.
PROGRAM = """
import os, sys, time
from superduper import Listener, ObjectModel, superduper

def slow(x, calls):
    with open(calls, "a") as file:
        file.write(f"{x} {os.getpid()}\\n")
    time.sleep(0.01)
    return x + 1

db = superduper(sys.argv[1], compute=sys.argv[3])
db.insert("t", [{"id": f"{n:04}", "x": n, "calls": sys.argv[2]} for n in range(400)])
db.apply(Listener(ObjectModel("m", object=slow, datatype="int"), key=("x", "calls"), select=db["t"].find()))
"""


def until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rows(number: int) -> list[Batch]:
    return [Batch([start, start + 1], [[start, start + 1]]) for start in range(0, number, 2)]


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[DaskScheduler]:
    """One's own, without a worker."""
    folder = tmp_path / "servers"
    folder.mkdir()
    session = FileLock(folder / "session")
    session.take()
    server = DaskScheduler(folder)
    try:
        server.start()
        yield server
    finally:
        server.destroy()
        session.release()


def test_killed_workers_are_survived_and_every_output_is_exact(
    dask_scheduler: DaskScheduler, sqlite_uri: str, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"

    def slow(x: int, calls: str) -> int:
        with Path(calls).open("a") as file:
            file.write(f"{x}\n")
        time.sleep(0.005)
        return x * x

    killed: set[int] = set()
    with superduper(sqlite_uri, compute=dask_scheduler.uri) as db:
        db.insert("t", [{"id": f"{n:04}", "x": n, "calls": str(calls)} for n in range(1000)])

        def kill(*_: object) -> None:
            if len(killed) < 2 and calls.read_text().count("\n") > 200 * (len(killed) + 1):
                pid = next(pid for pid in dask_scheduler.workers().values() if pid not in killed)
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

        db.upkeep.progress = kill
        model = ObjectModel("m", object=slow, datatype="int")
        db.apply(Listener(model, key=("x", "calls"), select=db["t"].find()))
        assert len(killed) == 2
        found = {row["x"]: row["_outputs"]["m"] for row in db["t"].find().outputs("m").execute()}
    assert found == {n: n * n for n in range(1000)}
    until(lambda: len(dask_scheduler.workers()) == 2, "the workers are started again")


# Beyond the 300 s for which a cluster may be without workers, so that it is said where they do not come back.
@pytest.mark.timeout(600)
def test_a_row_that_kills_its_worker_fails_alone(own: ComputeBackend) -> None:
    def fatal(x: int) -> int:
        if x == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    done = list(own.map(Predictor(fatal, batched=False), rows(12)))
    found = {outcome.key: outcome for each in done for outcome in each.outcomes}
    assert len(found) == sum(len(each.outcomes) for each in done) == 12
    assert {key: one.value for key, one in found.items() if one.error is None} == {x: x for x in range(12) if x != 5}
    assert "died of it" in (found[5].error or "")


@pytest.mark.parametrize("compute", ["dask", "dask_uri", "ray", "ray_uri"])
def test_a_killed_run_leaves_nothing_behind_and_is_resumed(
    compute: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri, calls = f"sqlite:///{tmp_path}/r.db", tmp_path / "calls"
    engine = str(request.getfixturevalue(compute)) if "_" in compute else compute
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, uri, str(calls), engine], env={**os.environ, "SUPERDUPER_HOME": str(tmp_path)}
    )
    until(lambda: calls.exists() and calls.read_text().count("\n") > 150, "the program computes")
    program.send_signal(signal.SIGKILL)
    program.wait()
    pids = {int(line.split()[1]) for line in calls.read_text().splitlines()}
    if compute != "dask_uri":
        until(lambda: not any(map(alive, pids)), "the workers end with the run that they were started for", 60)
    with superduper(uri, home=str(tmp_path), compute=engine) as db:
        kept = db.coverage("m").done
        assert 0 < kept < 400
        db.run("m")
        assert db.coverage("m").done == 400
        assert {row["x"]: row["_outputs"]["m"] for row in db["t"].find().outputs("m").execute()} == {
            n: n + 1 for n in range(400)
        }


@pytest.mark.parametrize("compute", ["dask", "ray"])
def test_an_interrupt_ends_the_run_and_its_workers(compute: str, tmp_path: Path) -> None:
    script, calls = tmp_path / "script.py", tmp_path / "calls"
    # What runs in a shell's background is born deaf to the keyboard's interrupt; a program at a terminal is not.
    script.write_text(f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{PROGRAM}")
    program = subprocess.Popen(
        [sys.executable, str(script), f"sqlite:///{tmp_path}/r.db", str(calls), compute],
        env={**os.environ, "SUPERDUPER_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: calls.exists() and calls.read_text().count("\n") > 150, "the program computes")
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    _, error = program.communicate(timeout=40)
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert program.returncode in (1, -signal.SIGINT, 130)
    pids = {int(line.split()[1]) for line in calls.read_text().splitlines()}
    until(lambda: not any(map(alive, pids)), "the workers end", 30)


def test_a_scheduler_that_goes_away_is_unreachable_and_the_next_run_goes_on(
    scheduler: DaskScheduler, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERDUPER_CONNECT_TIMEOUT", "3")
    workers = DaskWorkers(scheduler.directory.parent)
    workers.start()
    try:
        with superduper(sqlite_uri, compute=scheduler.uri, connect_timeout=3) as db:
            db.insert("t", [{"id": f"{n:04}", "x": n} for n in range(400)])

            def slow(x: int) -> int:
                time.sleep(0.01)
                return x

            def stop(name: str, done: int, *_: object) -> None:
                if done > 100:
                    scheduler.stop()

            db.upkeep.progress = stop
            listener = Listener(ObjectModel("m", object=slow, datatype="int"), key="x", select=db["t"].find())
            with pytest.raises(Unreachable, match=rf"127.0.0.1:{scheduler.port} went away.*goes on from there"):
                db.apply(listener)
            assert 100 < db.coverage("m").done < 400
            with pytest.raises(Unreachable, match=f"no dask scheduler answers at tcp://127.0.0.1:{scheduler.port}"):
                db.run("m")
            db.upkeep.progress = None
            workers.stop()
            scheduler.start()
            workers.start()
            db.run("m")
            assert db.coverage("m").done == 400
    finally:
        workers.destroy()


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(
    scheduler: DaskScheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "TICK", 0.2)
    monkeypatch.setattr(run, "WORKERLESS", 1.0)
    compute = registry.compute_backend(scheduler.uri)
    try:
        with pytest.raises(Unreachable, match=r"has had no worker for \d+ s; start one with dask worker tcp://"):
            list(compute.map(Predictor(abs, batched=False), rows(4)))
    finally:
        compute.close()
    assert "has no worker; waiting for one" in caplog.text


def test_a_ray_cluster_that_goes_away_is_unreachable_and_the_next_run_goes_on(
    ray_head: RayHead, sqlite_uri: str
) -> None:
    with superduper(sqlite_uri, compute=ray_head.uri) as db:
        db.insert("t", [{"id": f"{n:04}", "x": n} for n in range(400)])

        def slow(x: int) -> int:
            time.sleep(0.01)
            return x

        def stop(name: str, done: int, *_: object) -> None:
            if done > 100 and ray_head.running:
                ray_head.stop()

        db.upkeep.progress = stop
        listener = Listener(ObjectModel("m", object=slow, datatype="int"), key="x", select=db["t"].find())
        with pytest.raises(Unreachable, match=rf"127.0.0.1:{ray_head.port} went away.*goes on from there"):
            db.apply(listener)
        assert 100 < db.coverage("m").done < 400
        with pytest.raises(Unreachable, match=f"no ray cluster answers at ray://127.0.0.1:{ray_head.port}"):
            db.run("m")
        db.upkeep.progress = None
        ray_head.start()
        db.run("m")
        assert db.coverage("m").done == 400


def test_several_models_one_after_the_other_are_not_mixed_up(own: ComputeBackend) -> None:
    for offset in range(3):
        done = list(own.map(Predictor(lambda x, by=offset: x + by, batched=False), rows(4)))
        assert sorted(value for each in done for value in each.values) == [offset + x for x in range(4)]


@pytest.mark.parametrize("uri", ["ray://", "ray://a:b", "ray://a:1/x", "ray:x", "ray://user@host:1"])
def test_an_address_that_ray_does_not_have_is_refused(uri: str) -> None:
    with pytest.raises(UriError, match="a ray cluster is given as ray://host:10001"):
        RayComputeBackend(uri)


def test_a_closed_port_is_no_ray_cluster(sqlite_uri: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"no ray cluster answers at ray://127.0.0.1:{port} "):
            superduper(sqlite_uri, compute=f"ray://127.0.0.1:{port}")


def test_the_cluster_that_the_process_is_in_is_used(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a pod of a cluster this is the address of the head; any that Ray understands will do.
    monkeypatch.setenv("RAY_ADDRESS", ray_head.uri)
    compute = RayComputeBackend("ray")
    try:
        parents = {
            value
            for each in compute.map(Predictor(lambda x: os.getppid(), batched=False), rows(4))
            for value in each.values
        }
    finally:
        compute.close()
    assert parents <= children(ray_head)


def children(head: RayHead) -> set[int]:
    """The raylet is the parent of workers, and the child of the head."""
    parent = int((head.directory / "server.pid").read_text())
    return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}


@pytest.mark.parametrize("server", ["dask_uri", "ray"])
def test_a_forked_process_starts_anew(server: str, request: pytest.FixtureRequest) -> None:
    compute: ComputeBackend = registry.compute_backend(
        str(request.getfixturevalue(server)) if "_" in server else server
    )
    try:
        assert len(list(compute.map(Predictor(abs, batched=False), rows(4)))) == 2
        child = os.fork()
        if child == 0:
            done = 0
            try:
                done = len(list(compute.map(Predictor(abs, batched=False), rows(4))))
                compute.close()
            finally:
                os._exit(0 if done == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(list(compute.map(Predictor(abs, batched=False), rows(4)))) == 2
    finally:
        compute.close()


def test_a_closed_port_is_unreachable_at_once(sqlite_uri: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(Unreachable, match=f"no dask scheduler answers at tcp://127.0.0.1:{port} "):
            superduper(sqlite_uri, compute=f"dask://127.0.0.1:{port}")
        assert time.monotonic() - began < 5


def test_a_server_that_says_nothing_is_unreachable_within_ten_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(Unreachable, match=f"no dask scheduler answers at tcp://127.0.0.1:{port} "):
            DaskComputeBackend(f"dask://127.0.0.1:{port}")
        assert time.monotonic() - began < 11


def test_a_server_of_another_kind_is_named_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            connection, _ = server.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
            connection.close()

        greeter = threading.Thread(target=greet)
        greeter.start()
        with pytest.raises(Unreachable, match="what listens there is no dask scheduler"):
            DaskComputeBackend(f"dask://127.0.0.1:{port}")
        greeter.join()


@pytest.mark.parametrize("uri", ["dask://", "dask://h:0", "dask://h:70000", "dask://u:geheim@h:1", "dask://h:1/x?y=1"])
def test_a_wrong_address_is_refused_without_telling_secrets(uri: str) -> None:
    with pytest.raises(UriError, match="dask://host:8786") as caught:
        registry.compute_backend(uri)
    assert "geheim" not in str(caught.value)


def test_an_unknown_compute_names_the_known_ones() -> None:
    with pytest.raises(UriError, match=r"no compute 'dusk'; did you mean 'dask'\? \(known: local, dask, dask://host"):
        registry.compute_backend("dusk")


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("superduper.backends.dask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"compute='dask' needs .*'distributed': pip install 'superduper\[dask\]'"):
        registry.compute_backend("dask")
