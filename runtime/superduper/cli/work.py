"""``superduper work``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from superduper.cli import Run
from superduper.cli.options import command as _command
from superduper.cli.progress import Lines

if TYPE_CHECKING:
    from superduper.driver import Ended

TERMINATION_LOG = Path("/dev/termination-log")
MESSAGE = 3000
"""Characters of a message at most: a termination message has 4096 bytes."""
PERIOD = 10.0
"""Seconds between two lines of progress."""
PATIENCE = 5.0
"""Seconds until the work is stopped where it stands, if it comes to no border."""
TERMINATED = 128 + signal.SIGTERM


class Terminated(BaseException):
    """SIGTERM. Not an Exception: a model's failing row is one."""


class Stop:
    """SIGTERM ends the work between two batches; a little later, wherever it stands."""

    def __init__(self) -> None:
        self._asked = False

    def border(self) -> None:
        """Raises Terminated where it was asked for."""
        if self._asked:
            raise Terminated

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """While inside."""
        before = signal.signal(signal.SIGTERM, self._ask), signal.signal(signal.SIGALRM, self._insist)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGTERM, before[0])
            signal.signal(signal.SIGALRM, before[1])

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _insist(self, number: int, frame: FrameType | None) -> None:
        raise Terminated


@_command
@click.argument("model")
@click.option("--asked", is_flag=True, help="Compute missing outputs also where the model's trigger is Manual.")
@click.option(
    "--termination-log",
    type=click.Path(path_type=Path, dir_okay=False),
    default=TERMINATION_LOG,
    show_default=True,
    help="Where the reason is left, as a line of JSON.",
)
@click.pass_obj
def work(run: Run, model: str, asked: bool, termination_log: Path) -> int:
    """Do the whole work of one model of the datalayer that the settings name: training, missing outputs, validation.

    What jobs in a cluster run. Exits with 0 when it is done (also where single rows failed), with 1 where another
    attempt may help, with 42 where it does not, with 143 after SIGTERM. What was done is kept in each case, and the next
    run goes on from there.
    """
    from superduper.api.v1alpha1 import Reason
    from superduper.driver import FAILED, Ended

    stop = Stop()
    try:
        with stop.heeded():
            ended = _work(run, model, stop, asked=asked)
    except Terminated:
        ended = Ended(
            TERMINATED, Reason.JOB_FAILED, "terminated; what is done is kept, and the next job goes on from there"
        )
    except Exception as error:
        if run.debug:
            raise
        text = f"this is a fault of superduper: {type(error).__name__}: {error}; --debug shows where"
        ended = Ended(FAILED, Reason.JOB_FAILED, text)
    _leave(termination_log, ended)
    click.echo(f"{'error: ' if ended.code else ''}{ended.reason}: {ended.message}", err=bool(ended.code))
    if ended.code == TERMINATED:
        # Threads of a model's own would be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(TERMINATED)
    return ended.code


def _work(run: Run, model: str, stop: Stop, *, asked: bool) -> Ended:
    from superduper.api.v1alpha1 import Reason
    from superduper.datalayer import superduper
    from superduper.driver import FAILED, FAILED_FOR_GOOD, Driver, Ended
    from superduper.errors import SuperduperError
    from superduper.reasons import MENDED_OUTSIDE, reason

    settings = {} if run.home is None else {"home": run.home}
    try:
        db = superduper(defer=True, **settings)
    except SuperduperError as error:
        why = reason(error, Reason.APPLYING)
        return Ended(FAILED if why in MENDED_OUTSIDE else FAILED_FOR_GOOD, why, str(error))
    with db:
        return Driver(db, model, Lines(PERIOD), stop.border, asked=asked).work()


def _leave(log: Path, ended: Ended) -> None:
    """Where Kubernetes looks for it, and only there: the file is made with the container."""
    line = json.dumps({"reason": ended.reason, "message": ended.message[:MESSAGE]}, ensure_ascii=True)[:4000]
    if log == TERMINATION_LOG and not log.exists():
        return
    with suppress(OSError):
        log.write_text(line + "\n", encoding="utf-8")


command = work
