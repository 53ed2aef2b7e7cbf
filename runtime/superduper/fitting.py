"""Models fitted and measured: training, validation, and rows pinned for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from superduper.backends.base.metadata import ComponentKey
from superduper.catalog import FITTED, Catalog, Entry, Fitted
from superduper.components.dataset import Dataset
from superduper.components.metric import Metric, ready
from superduper.components.model import Model
from superduper.errors import ModelError, NotFound
from superduper.fingerprint import sha1
from superduper.jobs import train, validate
from superduper.jobs.predict import Report
from superduper.jobs.predictor import Predictor
from superduper.jobs.reading import Rows
from superduper.query.parse import parse_filter
from superduper.runs import Runs, Tell

if TYPE_CHECKING:
    from superduper.api.v1alpha1.model import Training
    from superduper.jobs.stores import Stores


class Fitting:
    """Fits and measures the models of one datalayer."""

    def __init__(self, stores: Stores, catalog: Catalog, runs: Runs) -> None:
        self.stores, self.catalog, self.runs = stores, catalog, runs

    def train(self, model: Model, *, again: bool = False) -> bool:
        """Fit the model, or fetch its artifact, unless that is done for what it is now. False where nothing was done.

        Where its table has no row yet it stays as it is. Raises ModelError.
        """
        if model.fitted is not None and not again:
            return False
        if model.training is None and model.artifact is None:
            return False
        if model.training is not None and not self._has_rows(model.training):
            return False
        with self.runs.lock(f"train:{model.identifier}"):
            # Another process may have done it while this one waited.
            known = None if again else self.catalog.fitted_id(model.identifier, model.makes())
            if known is not None:
                model.fitted = Fitted(self.stores.artifacts.get, known, model.identifier)
                return False
            report, _ = self.runs.job("train", model, lambda _: self._fit(model), announce=model.training is not None)
        self.catalog.fresh()
        return report.done > 0

    def _has_rows(self, training: Training) -> bool:
        rows = self.catalog.rows(training.table, training.filter)
        return any(batch for batch in self.stores.databackend.select(rows.table, rows.select((), limit=1)))

    def _fit(self, model: Model) -> Report:
        if model.training is not None:
            rows = self.catalog.rows(model.training.table, model.training.filter)
            made = train.train(model.identifier, model.training, self.stores, rows)
        else:
            assert model.artifact is not None
            made = train.fetch(model.identifier, model.artifact), 1
        if made is None:
            return Report()
        data, seen = made
        with self.stores.artifacts.writing() as writer:
            identifier = writer.put(data)
            writer.flush()
            makes = model.makes()
            record, _ = self.stores.metadata.add_component(
                FITTED, model.identifier, digest=f"{makes}:{identifier}",
                spec={"makes": makes, "rows": seen, "artifact": identifier}, artifacts=[identifier],
                children=[ComponentKey("model", model.identifier, model.version or 0)],
            )  # fmt: skip
        model.fitted = Fitted(self.stores.artifacts.get, record.artifacts[0], model.identifier)
        return Report(done=seen)

    def validate(self, model: Model) -> dict[str, Any]:
        """Measure the model; the result is kept in its status. Raises ModelError."""
        spec = model.validation
        if spec is None:
            raise ModelError(f"model {model.identifier!r} has no validation: give table, target and metrics")
        inputs = spec.call or (model.predict_spec or model.training).call  # type: ignore[union-attr]
        metrics = {}
        for metric in spec.metrics:
            if isinstance(metric, str):
                metrics[metric] = self._metric(metric)
            else:
                metrics[metric.name] = Metric(metric.name, metric.object, fetch=self.stores.artifacts.get)
        entry = self.catalog.entry(spec.table)
        rows = Rows(entry.table, entry.codec, parse_filter(spec.filter))
        pinned = None if spec.dataset is None else self._pinned(spec.dataset, entry, spec.filter)
        predictor = Predictor(*model.function())
        found: dict[str, float] = {}

        def measure(_: Tell) -> Report:
            values, seen, failed = validate.validate(
                model.identifier, predictor, self.stores.on(model.compute), rows, inputs, spec.target, metrics, pinned
            )
            found.update(values)
            return Report(done=seen, failed=failed)

        report, _ = self.runs.job("validate", model, measure, announce=True)
        return {"metrics": found, "rows": report.done, "failed": report.failed, "dataset": spec.dataset}

    def measured(self, model: Model) -> str:
        """Hash of what a validation now would be about: another one than that of the last says that it is outdated."""
        spec = model.validation
        if spec is None:
            return ""
        rows = None
        if spec.dataset is None:
            entry = self.catalog.entry(spec.table)
            rows = self.stores.databackend.count(entry.table, parse_filter(spec.filter))
        fitted = getattr(model.fitted, "identifier", None)
        facts = [model.makes(), fitted, spec.model_dump(mode="json", exclude_none=True), rows]
        return sha1(json.dumps(facts, sort_keys=True).encode())

    def _metric(self, name: str) -> Any:
        try:
            return self.catalog.load("metric", name)
        except NotFound:
            return ready(name)

    def _pinned(self, name: str, entry: Entry, filter: Any) -> bytes:
        try:
            dataset = self.catalog.load("dataset", name)
        except NotFound:
            dataset = Dataset(name, table=entry.table.name, filter=filter)
            self.snapshot(dataset)
        assert isinstance(dataset, Dataset)
        assert dataset.snapshot is not None
        return self.stores.artifacts.get(dataset.snapshot)

    def snapshot(self, dataset: Dataset) -> None:
        """Take the rows of a dataset and record it, unless it is there already."""
        try:
            known = self.catalog.load("dataset", dataset.identifier)
        except NotFound:
            known = None
        if known is not None and known.digest() == dataset.digest():
            dataset.snapshot, dataset.version = known.snapshot, known.version  # type: ignore[attr-defined]
            return
        rows = self.catalog.rows(dataset.table, dataset.filter)
        with self.stores.artifacts.writing() as writer:
            writer.hold()
            data, ids, _ = validate.snapshot(self.stores, rows)
            dataset.snapshot = writer.put(data)
            writer.flush()
            record, _ = self.stores.metadata.add_component(
                dataset.type_id, dataset.identifier, digest=dataset.digest(),
                spec=dataset.spec().model_dump(mode="json", by_alias=True, exclude_none=True),
                artifacts=[dataset.snapshot, *ids],
            )  # fmt: skip
        dataset.version = record.version
