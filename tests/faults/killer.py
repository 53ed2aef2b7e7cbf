"""Started by test_kills.py: forks processes that insert, predict and collect, and kills each at a random moment."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import superduper.runs as runs
from superduper import Datalayer, DataType, Listener, Model, Table, superduper

ROWS = 20
"""Rows of one insert: more than go into loose files, so that they become a pack; every third insert is of few."""
BATCH = 10
"""Rows of one batch of predictions."""


def payload(key: str) -> bytes:
    """What belongs to a key: anybody can tell whether a row is whole."""
    return hashlib.sha256(key.encode()).digest() * (1 + len(key) % 7 * 40)


def note(path: str, text: str) -> None:
    """One line, at once."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def open_db(uri: str, folder: str) -> Datalayer:
    # A killed process's lock is waited for; a test has no ten seconds for each.
    runs.LOCK_SECONDS = 0.6
    return superduper(uri, artifact_store=f"filesystem://{folder}/artifacts", home=folder)


def set_up(uri: str, folder: str) -> None:
    def size(key: str, data: bytes) -> int:
        handle = os.open(f"{folder}/calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{key}\n".encode())
        os.close(handle)
        return len(data)

    with open_db(uri, folder) as db:
        db.apply(Table("t", fields={"x": DataType("x", codec="bytes", encodable="artifact"), "insert": "str"}))
        keep = Model(
            "keep", object=lambda data: data[:16], datatype=DataType("kept", codec="bytes", encodable="artifact")
        )
        db.apply(Listener(keep, key="x", select=db["t"]))
        manual = Model("size", object=size, datatype="int")
        db.apply(Listener(manual, key=("id", "x"), select=db["t"], trigger="Manual", batch_size=BATCH))


def insert(db: Datalayer, folder: str, name: str) -> None:
    for number in range(10_000):
        rows = [f"{name}-{number}-{n}" for n in range(ROWS if number % 3 else 3)]
        ids, _ = (
            db["t"]
            .insert_many([{"id": key, "x": payload(key), "insert": f"{name}-{number}"} for key in rows])
            .execute()
        )
        note(f"{folder}/acknowledged", " ".join(ids))


def predict(db: Datalayer, folder: str, name: str) -> None:
    while True:
        db.run("size")
        db.run("keep")


def collect(db: Datalayer, folder: str, name: str) -> None:
    from superduper.errors import InUse

    while True:
        try:
            db.gc(window=0)
        except InUse:
            time.sleep(0.01)


WORK: tuple[Any, ...] = (insert, predict, insert, collect)


def work(uri: str, folder: str, number: int, name: str) -> None:
    try:
        with open_db(uri, folder) as db:
            note(f"{folder}/started", name)
            WORK[number % len(WORK)](db, folder, name)
    except BaseException as error:
        import traceback

        note(f"{folder}/failures", "".join(traceback.format_exception(error)))
        os._exit(1)


def wait_for_start(path: str, names: list[str]) -> None:
    end = time.monotonic() + 30
    while not (Path(path).exists() and set(names) <= set(Path(path).read_text().split())):
        if time.monotonic() > end:
            raise TimeoutError(f"of {names} only these have started: {Path(path).read_text()}")
        time.sleep(0.01)


def main(uri: str, folder: str, rounds: str, seed: str) -> None:
    chance = random.Random(int(seed))
    set_up(uri, folder)
    killed = 0
    for round_ in range(int(rounds)):
        children = []
        for number in range(len(WORK)):
            pid = os.fork()
            if pid == 0:
                work(uri, folder, number, f"{round_}.{number}")
            children.append(pid)
        if round_ % 5:
            # Else some are killed while they connect.
            wait_for_start(f"{folder}/started", [f"{round_}.{number}" for number in range(len(WORK))])
        chance.shuffle(children)
        for pid in children:
            time.sleep(chance.uniform(0.02, 0.2))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            killed += os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    print(killed)


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(exist_ok=True)
    main(*sys.argv[1:])
