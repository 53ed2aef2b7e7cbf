"""The seam to compute: batches of plain Python values in, outputs or errors back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Key = Any


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to predict: their keys and, for each, the model's arguments by name or position."""

    keys: Sequence[Key]
    args: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    size: int = 0
    """Bytes of the payloads, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row: a value, or the error's text."""

    key: Key
    value: Any = None
    error: str | None = None


Predict = Callable[[Batch], list[Outcome]]
"""Picklable with cloudpickle; loads its model on first use and keeps it."""


class ComputeBackend(ABC):
    """Where models run."""

    uri: str

    @abstractmethod
    def map(self, predict: Predict, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
        """Outcomes, a list a batch, as they come, in any order; pulls only as many batches as it can hold."""

    @abstractmethod
    def close(self) -> None:
        """Stop what it started."""
