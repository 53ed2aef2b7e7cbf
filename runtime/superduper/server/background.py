"""What the server does by itself: tables filled and read again, small backlogs of models done, statuses kept true.

A look-out goes over all objects every few seconds, and at once after a write; what it finds to do is done by a few
threads, one at a time for each object.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from superduper.errors import SuperduperError

if TYPE_CHECKING:
    from superduper.server.state import State

log = logging.getLogger("superduper.server")

Key = tuple[str, str]
"""Kind and name of an object."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds before something that failed is tried again."""
LONG_LOOK = 60.0
"""Seconds after which a look that is not done is told of, in the log and the metrics."""
SHARE = 10
"""The look-out rests at least so many times as long as a look took."""


class Interrupted(SuperduperError):
    """The server stops, or the object is removed: what is done is kept, and it goes on from there."""

    def __init__(self) -> None:
        super().__init__("interrupted at the server's stop; it goes on from here")


class Background:
    """The look-out and its workers."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._pool = ThreadPoolExecutor(state.settings.background, "superduper background")
        self._lock = threading.Lock()
        self._running: dict[Key, threading.Event] = {}
        self._barred: set[Key] = set()
        self._pauses: dict[Key, tuple[float, float]] = {}
        self._looking_since: float | None = None
        self._kicked, self._stopping = threading.Event(), threading.Event()
        self._scanner = threading.Thread(target=self._scan, name="superduper look-out", daemon=True)
        self._ticker = threading.Thread(target=self._tick, name="superduper ticker", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._scanner.start()
        self._ticker.start()

    def stop(self) -> None:
        """Bring all to a stop at the next border of a batch."""
        self._stopping.set()
        self._kicked.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._running

    @property
    def ended(self) -> bool:
        """Whether the look-out's thread was started and is there no more. One that waits for a store is well."""
        return self._scanner.ident is not None and not self._scanner.is_alive()

    def kick(self) -> None:
        """Something was written: look now."""
        self._kicked.set()

    def check(self, key: Key) -> None:
        """Called at each border of the work on that object. Raises Interrupted."""
        event = self._running.get(key)
        if self._stopping.is_set() or (event is not None and event.is_set()):
            raise Interrupted

    def submit(self, key: Key, work: Callable[[], None], *, again: bool = False) -> bool:
        """Have it done, unless something is being done for the object, or it failed a moment ago (unless ``again``)."""
        with self._lock:
            if again:
                self._pauses.pop(key, None)
            until, _ = self._pauses.get(key, (0.0, 0.0))
            if key in self._running or key in self._barred or self._stopping.is_set() or time.monotonic() < until:
                return False
            self._running[key] = threading.Event()
        try:
            self._pool.submit(self._run, key, work)
        except RuntimeError:  # it was shut down meanwhile
            self._running.pop(key, None)
            return False
        return True

    def forgive(self, key: Key) -> None:
        """The object is another one: that it failed is no reason to wait."""
        self._pauses.pop(key, None)

    @contextmanager
    def kept_from(self, key: Key, seconds: float) -> Iterator[bool]:
        """Nothing new is done for the object while inside; whether what was being done ended within that time."""
        with self._lock:
            self._barred.add(key)
            event = self._running.get(key)
        if event is not None:
            event.set()
        try:
            deadline = time.monotonic() + seconds
            while key in self._running and time.monotonic() < deadline:
                time.sleep(0.02)
            yield key not in self._running
        finally:
            with self._lock:
                self._barred.discard(key)

    def _run(self, key: Key, work: Callable[[], None]) -> None:
        metrics, kind = self.state.metrics, key[0]
        metrics.working.labels(kind).inc()
        result = "succeeded"
        try:
            work()
            self._pauses.pop(key, None)
        except Interrupted:
            result = "interrupted"
        except SuperduperError as error:
            result = "failed"
            log.warning("%s/%s: %s: %s", kind.lower(), key[1], type(error).__name__, error)
        except Exception:
            result = "failed"
            log.exception("%s/%s: a fault of the server", kind.lower(), key[1])
        finally:
            if result == "failed":
                _, pause = self._pauses.get(key, (0.0, FIRST_PAUSE / 2))
                pause = min(LONGEST_PAUSE, 2 * pause)
                self._pauses[key] = time.monotonic() + pause, pause
            metrics.working.labels(kind).dec()
            metrics.worked.labels(kind, result).inc()
            self._running.pop(key, None)
            self._kicked.set()

    def _scan(self) -> None:
        while not self._stopping.is_set():
            self._looking_since = started = time.monotonic()
            db = self.state.connection.there
            if db is not None:
                try:
                    self.state.objects.look(db)
                except SuperduperError as error:
                    log.warning("the look-out: %s: %s", type(error).__name__, error)
                except Exception:
                    log.exception("the look-out: a fault of the server")
            self._looking_since, took = None, time.monotonic() - started
            self.state.metrics.scan.set(took)
            # A write is looked after at once, but not again and again while writes go on.
            self._stopping.wait(min(SHARE * took, 60.0) if db is not None else 0)
            self._kicked.wait(self.state.settings.scan_seconds if db is not None else 0.2)
            self._kicked.clear()

    def _tick(self) -> None:
        said: float | None = None
        while not self._stopping.wait(0.5):
            since = self._looking_since
            if since is not None and (waited := time.monotonic() - since) > LONG_LOOK:
                # It may be a slow store, and no restart makes that faster: it is told, and not the end of the process.
                self.state.metrics.scan.set(waited)
                if said != since:
                    log.warning(
                        "the look-out has waited for the stores for %.0f s, and finds no work meanwhile", waited
                    )
                said = since
            self.state.metrics.connected.set(self.state.connection.error() is None)
