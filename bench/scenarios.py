"""The scenarios, each run in a process of its own: ``python -m bench.scenarios NAME SYSTEM --dir FOLDER``."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import Measured, Recorder, expect, payloads
from bench.systems import Kind, Row, System, system

Options = argparse.Namespace


def plus_one(x: int) -> int:
    """The model."""
    return x + 1


def blobs(subject: System, recorder: Recorder, options: Options) -> None:
    """n payloads in one call, then all read back."""
    kind: Kind = "bytes" if options.plain else "pickle"
    given: list[Row] = [{"id": str(i), "x": value} for i, value in enumerate(payloads(options.n, options.size))]
    want = {row["id"]: hashlib.sha1(row["x"]).digest() for row in given[:50]}
    subject.open()
    subject.create("docs", kind, "str")
    recorder.time("insert", partial(subject.insert, "docs", given))
    del given
    found = recorder.time("read", lambda: subject.read("docs"))
    expect("rows", len(found), options.n)
    got = {row["id"]: hashlib.sha1(row["x"]).digest() for row in found if row["id"] in want}
    expect("payloads", got, want)


def some(subject: System, recorder: Recorder, options: Options) -> None:
    """A fresh handle, and 1 % of the rows by key with their payloads."""
    rows: list[Row] = [{"id": i, "x": value} for i, value in enumerate(payloads(options.n, options.size))]
    subject.open()
    subject.create("docs", "lazy bytes", "int")
    subject.insert("docs", rows)
    keys = sorted(random.Random(1).sample(range(options.n), options.n // 100))

    def fresh() -> list[bytes]:
        subject.open()
        return subject.read_keys("docs", keys)

    found = recorder.time("lazy", fresh, times=7)
    expect("payloads", {*found}, {rows[key]["x"] for key in keys})


def listen(subject: System, recorder: Recorder, options: Options) -> None:
    """A model as a Listener on n rows, then one more row."""
    subject.open()
    subject.create("docs", "int", "str")
    subject.insert("docs", [{"id": str(i), "x": i} for i in range(options.n)])
    recorder.time("listen", lambda: subject.listen("docs", plus_one))
    expect("outputs", sorted(subject.outputs()), list(range(1, options.n + 1)))
    more = iter(range(options.n, options.n + 5))

    def one_more() -> None:
        i = next(more)
        subject.insert_listened("docs", {"id": f"more{i}", "x": i})

    recorder.time("one more", one_more, times=5)
    expect("outputs", sorted(subject.outputs()), list(range(1, options.n + 6)))


def write(subject: System, _: Recorder, options: Options) -> None:
    """Rows for ``sweep``, in parts, so that this process stays small."""
    subject.open()
    subject.create("docs", "lazy bytes", "int")
    again = payloads(options.distinct, options.size)
    for start in range(0, options.n, 64):
        count = min(64, options.n - start)
        if again:
            values = [again[i % len(again)] for i in range(start, start + count)]
        else:
            values = payloads(count, options.size, seed=start)
        subject.insert("docs", [{"id": start + i, "x": value} for i, value in enumerate(values)])


def sweep(subject: System, recorder: Recorder, options: Options) -> None:
    """One pass over all payloads, 64 at a time, in a fresh process."""
    subject.open()
    total = recorder.time_growth("pass", lambda: sum(len(x) for part in subject.batches("docs", 64) for x in part))
    expect("bytes", total, options.n * options.size)


def load(_: System, recorder: Recorder, __: Options) -> None:
    """Importing superduper; ``growth`` is the whole process's resident memory."""
    cpu, start = time.process_time(), time.perf_counter()
    import superduper  # noqa: F401

    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    recorder.emit(Measured("import", seconds, used, resident))


def scale(subject: System, recorder: Recorder, options: Options) -> None:
    """n rows inserted, filtered, updated by key, predicted."""
    db: Any
    subject.open()
    db = subject.db  # type: ignore[attr-defined]
    subject.create("docs", "int", "int")
    rows: list[Row] = [{"id": i, "x": i} for i in range(options.n)]
    recorder.time("insert", lambda: subject.insert("docs", rows))
    half = options.n // 2
    found = recorder.time("filter", lambda: sum(1 for _ in db["docs"].find({"x": {"$gte": half}}).execute()), times=3)
    expect("rows filtered", found, options.n - half)
    keys = random.Random(2).sample(range(options.n), 200)

    def update() -> None:
        for key in keys:
            db["docs"].update_one({"id": key}, {"$set": {"x": key}}).execute()

    recorder.time("update", update, times=3)
    recorder.time("predict", lambda: subject.listen("docs", plus_one))
    expect("outputs", sum(subject.outputs()), sum(range(1, options.n + 1)))


def plus_ones(xs: list[int]) -> list[int]:
    """The vectorised model."""
    return [x + 1 for x in xs]


def vectorised(subject: System, recorder: Recorder, options: Options) -> None:
    """A vectorised function over n rows, read, computed, written back; 1 % more rows; and over lists in memory."""
    subject.open()
    subject.create("docs", "int", "int")
    subject.insert("docs", [{"id": -i, "x": i} for i in range(1, 1001)])
    subject.vectorise("docs", plus_ones, options.compute)
    subject.insert("docs", [{"id": i, "x": i} for i in range(options.n)])
    recorder.time("run", subject.catch_up)
    expect("outputs", sum(subject.outputs()), sum(range(2, 1002)) + sum(range(1, options.n + 1)))
    step, begin = options.n // 100, iter(range(options.n, 2 * options.n, options.n // 100))

    def more() -> None:
        first = next(begin)
        subject.insert("docs", [{"id": i, "x": i} for i in range(first, first + step)])

    for _ in range(5):
        more()
        recorder.time("1 % more", subject.catch_up)
    batches = [list(range(start, min(start + 4096, options.n))) for start in range(0, options.n, 4096)]
    found = recorder.time("map", lambda: subject.mapped(batches), times=3)
    expect("mapped", found, sum(range(1, options.n + 1)))


SCENARIOS: dict[str, Callable[[System, Recorder, Options], None]] = {
    "blobs": blobs, "some": some, "listen": listen, "write": write, "sweep": sweep, "load": load, "scale": scale,
    "vectorised": vectorised,
}  # fmt: skip


def main() -> None:
    """Run one scenario, in a folder of its own that is removed, or in ``--root``, which stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("system", choices=["ours", "floor", "inline"])
    parser.add_argument("--backend", choices=["sqlite", "mongomock"], default="sqlite")
    parser.add_argument("--n", type=int, default=1000, help="rows")
    parser.add_argument("--size", type=int, default=102_400, help="bytes of a payload")
    parser.add_argument("--distinct", type=int, default=0, help="so many payloads for all rows; 0: one for each")
    parser.add_argument("--plain", action="store_true", help="payloads are bytes, stored as they are, not pickled")
    parser.add_argument("--compute", choices=["local", "ray"], default="local", help="where functions run")
    parser.add_argument("--dir", type=Path, help="where to make the folder; default: the system's place")
    parser.add_argument("--root", type=Path, help="a folder that is there")
    options = parser.parse_args()
    output = os.dup(1)
    os.dup2(2, 1)  # whatever is printed must not mix with the lines
    root = options.root or Path(tempfile.mkdtemp(prefix="bench-", dir=options.dir))
    try:
        os.chdir(root)
        subject = system(options.system, root, options.backend)
        SCENARIOS[options.scenario](subject, Recorder(output), options)
        subject.close()
    finally:
        os.chdir("/")
        if options.root is None:
            shutil.rmtree(root, ignore_errors=True)
    sys.stderr.flush()


if __name__ == "__main__":
    main()
