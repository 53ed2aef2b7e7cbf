"""What runs on a dask worker."""

from __future__ import annotations

from superduper.backends.base.worker import run_batch as run

WHERE = "a dask worker"


def hold(data: bytes) -> bytes:
    """The pickled model, as a task of its own: dask brings it to a worker once, and makes it again if it is lost."""
    return data


def run_batch(digest: str, model: bytes, data: bytes) -> bytes:
    """Run a pickled batch, and give the pickled ``Done``. Raises CodeError where either does not load here."""
    return run(WHERE, digest, lambda: model, data)
