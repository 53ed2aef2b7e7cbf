"""What one server process has: its settings, the connection, threads, background work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from superduper.config import CFG
from superduper.server.access import Busy
from superduper.server.background import Background
from superduper.server.budget import Budget
from superduper.server.connection import Connection
from superduper.server.metrics import Metrics
from superduper.server.objects import Objects
from superduper.server.settings import ServerSettings
from superduper.server.values import clear_uploads

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer

P = ParamSpec("P")
R = TypeVar("R")

BLOCKED_SECONDS = 600.0
"""Not one of all threads comes free for so long only when their connections are dead, and no deadline of theirs helps."""


class Threads(ThreadPoolExecutor):
    """Threads that know for how long nobody could be served."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, name)
        self._freed = time.monotonic()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As usual; when it ends is noted."""
        if not self._work_queue.qsize():
            self._freed = time.monotonic()
        found = super().submit(fn, *args, **kwargs)
        found.add_done_callback(self._note)
        return found

    def waiting_seconds(self) -> float:
        """Since when requests wait and no thread has come free; 0 while none waits."""
        return time.monotonic() - self._freed if self._work_queue.qsize() else 0.0

    def _note(self, _: object) -> None:
        self._freed = time.monotonic()


class State:
    """Shared by all requests. ``connect`` opens the datalayer; left out, the one that the settings name."""

    def __init__(
        self, settings: ServerSettings, *, token: str | None = None, connect: Callable[[], Datalayer] | None = None
    ) -> None:
        self.settings, self.token = settings, token
        self.compute = CFG.compute
        self.metrics = Metrics()
        self.budget = Budget(int(settings.max_held))
        self.threads = Threads(settings.threads, "superduper request")
        # Apart from the others: a reader may be slow, and holds its thread for as long.
        self.streams = ThreadPoolExecutor(settings.streams, "superduper stream")
        self.connection = Connection(connect or open_datalayer)
        self.background = Background(self)
        self.objects = Objects(self)
        self.draining = False
        self.active = self.streaming = 0
        self._counting = threading.Lock()

    def start(self) -> None:
        """Begin to connect and to work."""
        self.connection.start()
        self.background.start()

    def drain(self) -> None:
        """Take no more writes, and bring background work to a stop at its next border."""
        self.draining = True
        self.background.stop()

    def close(self) -> None:
        """Give back what can be given back; a thread that is busy ends with the process."""
        self.drain()
        self.connection.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.streams.shutdown(wait=False, cancel_futures=True)

    def begun(self) -> None:
        """A request is being answered."""
        with self._counting:
            self.active += 1
            self.metrics.active.set(self.active)

    def ended(self) -> None:
        """A request is over."""
        with self._counting:
            self.active -= 1
            self.metrics.active.set(self.active)

    def stream_begun(self) -> None:
        """Rows or an artifact are being streamed. Raises Busy where no thread is left for it."""
        with self._counting:
            if self.streaming >= self.settings.streams:
                raise Busy(f"{self.streaming} streams are open, and no more are taken; try again in a moment")
            self.streaming += 1

    def stream_ended(self) -> None:
        """The stream is over."""
        with self._counting:
            self.streaming -= 1

    def stuck(self) -> str | None:
        """What is wrong with the process itself and a restart would mend, if anything is: never that a store is slow."""
        if self.draining:
            return None
        if self.background.ended:
            return "the thread that looks for background work has ended, and nothing is done any more: see the log"
        if (waiting := self.threads.waiting_seconds()) > BLOCKED_SECONDS:
            return f"all {self.settings.threads} threads are taken, and none has come free for {waiting:.0f} s"
        return None


def open_datalayer() -> Datalayer:
    """The datalayer that the settings name; writes run no model, the server decides about that."""
    from superduper.datalayer import superduper

    db = superduper(compute="local" if CFG.compute in ("auto", "job", "ray") else CFG.compute, defer=True)
    clear_uploads(db)
    return db
