"""A killed run is taken up again at once, and what it had written is not computed again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from superduper import superduper

PROGRAM = """
import sys, time
from superduper import Listener, ObjectModel, superduper

def slow(x, calls):
    with open(calls, "a") as file:
        file.write(f"{x}\\n")
    time.sleep(0.01)
    return x + 1

db = superduper(sys.argv[1])
db.insert("t", [{"id": f"{n:04}", "x": n, "calls": sys.argv[2]} for n in range(300)])
db.apply(Listener(ObjectModel("m", object=slow, datatype="int"), key=("x", "calls"), select=db["t"].find()))
"""


def test_a_killed_run_is_resumed_at_once_and_repeats_the_batch_in_flight_only(tmp_path: Path) -> None:
    uri, calls = f"sqlite:///{tmp_path}/r.db", tmp_path / "calls"
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, uri, str(calls)], env={**os.environ, "SUPERDUPER_HOME": str(tmp_path)}
    )
    end = time.monotonic() + 60
    while not calls.exists() or calls.read_text().count("\n") < 100:
        assert time.monotonic() < end, "the program computes"
        assert program.poll() is None, "the program is at it"
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.wait()
    made = calls.read_text().count("\n")
    with superduper(uri, home=str(tmp_path)) as db:
        kept = db.coverage("m").done
        begun = time.monotonic()
        db.run("m")
        taken = time.monotonic() - begun
        assert db.coverage("m").done == 300
        assert [job.phase for job in db.metadata.jobs("m")] == ["Succeeded", "Failed"]
    repeated = calls.read_text().count("\n") - 300
    # A batch is as many rows as take 50 ms, here about 5; sixteen before that is known.
    assert made - kept == repeated <= 16
    assert taken < 8, "the dead process's lock is not waited for"
