"""What runs on a worker in another process: the model loaded once, a pickled batch in, the pickled outcomes out.

Keys do not travel: rows come back in the order in which they went.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from superduper.backends.base.compute import Batch, Done
from superduper.code import describe, pickled
from superduper.errors import CodeError

if TYPE_CHECKING:
    from superduper.backends.base.compute import Predict

KEPT = 4
"""Models that a worker keeps loaded, and that the driver keeps on the workers."""

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, datetime})
"""What every process can load."""

_loading = Lock()
_loaded: OrderedDict[str, Predict] = OrderedDict()


def packed(batch: Batch) -> bytes:
    """A batch as it is sent. Raises CodeError."""
    columns = [*batch.args, *batch.kwargs.values()]
    holders = [value for column in columns for value in _holders(column)]
    return pickled((len(batch.keys), batch.args, batch.kwargs), *(holders or [None]))


def opened(data: bytes, batch: Batch, where: str) -> Done:
    """What came back of a batch. Raises CodeError where outputs do not load here."""
    import cloudpickle

    try:
        values, errors, seconds = cloudpickle.loads(data)
    except Exception as error:
        raise CodeError(
            f"outputs from {where} do not load here: {describe(error)}; install what they are made of"
        ) from error
    return Done(batch.keys, values, errors, seconds)


def run_batch(where: str, digest: str, model: Callable[[], bytes], data: bytes) -> bytes:
    """Run a pickled batch, and give the pickled ``Done``; ``model`` fetches the pickled model where it is not loaded.

    ``where`` names the worker in messages. Raises CodeError where model or batch do not load here.
    """
    import cloudpickle

    predict = _model(where, digest, model)
    try:
        rows, args, kwargs = cloudpickle.loads(data)
    except Exception as error:
        raise CodeError(
            f"the rows' values do not load on {where}: {describe(error)}; install what they are made of there"
        ) from error
    return _packed(where, predict(Batch(range(rows), args, kwargs)))


def _holders(values: Iterable[Any]) -> list[Any]:
    """Values whose classes may be the user's own."""
    if _PLAIN.issuperset(map(type, values)):
        return [None]
    return [value for value in values if type(value) not in _PLAIN]


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
        return pickled((done.values, done.errors, done.seconds), *_holders(done.values))
    except CodeError:
        values, errors = list(done.values), dict(done.errors)
        for at, value in enumerate(values):
            try:
                pickled(value)
            except CodeError as error:
                values[at], errors[at] = None, f"the output cannot be sent back from {where}: {error}"
        return pickled((values, errors, done.seconds), *_holders(values))
