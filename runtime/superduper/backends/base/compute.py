"""The seam to compute: batches of plain Python values in, outputs or errors back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Key = Any


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to predict: their keys and, for each of the model's arguments by position and by name, the rows' values.

    The payloads of one batch fit a quarter of the budget in bytes: four may be in flight.
    """

    keys: Sequence[Key]
    args: Sequence[Sequence[Any]]
    kwargs: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> Batch:
        """The rows from one position to before another."""
        kwargs = {name: column[start:stop] for name, column in self.kwargs.items()}
        return Batch(self.keys[start:stop], [column[start:stop] for column in self.args], kwargs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row: a value, or the error's text."""

    key: Key
    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A batch that was run: a value for each row, in order, or (``errors``, by position) its error's text.

    ``seconds``: what the model itself took, where it ran.
    """

    keys: Sequence[Key]
    values: Sequence[Any]
    errors: Mapping[int, str]
    seconds: float

    @property
    def outcomes(self) -> list[Outcome]:
        """The same by rows."""
        errors = self.errors
        return [Outcome(key, self.values[at], errors.get(at)) for at, key in enumerate(self.keys)]


Predict = Callable[[Batch], Done]
"""Picklable with cloudpickle, by value where the code is the user's own."""


class ComputeBackend(ABC):
    """Where models run."""

    uri: str
    elsewhere: bool = False
    """Whether models run in other processes: files are then given by their absolute paths."""
    budget: int = 256 << 20
    """Bytes of payload that may be in flight at once; whoever opens it sets its own."""

    @abstractmethod
    def map(self, predict: Predict, batches: Iterable[Batch]) -> Iterator[Done]:
        """Batches as they are done, in any order; pulls only as many as it can hold."""

    def check_folder(self, folder: Path) -> None:
        """Raises ModelError where models would not see the files that are copied out to this folder."""
        return  # in this process they do

    @abstractmethod
    def close(self) -> None:
        """Stop what it started."""
