"""Compute in this process: the default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from superduper.backends.base.compute import Batch, ComputeBackend, Done, Predict


class LocalComputeBackend(ComputeBackend):
    """Runs each batch where it stands, one after the other; holds one batch at a time."""

    uri = "local"

    def map(self, predict: Predict, batches: Iterable[Batch]) -> Iterator[Done]:
        for batch in batches:
            yield predict(batch)

    def close(self) -> None:
        """Nothing was started."""

    def __repr__(self) -> str:
        return f"<superduper.backends.local.LocalComputeBackend {id(self):#x}>"
