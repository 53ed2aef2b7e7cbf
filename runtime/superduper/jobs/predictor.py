"""Running a model on a batch: a row that fails keeps its error and stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from superduper.backends.base.compute import Batch, Done
from superduper.code import explain, pickled


class Predictor:
    """What a compute backend is given: the model's function, over batches."""

    def __init__(self, function: Callable[..., Any], batched: bool) -> None:
        self.function, self.batched = function, batched

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by value where the function is the user's own: a worker need not have the user's modules."""
        return _unpickled, (pickled((self.function, self.batched), self.function),)

    def __call__(self, batch: Batch) -> Done:
        """A value or an error for each row, in order."""
        started = time.perf_counter()
        errors: dict[int, str] = {}
        if self.batched and len(batch.keys) > 0:
            values = self._lists(batch, 0, errors)
        else:
            values = self._one_by_one(batch, errors)
        return Done(batch.keys, values, errors, time.perf_counter() - started)

    def _one_by_one(self, batch: Batch, errors: dict[int, str]) -> list[Any]:
        values: list[Any] = []
        names, count = list(batch.kwargs), len(batch.args)
        for at, row in enumerate(zip(*batch.args, *batch.kwargs.values(), strict=True)):
            values.append(self._one(at, row[:count], dict(zip(names, row[count:], strict=True)), errors))
        return values

    def _one(self, at: int, args: tuple[Any, ...], kwargs: dict[str, Any], errors: dict[int, str]) -> Any:
        try:
            return self.function(*args, **kwargs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's model raises is the row's error
            errors[at] = explain(error)
            return None

    def _lists(self, batch: Batch, start: int, errors: dict[int, str]) -> list[Any]:
        """The whole list at once; where that fails, halves of it, down to the rows that are at fault."""
        rows = len(batch.keys)
        try:
            values = list(self.function(*map(list, batch.args), **{k: list(v) for k, v in batch.kwargs.items()}))
            if len(values) != rows:
                raise ValueError(f"the model gave {len(values)} outputs for {rows} rows")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            if rows == 1:
                errors[start] = explain(error)
                return [None]
            half = rows // 2
            first = self._lists(batch.part(0, half), start, errors)
            return first + self._lists(batch.part(half, rows), start + half, errors)
        return values


def _unpickled(data: bytes) -> Predictor:
    import cloudpickle

    return Predictor(*cloudpickle.loads(data))
