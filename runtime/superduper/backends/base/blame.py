"""Finding the row that kills its worker: halves of its batch, run with nothing beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from superduper.backends.base.compute import Batch, Done


def halved(batch: Batch, alone: Callable[[Batch], Done | None], problem: str) -> Iterator[Done]:
    """The outcomes of a batch that may kill its worker; a row that does fails with ``problem``.

    ``alone`` runs a batch while nothing else is in flight, and gives None where its worker died of it.
    """
    done = alone(batch)
    if done is not None:
        yield done
    elif len(batch.keys) == 1:
        yield Done(batch.keys, [None], {0: problem}, 0.0)
    else:
        half = len(batch.keys) // 2
        yield from halved(batch.part(0, half), alone, problem)
        yield from halved(batch.part(half, len(batch.keys)), alone, problem)
