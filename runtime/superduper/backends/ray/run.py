"""One pass of a model over batches, on the side of the datalayer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha1
from typing import NoReturn

from superduper.backends.base.blame import halved
from superduper.backends.base.compute import Batch, Done, Predict
from superduper.backends.base.worker import opened, packed
from superduper.backends.ray import wire
from superduper.backends.ray.program import Program
from superduper.backends.ray.wire import Message
from superduper.backends.ray.worker import WHERE
from superduper.code import pickled
from superduper.errors import CodeError, ModelError, Unreachable

IN_FLIGHT = 4
"""Batches that are held at once in any case: the payloads of each fit a quarter of the budget."""
AHEAD = 2
"""Batches for each worker, where they fit the budget together: one that is run and one that waits."""
DEATHS = 3
"""Workers that have to die of one row: a machine may go away just then."""
FATAL = (
    f"{DEATHS} ray workers that ran this row died of it; it may take more memory than a worker has, or end its process"
)


class Run:
    """Keeps a few batches in flight; gives each back as it is done."""

    def __init__(self, program: Program, predict: Predict, budget: int) -> None:
        self._program, self._budget = program, budget
        data = pickled(predict)
        self._connection = program.connection()
        self._flight: dict[int, tuple[Batch, int]] = {}
        self._count = self._bytes = self._largest = 0
        try:
            self._say(Message("begin", text=sha1(data, usedforsecurity=False).hexdigest()))
            answer = self._hear()
            self._workers = answer.number
            if not answer.text:
                self._say(Message("model", data=data))
        except BaseException:
            self._connection.close()
            raise

    def over(self, batches: Iterable[Batch]) -> Iterator[Done]:
        """Batches as they are done, in any order.

        A batch whose worker died is set apart, and halves of it are run with nothing beside them, until the row at fault
        is known.
        """
        waiting = iter(batches)
        suspects: list[Batch] = []
        try:
            while True:
                while not suspects and self._has_room() and (batch := next(waiting, None)) is not None:
                    self._start(batch)
                if self._flight:
                    self._say(Message("next"))
                    answer = self._hear()
                    batch, size = self._flight.pop(answer.number)
                    self._bytes -= size
                    if answer.word == "died":
                        suspects.append(batch)
                    else:
                        yield opened(answer.data, batch, WHERE)
                elif suspects:
                    yield from halved(suspects.pop(), self._alone, FATAL)
                else:
                    return
        finally:
            # What is left in flight is cancelled.
            self._connection.close()

    def _has_room(self) -> bool:
        held = len(self._flight)
        fits = self._bytes + self._largest <= self._budget
        return held < IN_FLIGHT or (held < AHEAD * self._workers and fits)

    def _start(self, batch: Batch) -> None:
        data = packed(batch)
        self._count += 1
        self._flight[self._count] = batch, len(data)
        self._bytes, self._largest = self._bytes + len(data), max(self._largest, len(data))
        self._say(Message("batch", self._count, data=data))

    def _alone(self, batch: Batch) -> Done | None:
        """Run a batch that may kill its worker: nothing else is in flight, so what dies, dies of it."""
        data = packed(batch)
        for _ in range(DEATHS if len(batch.keys) == 1 else 1):
            self._count += 1
            self._say(Message("alone", self._count, data=data))
            answer = self._hear()
            if answer.word != "died":
                return opened(answer.data, batch, WHERE)
        return None

    def _say(self, message: Message) -> None:
        try:
            wire.send(self._connection, message)
        except OSError as error:
            raise self._program.lost(error) from error

    def _hear(self) -> Message:
        try:
            answer = wire.receive(self._connection)
        except (OSError, EOFError) as error:
            raise self._program.lost(error) from error
        if answer.word in ("code", "wrong", "idle"):
            refuse(answer, self._program.address)
        return answer


def refuse(answer: Message, address: str) -> NoReturn:
    """The error that an answer says."""
    if answer.word == "code":
        raise CodeError(answer.text)
    if answer.word == "wrong":
        raise ModelError(
            f"a ray worker cannot run models: {answer.text}; "
            "the same superduper and the model's packages must be installed there"
        )
    raise Unreachable(f"the ray cluster at {address} has had no free processor for a worker for too long; add a node")
