"""Training: a model is fitted to rows and kept as an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from superduper import code
from superduper.backends import registry
from superduper.document import unpack_all
from superduper.errors import ModelError, SuperduperError
from superduper.jobs import reading
from superduper.jobs.reading import Rows
from superduper.jobs.stores import Stores

if TYPE_CHECKING:
    from superduper.api.v1alpha1.model import Artifact, Training


def columns(stores: Stores, rows: Rows, names: list[str]) -> list[list[Any]]:
    """The values of each field over all rows that pass, lazy ones loaded."""
    found: list[list[Any]] = [[] for _ in names]
    for batch in reading.plain_rows(stores, rows, names):
        for values in unpack_all(rows.codec.decode(batch, stores.source)):
            for column, name in zip(found, names, strict=True):
                column.append(values.get(name))
    return found


def train(name: str, training: Training, stores: Stores, rows: Rows) -> tuple[bytes, int] | None:
    """Pickled fitted model and how many rows it saw; None where there is no row. Raises ModelError."""
    inputs = training.call
    fields = [*inputs.args, *inputs.kwargs.values()]
    wanted = [*fields, *([training.target] if training.target else [])]
    data = columns(stores, rows, wanted)
    seen = len(data[0])
    if seen == 0:
        return None
    function = code.load(training.object, stores.artifacts.get, where=f"Model {name!r} training.object")
    positional = data[: len(inputs.args)]
    named = dict(zip(inputs.kwargs, data[len(inputs.args) : len(fields)], strict=True))
    targets = data[len(fields) :]
    try:
        fitted = function(*positional, *targets, **named)
    except (Exception, SystemExit) as error:
        raise ModelError(f"model {name!r}: training on {seen} rows raised {code.explain(error)}") from error
    if fitted is None:
        raise ModelError(f"model {name!r}: training.object returned None; it must return the fitted model")
    return code.pickled(fitted), seen


def fetch(name: str, artifact: Artifact) -> bytes:
    """The bytes of a fitted model that is kept as a file: ``file://`` or an artifact store's URI. Raises ModelError."""
    uri = artifact.uri
    try:
        if uri.startswith("file:"):
            return Path(unquote(uri.removeprefix("file://").removeprefix("file:"))).read_bytes()
        folder, _, key = uri.rpartition("/")
        store = registry.artifact_store(folder)
        try:
            return store.get(key)
        finally:
            store.close()
    except (OSError, KeyError, SuperduperError) as error:
        raise ModelError(f"model {name!r}: artifact.uri {uri!r} cannot be read: {code.describe(error)}") from error
