"""What is compared: superduper, and the same job done by hand (the floor), behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]
Kind = Literal["pickle", "lazy pickle", "bytes", "lazy bytes", "int"]
"""What the column ``x`` holds, and whether its payload is read with the row."""
Compute = Literal["local", "ray"]


class System(ABC):
    """Tables of ``id`` and ``x`` below a folder."""

    def __init__(self, root: Path, backend: str) -> None:
        self.root, self.backend = root, backend

    @abstractmethod
    def open(self) -> None:
        """A fresh handle on what is there."""

    @abstractmethod
    def create(self, table: str, kind: Kind, key: Literal["str", "int"]) -> None:
        """An empty table."""

    @abstractmethod
    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """All in one call; the same rows may not be used again."""

    @abstractmethod
    def read(self, table: str) -> list[Row]:
        """All rows with their payloads."""

    @abstractmethod
    def read_keys(self, table: str, keys: Sequence[Any]) -> list[bytes]:
        """The payloads of some rows."""

    @abstractmethod
    def batches(self, table: str, size: int) -> Iterator[list[bytes]]:
        """All payloads, so many at a time."""

    @abstractmethod
    def listen(self, table: str, function: Callable[[int], int]) -> None:
        """Compute the function for each row and store the outputs."""

    @abstractmethod
    def insert_listened(self, table: str, row: Row) -> None:
        """One more row, and its output."""

    @abstractmethod
    def outputs(self) -> list[int]:
        """What was computed."""

    @abstractmethod
    def vectorise(self, table: str, function: Callable[[list[int]], list[int]], compute: Compute) -> None:
        """Prepare to compute the function over lists of rows; the rows that are there are done."""

    @abstractmethod
    def catch_up(self) -> None:
        """Compute what is missing, found by the database."""

    @abstractmethod
    def mapped(self, batches: Sequence[list[int]]) -> int:
        """The function over lists in memory: the sum of what came back."""

    @abstractmethod
    def close(self) -> None:
        """Let go."""


def system(name: str, root: Path, backend: str) -> System:
    """``ours``, ``floor`` (a file per payload) or ``inline`` (payloads in SQLite's rows)."""
    if name == "ours":
        from bench.ours import Ours

        return Ours(root, backend)
    from bench.floor import Files, Inline

    return (Inline if name == "inline" else Files)(root, backend)
