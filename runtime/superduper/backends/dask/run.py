"""One pass of a model over batches, on dask workers."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from hashlib import sha1

import dask
from distributed import Client, Future, wait
from distributed.scheduler import KilledWorker

from superduper.backends.base.blame import halved
from superduper.backends.base.compute import Batch, Done, Predict
from superduper.backends.base.worker import opened, packed
from superduper.backends.dask.worker import WHERE, hold, run_batch
from superduper.code import describe, pickled
from superduper.errors import ModelError, SuperduperError, Unreachable

IN_FLIGHT = 4
"""Batches that are held at once: the payloads of each fit a quarter of the budget."""
TICK = 2.0
"""Seconds between looks whether there are workers at all."""
WORKERLESS = 300.0
"""Seconds that a scheduler may be without a worker: a cluster that scales from zero has to start one."""
FATAL = "each dask worker that ran this row died of it; it may take more memory than a worker has"

log = logging.getLogger(__name__)


class Session:
    """A connection to a scheduler, and the models that its workers have."""

    def __init__(self, client: Client, where: str) -> None:
        self.client, self.where = client, where
        self._models: dict[str, Future[bytes]] = {}

    def model(self, digest: str, data: bytes, keep: int) -> Future[bytes]:
        """The pickled model on the workers: sent once, not with each batch. The ``keep`` latest stay there."""
        future = self._models.pop(digest, None)
        if future is None or future.status in ("cancelled", "error", "lost"):
            future = self.submit(hold, data)
        self._models[digest] = future
        for oldest in list(self._models)[:-keep]:
            del self._models[oldest]
        self.first([future])
        with self.translated():
            # Else dask gives all batches to the one worker that has the model already.
            self.client.replicate([future])
        return future

    def submit(self, function: Callable[..., bytes], *args: object) -> Future[bytes]:
        """Start a task; dask runs it again elsewhere if its worker dies."""
        key = f"superduper-{uuid.uuid4().hex}"
        # Dask would rather have large arguments scattered, but what is scattered is lost with the worker that has it.
        with self.translated(), dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return self.client.submit(function, *args, key=key, pure=False)

    def first(self, futures: Collection[Future[bytes]]) -> Future[bytes]:
        """Wait for one that is done. Raises Unreachable where the scheduler, or all workers, are gone."""
        begun, told = time.monotonic(), False
        while True:
            with self.translated(), self.client.as_current():
                try:
                    return next(iter(wait(futures, timeout=TICK, return_when="FIRST_COMPLETED").done))
                except TimeoutError:
                    if self.client.nthreads():
                        begun = time.monotonic()
            waited = time.monotonic() - begun
            if waited > WORKERLESS:
                raise Unreachable(
                    f"the dask scheduler at {self.where} has had no worker for {waited:.0f} s; "
                    f"start one with dask worker {self.where}"
                )
            if waited > TICK and not told:
                log.warning("the dask scheduler at %s has no worker; waiting for one", self.where)
                told = True

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Whatever says that the scheduler is gone, as Unreachable."""
        try:
            yield
        except SuperduperError:
            raise
        except (CancelledError, OSError, RuntimeError) as error:
            raise Unreachable(
                f"the dask scheduler at {self.where} went away: {describe(error)}; "
                "outputs so far are kept, and the next run goes on from there"
            ) from error


class Run:
    """Keeps up to four batches in flight; gives each back as it is done."""

    def __init__(self, session: Session, predict: Predict, keep: int) -> None:
        self._session = session
        data = pickled(predict)
        self._digest = sha1(data, usedforsecurity=False).hexdigest()
        self._model = session.model(self._digest, data, keep)
        self._flight: dict[Future[bytes], Batch] = {}

    def over(self, batches: Iterable[Batch]) -> Iterator[Done]:
        """Batches as they are done, in any order.

        A batch whose worker died too often is set apart, and halves of it are run with nothing beside them, until the
        row at fault is known.
        """
        waiting = iter(batches)
        suspects: list[Batch] = []
        try:
            while True:
                while not suspects and len(self._flight) < IN_FLIGHT and (batch := next(waiting, None)) is not None:
                    self._start(batch)
                if self._flight:
                    future = self._session.first(list(self._flight))
                    batch = self._flight.pop(future)
                    done = self._done(future, batch)
                    del future
                    if done is None:
                        suspects.append(batch)
                    else:
                        yield done
                elif suspects:
                    yield from halved(suspects.pop(), self._alone, FATAL)
                else:
                    return
        finally:
            self._cancel()

    def _start(self, batch: Batch) -> Future[bytes]:
        data = packed(batch)
        future = self._session.submit(run_batch, self._digest, self._model, data)
        self._flight[future] = batch
        return future

    def _alone(self, batch: Batch) -> Done | None:
        """Run a batch that may kill its worker: nothing else is in flight, so what dies, dies of it."""
        future = self._start(batch)
        self._session.first(list(self._flight))
        del self._flight[future]
        return self._done(future, batch)

    def _done(self, future: Future[bytes], batch: Batch) -> Done | None:
        """What came of it, or None where its workers died of it."""
        with self._session.translated():
            try:
                data = future.result(timeout=WORKERLESS)
            except KilledWorker:
                return None
            except (SuperduperError, CancelledError, OSError):
                raise
            except Exception as error:
                raise ModelError(
                    f"a dask worker cannot run models: {describe(error)}; "
                    "the same superduper and the model's packages must be installed there"
                ) from error
        return opened(data, batch, WHERE)

    def _cancel(self) -> None:
        """Of what is left in flight, when the caller goes away or is interrupted: nobody will ask for it."""
        if self._flight and self._session.client.status == "running":
            self._session.client.cancel(list(self._flight), force=True)
        self._flight.clear()
