"""Running a model on a batch: a row that fails keeps its error and stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from superduper.backends.base.compute import Batch, Done, Outcome
from superduper.code import explain, pickled


class Predictor:
    """What a compute backend is given: the model's function, over batches."""

    def __init__(self, function: Callable[..., Any], batched: bool) -> None:
        self.function, self.batched = function, batched

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by value where the function is the user's own: a worker need not have the user's modules."""
        return _unpickled, (pickled((self.function, self.batched), self.function),)

    def __call__(self, batch: Batch) -> Done:
        """An outcome for each row, in order."""
        started = time.perf_counter()
        if self.batched and len(batch.keys) > 0:
            outcomes = self._lists(list(batch.keys), list(batch.args))
        else:
            outcomes = [self._one(key, args) for key, args in zip(batch.keys, batch.args, strict=True)]
        return Done(outcomes, time.perf_counter() - started)

    def _one(self, key: Any, args: tuple[tuple[Any, ...], dict[str, Any]]) -> Outcome:
        try:
            return Outcome(key, self.function(*args[0], **args[1]))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's model raises is the row's error
            return Outcome(key, error=explain(error))

    def _lists(self, keys: list[Any], args: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Outcome]:
        """The whole list at once; where that fails, halves of it, down to the rows that are at fault."""
        columns = [list(column) for column in zip(*(positional for positional, _ in args), strict=True)]
        named = {name: [by_name[name] for _, by_name in args] for name in args[0][1]}
        try:
            values = list(self.function(*columns, **named))
            if len(values) != len(keys):
                raise ValueError(f"the model gave {len(values)} outputs for {len(keys)} rows")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            if len(keys) == 1:
                return [Outcome(keys[0], error=explain(error))]
            half = len(keys) // 2
            return self._lists(keys[:half], args[:half]) + self._lists(keys[half:], args[half:])
        return [Outcome(key, value) for key, value in zip(keys, values, strict=True)]


def _unpickled(data: bytes) -> Predictor:
    import cloudpickle

    return Predictor(*cloudpickle.loads(data))
