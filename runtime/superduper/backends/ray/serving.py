"""One pass of a model over batches, on the side of Ray: what a datalayer asks for is given to actors."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import ray

from superduper.backends.ray import wire
from superduper.backends.ray.pool import DEATHS, Pool, Slot
from superduper.backends.ray.wire import Message
from superduper.code import describe

TICK = 0.25
"""Seconds between looks whether whoever asked is still there."""
WORKERLESS = 300.0
"""Seconds without any worker: a cluster that scales from zero has to start one."""
GRACE = 1.0
"""Seconds that actors have to finish what nobody asks for any more; then they are ended."""


class Gone(Exception):
    """Whoever asked is not there any more."""


class Serving:
    """Serves one connection until its other side closes it."""

    def __init__(self, connection: Connection, pool: Pool) -> None:
        self._connection, self._pool = connection, pool
        self._digest, self._model = "", None
        self._size = 1
        self._flight: dict[Any, tuple[int, Slot]] = {}

    def run(self) -> None:
        """Answer until there is nobody to answer. Ends this program where Ray itself fails: its client is of no more use."""
        try:
            while True:
                answer = self._answered(wire.receive(self._connection))
                if answer is not None:
                    wire.send(self._connection, answer)
        except (Gone, EOFError, BrokenPipeError, ConnectionResetError):
            self._guarded(self._cancel)
        except BaseException as error:  # noqa: BLE001 - whatever it is, whoever asks must learn of it
            self._end(error)
        finally:
            self._connection.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - as above
            self._end(error)

    def _end(self, error: BaseException) -> NoReturn:
        sys.stderr.write(f"{describe(error)}\n")
        sys.stderr.flush()
        os._exit(1)

    def _answered(self, message: Message) -> Message | None:
        match message.word:
            case "begin":
                self._digest, self._size = message.text, self._pool.size
                known = self._pool.knows(self._digest)
                if known:
                    self._model = self._pool.model(self._digest)
                return Message("known", self._size, "yes" if known else "")
            case "model":
                self._pool.keep(self._digest, message.data)
                self._model = self._pool.model(self._digest)
            case "batch":
                reference, slot = self._pool.submit(self._digest, self._model, message.data, self._size)
                self._flight[reference] = message.number, slot
            case "alone":
                return self._alone(message)
            case "next":
                return self._next()
            case "folder":
                return self._folder(message.text)
        return None

    def _next(self) -> Message:
        """The next batch that is done, or whose worker died."""
        reference = self._first()
        if reference is None:
            return Message("idle")
        number, slot = self._flight.pop(reference)
        self._pool.done(slot)
        answer = _outcome(reference, number)
        if answer.word == "died":
            self._pool.drop(slot)
        return answer

    def _alone(self, message: Message) -> Message:
        """Run a batch in an actor of its own, which ends with it."""
        slot = self._pool.alone()
        try:
            reference = slot.actor.run.remote(self._digest, [self._model], message.data)
            self._flight[reference] = message.number, slot
            if self._first() is None:
                return Message("idle")
            del self._flight[reference]
            return _outcome(reference, message.number)
        finally:
            ray.kill(slot.actor)

    def _first(self) -> Any:
        """A reference to what is done; None where no worker has been there for too long. Raises Gone."""
        waiting = list(self._flight)
        begun = time.monotonic()
        while True:
            found, _ = ray.wait(waiting, num_returns=1, timeout=TICK)
            if found:
                return found[0]
            if self._connection.poll(0):
                raise Gone
            if self._has_worker():
                begun = time.monotonic()
            elif time.monotonic() - begun > WORKERLESS:
                return None

    def _has_worker(self) -> bool:
        """Whether any of the actors that are waited for is there."""
        slots = {slot for _, slot in self._flight.values()}
        for slot in slots:
            slot.begun = slot.begun or bool(ray.wait([slot.ready], timeout=0)[0])
        return any(slot.begun for slot in slots)

    def _folder(self, path: str) -> Message:
        try:
            return Message("done", text=json.dumps(self._pool.sees(path, WORKERLESS)))
        except ray.exceptions.GetTimeoutError:
            return Message("idle")
        except ray.exceptions.RayError as error:
            return Message("wrong", text=describe(error))

    def _cancel(self) -> None:
        """What is left in flight, when whoever asked goes away or is interrupted, nobody will ask for.

        Ray interrupts no actor: those that take too long with it are ended.
        """
        end = time.monotonic() + GRACE
        for reference, (_, slot) in self._flight.items():
            done, _ = ray.wait([reference], timeout=max(0.0, end - time.monotonic()))
            self._pool.done(slot)
            if not done or _outcome(reference, 0).word == "died":
                self._pool.drop(slot)
        self._flight.clear()


def _outcome(reference: Any, number: int) -> Message:
    try:
        word, data = ray.get(reference)
    except DEATHS:
        return Message("died", number)
    except ray.exceptions.RayTaskError as error:
        return Message("wrong", number, describe(error.cause or error))
    except ray.exceptions.RayError as error:
        return Message("wrong", number, describe(error))
    return Message(word, number, data.decode() if word == "code" else "", b"" if word == "code" else data)
