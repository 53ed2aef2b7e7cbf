"""Measuring one piece of work: seconds, processor seconds, and how far anonymous memory grew."""

from __future__ import annotations

import gc
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """One phase of one scenario. ``growth`` is of anonymous memory, in bytes."""

    phase: str
    seconds: float
    cpu: float
    growth: int = 0


def payloads(n: int, size: int, seed: int = 7) -> list[bytes]:
    """n incompressible payloads, the same for every system."""
    rng = random.Random(seed)
    return [rng.randbytes(size) for _ in range(n)]


def anonymous_memory() -> int:
    """Resident bytes of this process that are no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """The peak of anonymous memory while inside, looked at 200 times a second."""
    peak, stop = [anonymous_memory()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], anonymous_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()
        peak[0] = max(peak[0], anonymous_memory())


class Recorder:
    """Times phases and writes each as a JSON line to a descriptor of its own."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor

    def time(self, phase: str, work: Callable[[], T], *, times: int = 1) -> T:
        """Do it, and say what it took; of several times the least."""
        gc.collect()
        least: tuple[float, float] | None = None
        for _ in range(times):
            cpu, start = time.process_time(), time.perf_counter()
            value = work()
            took = time.perf_counter() - start, time.process_time() - cpu
            least = took if least is None else min(least, took)
        assert least is not None
        self.emit(Measured(phase, *least))
        return value

    def time_growth(self, phase: str, work: Callable[[], T]) -> T:
        """As ``time``, with the growth of memory."""
        gc.collect()
        before = anonymous_memory()
        with watched_memory() as peak:
            cpu, start = time.process_time(), time.perf_counter()
            value = work()
            seconds, used = time.perf_counter() - start, time.process_time() - cpu
        self.emit(Measured(phase, seconds, used, max(0, peak[0] - before)))
        return value

    def emit(self, measured: Measured) -> None:
        """One line."""
        os.write(self._descriptor, (json.dumps(asdict(measured)) + "\n").encode())


def expect(what: str, got: Any, want: Any) -> None:
    """A figure of a wrong result is no figure."""
    if got != want:
        raise AssertionError(f"{what}: {got!r} instead of {want!r}")
