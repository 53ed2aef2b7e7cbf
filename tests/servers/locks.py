"""File locks: the kernel lets go of them when their process dies, so they also tell who is still there."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Unavailable(Exception):
    """A lock, a port or a server could not be had within its deadline."""


class FileLock:
    """An advisory lock on one file, shared or alone, held by this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def take(self, *, shared: bool = False, deadline: float = 120) -> None:
        """Take the lock, or turn the one held into the other kind; `Unavailable` after `deadline` seconds."""
        end = time.monotonic() + deadline
        while not self.try_take(shared=shared):
            if time.monotonic() > end:
                self.release()
                raise Unavailable(f"{self.path}: another process kept this lock for {deadline:.0f} s")
            time.sleep(0.02)

    def try_take(self, *, shared: bool = False) -> bool:
        if self._file is None:
            self._file = self.path.open("ab")
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def taken(self) -> bool:
        return self._file is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        self.take()
        try:
            yield
        finally:
            self.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock `path` alone."""
    probe = FileLock(path)
    try:
        return not probe.try_take(shared=True)
    finally:
        probe.release()


class Usage:
    """Who uses a shared server: many tests at once, or the one test that stops it."""

    def __init__(self, directory: Path) -> None:
        # A waiting stopper holds the turnstile, so that tests which keep coming cannot overtake it for ever.
        self._turnstile = FileLock(directory / "turnstile")
        self._use = FileLock(directory / "use")

    def share(self) -> None:
        if self._use.taken:
            # Whoever waits at the turnstile waits for us: change what we hold without passing through it.
            self._use.take(shared=True)
            return
        with self._turnstile.held():
            self._use.take(shared=True)

    def alone(self) -> None:
        # Two tests that both want to be alone would wait for each other if they kept their share meanwhile.
        self._use.release()
        with self._turnstile.held():
            self._use.take()

    def leave(self) -> None:
        self._use.release()
