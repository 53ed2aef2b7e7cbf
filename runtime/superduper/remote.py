"""A datalayer that is somewhere else: rows, artifacts and components by way of its server, models run there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from superduper.backends.http import records, values
from superduper.components.datatype import DataType
from superduper.components.model import Model
from superduper.datalayer import Datalayer
from superduper.errors import NotFound, StoreError, Unsupported
from superduper.jobs.predict import Coverage

if TYPE_CHECKING:
    from superduper.backends.base.artifacts import ArtifactStore
    from superduper.backends.base.compute import ComputeBackend
    from superduper.backends.base.metadata import JobRecord, MetaDataStore
    from superduper.backends.http.client import Server
    from superduper.backends.http.data_backend import HttpDataBackend
    from superduper.config import Settings

PART = "models"


class RemoteDatalayer(Datalayer):
    """What ``superduper('http://…')`` gives. Writes and ``apply`` return once they are recorded; what follows from them
    (training, predicting, measuring) is done by the server on its own. ``run`` waits for it.
    """

    def __init__(
        self,
        databackend: HttpDataBackend,
        *,
        artifact_store: ArtifactStore,
        metadata: MetaDataStore,
        compute: ComputeBackend,
        settings: Settings,
    ) -> None:
        self.server: Server = databackend.server
        if "hash" not in settings.model_fields_set:
            settings = settings.model_copy(update={"hash": self.server.greet()["hash"]})
        super().__init__(
            databackend,
            artifact_store=artifact_store,
            metadata=metadata,
            compute=compute,
            settings=settings,
            defer=True,
        )

    def predict(self, model: str | Model, *args: Any, **kwargs: Any) -> Any:
        """The output for one row's inputs, by a model of this datalayer, run by the server.

        Raises Unsupported for an input that is a file: insert a row with it, and predict that.
        """
        name = _name(model)
        self._fresh()
        self._refuse_files(name, args, kwargs)
        given = [values.packed(arg) for arg in args], {key: values.packed(arg) for key, arg in kwargs.items()}
        return values.unpacked(self.server.call(PART, "predict", name, *given))

    def _refuse_files(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found: Any = self._catalog.load("model", name)
        spec = found.predict_spec or found.training
        if spec is None:
            return
        try:
            fields = self._catalog.entry(spec.table).codec.schema.fields
        except NotFound:
            return
        chosen = [*spec.call.args[: len(args)], *(spec.call.kwargs.get(key) for key in kwargs)]
        for field in chosen:
            kind = fields.get(field) if field is not None else None
            if isinstance(kind, DataType) and kind.is_file:
                raise Unsupported(
                    f"model {name!r}: its input {field!r} is a file, and the server does not see files of this machine; "
                    "insert a row with it: the server predicts it, and db.run waits for that"
                )

    def validate(self, model: str | Model) -> dict[str, float]:
        """Measure a model by its ``validation``, on the server: the value of each metric."""
        self._fresh()
        return dict(self._last("validate", _name(model)))

    def run(self, listener: str, *, retry: bool = False, full: bool = False) -> list[JobRecord]:
        """Have the server train the model if it has to be, and compute a listener's missing outputs; waits until it is done.

        Where ``upkeep.progress`` is set, it is told of how far it is.
        """
        self._fresh()
        return [records.job(one) for one in self._last("run", listener, retry=retry, full=full)]

    def coverage(self, listener: str) -> Coverage:
        """Rows, results done, failed and pending."""
        self._fresh()
        return Coverage(*self.server.call(PART, "coverage", listener))

    def _last(self, method: str, name: str, **kwargs: Any) -> Any:
        """The result, which comes after the last word on how far it is."""
        items: Iterator[Any] = self.server.stream(PART, method, name, **kwargs)
        with closing(items):  # type: ignore[type-var]
            for kind, said in items:
                if kind == "result":
                    return said
                if self.upkeep.progress is not None:
                    self.upkeep.progress(name, *said)
        raise StoreError(f"{self.server.url} ended {method} of {name!r} without a result; try again")


def _name(model: str | Model) -> str:
    return model if isinstance(model, str) else model.identifier
