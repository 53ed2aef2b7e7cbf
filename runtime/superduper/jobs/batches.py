"""How many rows go into a batch: found out while running."""

from __future__ import annotations

from dataclasses import dataclass

TARGET_SECONDS = 0.05
"""A batch of the model's own time: what a kill can lose, against the cost of writing a batch back."""
SMALLEST, LARGEST = 16, 4096


@dataclass(slots=True)
class BatchSize:
    """``rows`` for the next batch: doubles while a batch takes less than the target, shrinks when it takes more."""

    fixed: int | None = None
    rows: int = SMALLEST

    def __post_init__(self) -> None:
        if self.fixed is not None:
            self.rows = self.fixed

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a batch."""
        if self.fixed is not None or rows < self.rows:
            return
        if seconds < TARGET_SECONDS / 2:
            self.rows = min(self.rows * 4, LARGEST)
        elif seconds > TARGET_SECONDS * 2:
            self.rows = max(1, int(self.rows * TARGET_SECONDS / seconds))
