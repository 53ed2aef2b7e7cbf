"""What runs on a worker in another process: the model loaded once, a pickled batch in, the pickled outcomes out."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from superduper.backends.base.compute import Done, Outcome
from superduper.code import describe, pickled
from superduper.errors import CodeError

if TYPE_CHECKING:
    from superduper.backends.base.compute import Predict

KEPT = 4
"""Models that a worker keeps loaded, and that the driver keeps on the workers."""

_loading = Lock()
_loaded: OrderedDict[str, Predict] = OrderedDict()


def run_batch(where: str, digest: str, model: Callable[[], bytes], data: bytes) -> bytes:
    """Run a pickled batch, and give the pickled ``Done``; ``model`` fetches the pickled model where it is not loaded.

    ``where`` names the worker in messages. Raises CodeError where model or batch do not load here.
    """
    import cloudpickle

    predict = _model(where, digest, model)
    try:
        batch = cloudpickle.loads(data)
    except Exception as error:
        raise CodeError(
            f"the rows' values do not load on {where}: {describe(error)}; install what they are made of there"
        ) from error
    return _packed(where, predict(batch))


def readable(path: str) -> bool:
    """Whether this worker sees the file."""
    return os.access(path, os.R_OK)


def _model(where: str, digest: str, model: Callable[[], bytes]) -> Predict:
    import cloudpickle

    with _loading:
        if digest in _loaded:
            _loaded.move_to_end(digest)
            return _loaded[digest]
        data = model()
        try:
            _loaded[digest] = loaded = cloudpickle.loads(data)
        except Exception as error:
            raise CodeError(
                f"the model does not load on {where}: {describe(error)}; install what it imports there"
            ) from error
        while len(_loaded) > KEPT:
            _loaded.popitem(last=False)
        return loaded  # type: ignore[no-any-return]


def _packed(where: str, done: Done) -> bytes:
    """Pickled; an output that cannot be is its own row's error and no other's."""
    try:
        return pickled(done, *(outcome.value for outcome in done.outcomes))
    except CodeError:
        return pickled(Done([_sendable(where, outcome) for outcome in done.outcomes], done.seconds))


def _sendable(where: str, outcome: Outcome) -> Outcome:
    try:
        pickled(outcome.value)
    except CodeError as error:
        return Outcome(outcome.key, error=f"the output cannot be sent back from {where}: {error}")
    return outcome
