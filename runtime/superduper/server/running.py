"""Models that a client over HTTP asks for: run here, and told how far they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from superduper.backends.http import records, values
from superduper.components.model import Model
from superduper.datalayer import Datalayer

INTERVAL = 1.0
"""Seconds between two looks at how far a run is, at least."""


def predict(db: Datalayer, model: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """One output, as it is sent."""
    given = [values.unpacked(arg) for arg in args]
    named = {str(key): values.unpacked(arg) for key, arg in kwargs.items()}
    return values.packed(db.predict(model, *given, **named))


def coverage(db: Datalayer, listener: str) -> list[int]:
    """Rows, done, failed, pending."""
    found = db.coverage(listener)
    return [found.rows, found.done, found.failed]


def validate(db: Datalayer, model: str) -> Iterator[tuple[str, Any]]:
    """The metrics."""
    yield "result", db.validate(model)


def run(db: Datalayer, listener: str, *, retry: bool = False, full: bool = False) -> Iterator[tuple[str, Any]]:
    """``("progress", [done, failed, total])`` now and then, at last ``("result", jobs)``. It goes on if nobody listens."""
    pending = db.coverage(listener).pending
    with ThreadPoolExecutor(1, "run-" + listener) as one:
        job = one.submit(_run, db, listener, retry, full)
        pause = INTERVAL
        while not wait([job], pause).done:
            began = time.monotonic()
            now = db.coverage(listener)
            total = max(pending, now.pending)
            yield "progress", [total - now.pending, now.failed, total]
            pause = max(INTERVAL, 20 * (time.monotonic() - began))
        yield "result", records.plain(job.result())


def _run(db: Datalayer, listener: str, retry: bool, full: bool) -> list[Any]:
    model: Model = db.listener(listener).model
    if not model.suspend:
        db.upkeep.fitting.train(model)
    return db.run(listener, retry=retry, full=full)
