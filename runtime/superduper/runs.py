"""Runs of models: one at a time over all processes where that matters, and each on record."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from superduper.backends.base.metadata import JobKind, JobRecord
from superduper.code import describe
from superduper.errors import SuperduperError
from superduper.jobs.predict import Report

if TYPE_CHECKING:
    from superduper.backends.base.metadata import MetaDataStore
    from superduper.components.model import Model

LOCK_SECONDS = 10.0
"""A lock lapses so long after its process has stopped to prolong it."""

RECORD_SECONDS = 2.0
"""How often a running job's progress is written down."""
Tell = Callable[[Report], None]


class Runs:
    """Keeps jobs and locks in the metadata store."""

    def __init__(self, metadata: MetaDataStore) -> None:
        self._metadata = metadata

    def job(
        self,
        kind: JobKind,
        model: Model,
        run: Callable[[Tell], Report],
        *,
        announce: bool = False,
    ) -> tuple[Report, JobRecord]:
        """Run and record it; ``announce`` records it as running first, where others may want to see it.

        ``run`` is given what it may tell how far it is: that is on record from time to time.
        """
        job = JobRecord(str(uuid.uuid4()), kind, model.identifier, model.version or 0, "Running", datetime.now(UTC))
        if announce:
            self._metadata.put_job(job)
        told = time.monotonic()
        latest = Report()

        def tell(report: Report) -> None:
            nonlocal told, latest
            latest = report
            if announce and time.monotonic() - told > RECORD_SECONDS:
                told = time.monotonic()
                self._metadata.put_job(replace(job, rows=report.done, failed=report.failed))

        try:
            report = run(tell)
        except BaseException as error:
            if announce:
                message = describe(error) if isinstance(error, Exception) else "interrupted"
                job = replace(job, rows=latest.done, failed=latest.failed, message=message)
                with suppress(SuperduperError):
                    self._metadata.put_job(replace(job, phase="Failed", finished=datetime.now(UTC)))
            raise
        job = replace(job, phase="Succeeded", finished=datetime.now(UTC), rows=report.done, failed=report.failed)
        if announce or report.done:
            self._metadata.put_job(job)
        return report, job

    def failed(self, kind: JobKind, model: Model, error: BaseException) -> JobRecord:
        """Record a job that could not even begin."""
        now = datetime.now(UTC)
        job = JobRecord(str(uuid.uuid4()), kind, model.identifier, model.version or 0, "Failed", now, now)
        job = replace(job, message=describe(error))
        self._metadata.put_job(job)
        return job

    def close_interrupted(self, model: str) -> None:
        """Jobs that run while nobody else holds the lock were killed."""
        for job in self._metadata.jobs(model, limit=20):
            if job.phase == "Running" and job.kind == "predict":
                self._metadata.put_job(replace(job, phase="Failed", finished=datetime.now(UTC), message="interrupted"))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """One whole run of a listener at a time, over all processes; kept alive while it runs.

        Waits for as long as another process keeps it. Should it lapse all the same (a frozen process, a lost metadata
        store), two do the same work: results are upserts, so that is slower and not wrong.
        """
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
        while not self._metadata.acquire(name, owner, LOCK_SECONDS):
            holder = self._metadata.holder(name)
            if holder is not None and _is_dead(holder):
                self._metadata.release(name, holder)
            else:
                time.sleep(0.1)
        done = threading.Event()

        def keep() -> None:
            while not done.wait(LOCK_SECONDS / 4):
                with suppress(SuperduperError):
                    self._metadata.acquire(name, owner, LOCK_SECONDS)

        keeper = threading.Thread(target=keep, name=f"superduper {name}", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            self._metadata.release(name, owner)


def _is_dead(owner: str) -> bool:
    """Whether the lock's owner was a process of this machine that has ended: its lock need not be waited for."""
    host, pid, _ = owner.split(":", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
