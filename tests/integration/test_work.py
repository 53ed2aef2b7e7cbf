"""``superduper work``: what jobs in a cluster run. Resumed after kills, done once, ended in words that tell why."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superduper import ObjectModel, superduper
from superduper.datalayer import Datalayer

SLOW = """
import os, time

def slow(x, calls):
    with open(calls, "a") as file:
        file.write(f"{x} {os.getpid()}\\n")
    time.sleep(0.004)
    return x + 1
"""


class Place:
    """A datalayer of files, and jobs on it."""

    def __init__(self, root: Path) -> None:
        self.root, self.log, self.calls = root, root / "termination", root / "calls"
        self.uri = f"sqlite:///{root}/rows.db"

    def open(self) -> Datalayer:
        return superduper(self.uri, home=str(self.root), defer=True)

    def job(self, model: str, *options: str, compute: str = "local", uri: str | None = None) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "SUPERDUPER_HOME": str(self.root),
            "SUPERDUPER_DATABACKEND": uri or self.uri,
            "SUPERDUPER_COMPUTE": compute,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "superduper", "work", model, *options, "--termination-log", str(self.log)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, model: str, *options: str, **how: Any) -> tuple[int, str]:
        job = self.job(model, *options, **how)
        output, _ = job.communicate(timeout=120)
        return job.returncode, output

    def reason(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.log.read_text())
        return found

    def called(self) -> Counter[int]:
        if not self.calls.exists():
            return Counter()
        return Counter(int(line.split()[0]) for line in self.calls.read_text().splitlines())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def predicting(object: Any, inputs: tuple[str, ...] = ("x",), **more: Any) -> ObjectModel:
    spec = {"table": "t", "inputs": list(inputs), "output": {"type": "int"}}
    return ObjectModel("m", object=object, predict=spec, **more)


def slow_rows(place: Place, rows: int) -> None:
    from superduper.api.v1alpha1 import Code

    with place.open() as db:
        db.insert("t", [{"id": f"{n:04}", "x": n, "calls": str(place.calls)} for n in range(rows)])
        db.apply(predicting(Code(source=SLOW, callable="slow"), ("x", "calls")))


def outputs(place: Place) -> dict[int, Any]:
    with place.open() as db:
        return {row["x"]: row["_outputs"]["m"] for row in db["t"].find().outputs("m").execute()}


def test_a_model_is_trained_predicted_and_measured_and_nothing_is_done_again(place: Place) -> None:
    def fit(xs: list[int], ys: list[int]) -> int:
        return sum(y - 2 * x for x, y in zip(xs, ys, strict=True)) // len(xs)

    def line(offset: int, x: int) -> int:
        return 2 * x + offset

    with place.open() as db:
        db.insert("t", [{"id": str(n), "x": n, "y": 2 * n + 1} for n in range(50)])
        db.apply(
            predicting(
                line,
                training={"table": "t", "inputs": ["x"], "target": "y", "object": fit},
                validation={"table": "t", "target": "y", "metrics": ["mse"]},
            )
        )
        assert db.metadata.jobs("m") == []
    code, output = place.run("m")
    assert (code, place.reason()["reason"]) == (0, "Available"), output
    assert "50 of 50 rows predicted" in place.reason()["message"]
    assert "mse 0" in place.reason()["message"]
    assert outputs(place) == {n: 2 * n + 1 for n in range(50)}
    with place.open() as db:
        assert [job.kind for job in db.metadata.jobs("m")] == ["validate", "predict", "train"]
        db.insert("t", [{"id": "new", "x": 1000, "y": 2001}])
    assert place.run("m")[0] == 0
    assert outputs(place)[1000] == 2001
    assert place.run("m")[0] == 0
    with place.open() as db:
        kinds = [(job.kind, job.phase, job.rows) for job in reversed(db.metadata.jobs("m"))]
    assert kinds == [
        ("train", "Succeeded", 50),
        ("predict", "Succeeded", 50),
        ("validate", "Succeeded", 50),
        ("predict", "Succeeded", 1),
        ("validate", "Succeeded", 51),
    ]


def test_a_model_that_waits_to_be_asked_predicts_only_when_it_is(place: Place) -> None:
    with place.open() as db:
        db.insert("t", [{"id": str(n), "x": n} for n in range(5)])
        how = {"table": "t", "inputs": ["x"], "output": {"type": "int"}, "trigger": "Manual"}
        db.apply(ObjectModel("m", object=lambda x: x + 1, predict=how))
    assert place.run("m")[0] == 0
    assert "0 of 5 rows predicted, 5 pending" in place.reason()["message"]
    assert place.run("m", "--asked")[0] == 0
    assert outputs(place) == {n: n + 1 for n in range(5)}


def test_rows_that_fail_are_counted_and_the_job_is_done(place: Place) -> None:
    with place.open() as db:
        db.insert("t", [{"id": str(n), "x": n} for n in range(30)])
        db.apply(predicting(lambda x: 10 // (x - 7)))
    code, output = place.run("m")
    assert (code, place.reason()["reason"]) == (0, "Partial"), output
    assert place.reason()["message"].startswith("29 of 30 rows predicted, 1 failed; row '7': ZeroDivisionError")
    with place.open() as db:
        (job,) = db.metadata.jobs("m")
    assert (job.phase, job.rows, job.failed) == ("Succeeded", 30, 1)


def no_such_module(place: Place, db: Datalayer) -> str:
    from superduper.api.v1alpha1 import Code

    db.apply(predicting(Code(source="import no_such_package_there\ndef f(x): return x", callable="f")))
    return "no_such_package_there"


def raising_training(place: Place, db: Datalayer) -> str:
    def fit(xs: list[int]) -> None:
        raise ValueError("too few")

    db.apply(predicting(lambda fitted, x: x, training={"table": "t", "inputs": ["x"], "object": fit}))
    return "too few"


def failing_everywhere(place: Place, db: Datalayer) -> str:
    db.apply(predicting(lambda x: 1 // 0))
    return "ZeroDivisionError"


@pytest.mark.parametrize(
    ("mistake", "reason", "kind"),
    [
        pytest.param(no_such_module, "CodeFailed", "predict", id="code that does not load"),
        pytest.param(raising_training, "TrainingFailed", "train", id="training that raises"),
        pytest.param(failing_everywhere, "PredictionFailed", "predict", id="every row failing"),
    ],
)
def test_what_no_repetition_mends_ends_with_42_and_says_why(
    place: Place, mistake: Callable[[Place, Datalayer], str], reason: str, kind: str
) -> None:
    with place.open() as db:
        db.insert("t", [{"id": str(n), "x": n} for n in range(30)])
        text = mistake(place, db)
    code, output = place.run("m")
    assert (code, place.reason()["reason"]) == (42, reason), output
    assert text in place.reason()["message"]
    assert output.splitlines()[-1].startswith(f"error: {reason}: ")
    with place.open() as db:
        (job,) = db.metadata.jobs("m")
        assert job.kind == kind
        assert reason == "PredictionFailed" or (job.phase == "Failed" and text in job.message)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("postgresql://127.0.0.1:1/none", "Unreachable"), ("sqlite:////proc/none/rows.db", "")],
)
def test_a_store_that_is_not_there_ends_with_1(place: Place, uri: str, reason: str) -> None:
    code, output = place.run("m", uri=uri)
    assert code == 1, output
    assert reason in place.reason()["reason"]


def test_a_model_that_is_not_there_ends_with_1(place: Place) -> None:
    assert place.run("m")[0] == 1
    assert place.reason()["reason"] == "DependencyNotReady"


def test_a_killed_job_is_resumed_and_repeats_only_what_was_in_flight(place: Place) -> None:
    slow_rows(place, 600)
    for _ in range(4):
        before = sum(place.called().values())
        job = place.job("m")
        goal = before + random.randrange(30, 120)
        until(lambda goal=goal, job=job: sum(place.called().values()) >= goal or job.poll() is not None, "it computes")  # type: ignore[misc]
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
    code, output = place.run("m")
    assert code == 0, output
    assert outputs(place) == {n: n + 1 for n in range(600)}
    called = place.called()
    assert set(called) == set(range(600))
    # A batch of this model comes to 16 rows or so; each kill loses one at the most.
    assert sum(called.values()) <= 600 + 4 * 32
    with place.open() as db:
        jobs = db.metadata.jobs("m")
    assert [job.phase for job in jobs] == ["Succeeded"] + ["Failed"] * 4
    assert {job.message for job in jobs[1:]} == {"interrupted"}


def test_two_jobs_of_one_model_at_once_do_the_work_once(place: Place) -> None:
    slow_rows(place, 300)
    jobs = [place.job("m"), place.job("m")]
    ended = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], ended
    assert place.called() == Counter(range(300))


def test_sigterm_stops_between_batches_at_once_and_the_next_job_goes_on(place: Place) -> None:
    slow_rows(place, 2000)
    job = place.job("m")
    until(lambda: sum(place.called().values()) > 100, "it computes")
    began = time.monotonic()
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=30)
    assert job.returncode == 143, output
    assert time.monotonic() - began < 4
    assert place.reason()["reason"] == "JobFailed"
    with place.open() as db:
        done = db.coverage("m").done
        (record,) = db.metadata.jobs("m")
        assert (record.phase, record.message) == ("Failed", "interrupted")
    # Between two batches: what was computed is written down.
    assert done == sum(place.called().values())


def test_sigterm_is_heeded_by_a_model_that_takes_for_ever(place: Place) -> None:
    with place.open() as db:
        db.insert("t", [{"id": "a", "x": 1}])
        db.apply(predicting(lambda x: __import__("time").sleep(600)))
    job = place.job("m")
    until(lambda: bool(running(place)), "it runs")
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=30)
    assert job.returncode == 143, output


def running(place: Place) -> list[Any]:
    with place.open() as db:
        return [job for job in db.metadata.jobs("m") if job.phase == "Running"]


def test_progress_is_on_record_while_it_runs(place: Place) -> None:
    slow_rows(place, 2000)
    job = place.job("m")
    try:
        until(lambda: any(record.rows > 0 for record in running(place)), "rows are on record")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()


def test_a_job_on_ray_is_killed_and_resumed(place: Place) -> None:
    slow_rows(place, 600)
    job = place.job("m", compute="ray")
    until(lambda: sum(place.called().values()) > 150, "it computes", 120)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    with place.open() as db:
        assert 0 < db.coverage("m").done < 600
    code, output = place.run("m", compute="ray")
    assert code == 0, output
    assert outputs(place) == {n: n + 1 for n in range(600)}
    # Four batches of 16 rows or so are in flight.
    assert sum(place.called().values()) <= 600 + 4 * 32
