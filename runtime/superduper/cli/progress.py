"""Telling how far it is: a bar on a terminal; else a line at the start and each minute; or JSON lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from superduper.cli.output import json_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PERIOD = 60.0
"""Seconds between two lines of progress."""


class Lines:
    """For logs: a line where something begins, and one each ``period`` seconds."""

    def __init__(self, period: float = PERIOD) -> None:
        self._what, self._told, self._period = "", 0.0, period

    def say(self, text: str) -> None:
        """One line."""
        self._what = ""
        click.echo(text)

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        """A line where something begins, and from time to time."""
        now = time.monotonic()
        if what == self._what and now - self._told < self._period:
            return
        self._what, self._told = what, now
        self.tell(what, done, total, failed)

    def tell(self, what: str, done: int, total: int | None, failed: int) -> None:
        """The line."""
        whole = "" if total is None else f" of {total:,}"
        click.echo(f"{what} … {done:,}{whole}{f', {failed:,} failed' if failed else ''}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


class JsonLines(Lines):
    """For scripts; what is said is in the objects' own lines."""

    def say(self, text: str) -> None:
        self._what = ""

    def tell(self, what: str, done: int, total: int | None, failed: int) -> None:
        json_line({"event": "progress", "what": what, "done": done, "total": total, "failed": failed})


class Bar(Lines):
    """For a terminal. The bar is gone when its task is done."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def say(self, text: str) -> None:
        self._stop()
        super().say(text)

    def progress(self, what: str, done: int, total: int | None, failed: int = 0) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        if what != self._what or self._bar is None or self._task is None:
            self._stop()
            parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*parts, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=total)
            self._bar.start()
            self._what = what
        text = f"{what}, {failed:,} failed" if failed else what
        self._bar.update(self._task, completed=done, total=total, description=text)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


def reporter(*, json: bool) -> Lines:
    """What fits: JSON lines where asked for, a bar on a terminal, lines else."""
    if json:
        return JsonLines()
    return Bar() if sys.stderr.isatty() and sys.stdout.isatty() else Lines()
