"""How many bytes all calls together may hold in memory; who comes beyond that is asked to come again.

Used from the event loop alone, so it has no lock.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from superduper.server.access import Busy

LIMIT = 384 << 20
"""Bytes by default. Large values take two to three times as much while a database stores them, and a server has 2 GiB."""
ROW = 512
"""Bytes that a row takes beside its values: what it is unpacked to, however short it was."""
FREE = 64 << 10
"""A body of so few bytes is not counted: the number of requests bounds them, and they keep no large one out."""


class Budget:
    """The bytes that are left."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.taken = limit, 0

    def hold(self) -> Held:
        """What one call will hold, none yet."""
        return Held(self)


class Held:
    """What one call holds; given back at the end of the ``with``."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._size = budget, 0

    def grow(self, size: int) -> None:
        """To so many bytes in all, or all that there are. Raises Busy where others hold too many."""
        size = min(size, self._budget.limit)
        if size <= max(FREE, self._size):
            return
        taken = self._budget.taken - self._size + size
        if taken > self._budget.limit:
            raise Busy(
                f"requests of {self._budget.taken >> 20} MiB are being answered, of {self._budget.limit >> 20} MiB that are "
                "held at a time, and this one has no room beside them; try again"
            )
        self._budget.taken, self._size = taken, size

    def free(self) -> None:
        """Give all back."""
        self._budget.taken -= self._size
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()
