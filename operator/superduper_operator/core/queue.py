"""The work queue: which key is due when, one run per key at a time, backoff for what failed."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from superduper_operator.core.reconciler import Key

FIRST_RETRY: Final = 1.0
"""Seconds until a key that failed once is tried again; doubled with each further failure."""
LAST_RETRY: Final = 300.0
"""Longest wait between two tries, in seconds."""
JITTER: Final = 0.2
"""A wait is changed at random by up to this part of it, so that what failed together is not tried together."""


class Schedule:
    """When each key is due. Times are seconds of one monotonic clock, given by the caller: pure, and tested so.

    A key is in one place at most: waiting (due later), ready (due now, first come first served), or running. What is
    added while it runs is due again when the run has ended.
    """

    def __init__(self, spread: Callable[[], float] | None = None) -> None:
        self._spread = spread or (lambda: random.uniform(-JITTER, JITTER))
        self._ready: OrderedDict[Key, float] = OrderedDict()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: dict[Key, float] = {}
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self.last_wait = 0.0
        """For how long the key that was taken last had been due."""

    def add(self, key: Key, now: float, after: float = 0.0) -> None:
        """The key is due in ``after`` seconds, or earlier where it was already."""
        due = now + max(after, 0.0)
        if key in self._running:
            self._again[key] = min(due, self._again.get(key, due))
        elif key in self._ready:
            return
        elif after <= 0:
            self._due.pop(key, None)
            self._ready[key] = now
        elif due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._tidy()

    def take(self, now: float) -> Key | None:
        """The key that has been due longest; it is running from now on. None: nothing is due."""
        self._promote(now)
        if not self._ready:
            return None
        key, since = self._ready.popitem(last=False)
        self.last_wait = now - since
        self._running[key] = now
        return key

    def done(self, key: Key, now: float, after: float | None = None) -> None:
        """The run ended well. ``after``: seconds until it is to run again in any case; None: not by itself."""
        self._failures.pop(key, None)
        self._end(key, now, after)

    def failed(self, key: Key, now: float, at_least: float = 0.0) -> float:
        """The run failed. Returns the seconds until the next try: 1, 2, 4 … 300, never less than ``at_least``."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait = min(FIRST_RETRY * 2.0 ** min(count - 1, 20), LAST_RETRY) * (1 + self._spread())
        wait = max(min(wait, LAST_RETRY), at_least)
        self._end(key, now, wait)
        return wait

    def failures(self, key: Key) -> int:
        """How many times in a row it has failed."""
        return self._failures.get(key, 0)

    def wait(self, now: float) -> float | None:
        """Seconds until the next key is due: 0 where one is, None where none waits."""
        self._promote(now)
        if self._ready:
            return 0.0
        return max(self._heap[0][0] - now, 0.0) if self._heap else None

    def depth(self, now: float) -> int:
        """How many keys are due and not yet running."""
        self._promote(now)
        return len(self._ready)

    def oldest(self, now: float) -> float:
        """For how many seconds the oldest key that is due has waited; 0 where none is."""
        return now - next(iter(self._ready.values())) if self._ready else 0.0

    @property
    def running(self) -> dict[Key, float]:
        """The keys that run, and since when."""
        return self._running

    def _end(self, key: Key, now: float, after: float | None) -> None:
        del self._running[key]
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, now, again - now)
        if after is not None:
            self.add(key, now, after)

    def _promote(self, now: float) -> None:
        """What is due has become ready; what was put earlier or later meanwhile is passed over."""
        while self._heap and (self._heap[0][0] <= now or self._due.get(self._heap[0][1]) != self._heap[0][0]):
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self._ready[key] = due

    def _tidy(self) -> None:
        """Entries that were overtaken are dropped before they outnumber those that count."""
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._due):
            self._heap = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._heap)


class WorkQueue:
    """A schedule on the real clock, with one consumer that waits for keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.schedule = Schedule()
        self._changed = asyncio.Event()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have the key reconciled, in so many seconds at the latest."""
        self.schedule.add(key, self._clock(), after)
        self._changed.set()

    async def get(self) -> Key:
        """The next key that is due; waits for one."""
        while True:
            key = self.schedule.take(self._clock())
            if key is not None:
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(self.schedule.wait(self._clock())):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: Key, after: float | None = None) -> None:
        """The run of that key ended well."""
        self.schedule.done(key, self._clock(), after)
        self._changed.set()

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """The run of that key failed; returns the seconds until it is tried again."""
        wait = self.schedule.failed(key, self._clock(), at_least)
        self._changed.set()
        return wait

    @property
    def depth(self) -> int:
        """How many keys are due and not yet running."""
        return self.schedule.depth(self._clock())

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest of them has waited."""
        return self.schedule.oldest(self._clock())

    def longest_run(self) -> tuple[Key | None, float]:
        """The key that has been running longest, and for how many seconds."""
        running = self.schedule.running
        if not running:
            return None, 0.0
        key = min(running, key=running.__getitem__)
        return key, self._clock() - running[key]
