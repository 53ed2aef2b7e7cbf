"""Keeping outputs up to date: which listeners a write concerns, training, predicting and validating them."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from superduper.backends.base.metadata import ComponentKey, JobRecord
from superduper.catalog import FITTED, Catalog, Entry, Fitted
from superduper.code import describe
from superduper.components.dataset import Dataset
from superduper.components.listener import OUTPUTS, Listener
from superduper.components.metric import Metric, ready
from superduper.components.model import Model
from superduper.components.schema import Schema, infer
from superduper.errors import ModelError, NotFound, SuperduperError
from superduper.jobs import ledger as ledgers
from superduper.jobs import predict, train, validate
from superduper.jobs.ledger import Ledger
from superduper.jobs.predict import Coverage, Report, Task
from superduper.jobs.predictor import Predictor
from superduper.jobs.reading import Rows
from superduper.query.ast import And, Compare
from superduper.query.parse import parse_filter

if TYPE_CHECKING:
    from superduper.components.datatype import DataType
    from superduper.jobs.stores import Stores

Progress = Callable[[str, int, int, int], None]
"""Called with a model's name, rows done, rows failed and rows in all."""

LOCK_SECONDS = 10.0


class Upkeep:
    """Runs models where rows, code or settings have changed."""

    def __init__(self, stores: Stores, catalog: Catalog) -> None:
        self.stores, self.catalog = stores, catalog
        self.progress: Progress | None = None

    # What a listener needs

    def rows(self, table: str, filter: Any) -> Rows:
        """The rows of a table that pass a filter document."""
        entry = self.catalog.entry(table)
        chosen = parse_filter(filter)
        if entry.component is None:
            # Outputs of another model: only what can be read.
            chosen = And((Compare("_state", "eq", ledgers.DONE), chosen))
        return Rows(entry.table, entry.codec, chosen)

    def key(self, listener: Listener) -> str:
        """What its results are made by: the model's content, its fitted artifact, the inputs and the output type."""
        model = listener.model
        fitted = model.fitted.identifier if isinstance(model.fitted, Fitted) else None
        output = None if listener.datatype is None else _digest(listener.datatype)
        content = [model.makes(), fitted, listener.inputs.args, sorted(listener.inputs.kwargs.items()), output]
        return hashlib.sha1(json.dumps(content).encode(), usedforsecurity=False).hexdigest()[:16]

    def ledger(self, listener: Listener) -> Ledger | None:
        """The outputs' table, where there is one."""
        try:
            entry = self.catalog.entry(listener.outputs_table)
        except NotFound:
            return None
        return Ledger(self.stores.databackend, entry.table, entry.codec)

    def open_ledger(self, listener: Listener, values: list[Any]) -> Ledger:
        """Make the outputs' table: of the declared type, or of one that the values fit."""
        source = self.catalog.entry(listener.predict.table)
        output: DataType | str | None = listener.datatype
        if output is None:
            output = infer("outputs", [{"output": value} for value in values], "").fields.get("output", "json")
        schema = ledgers.schema(listener.identifier, source.table.columns[0].type, output)
        known = self.ledger(listener)
        if (
            known is not None
            and known.codec.schema.digest() != schema.digest()
            and known.codec.schema.fields["output"] != output
        ):
            self.stores.databackend.drop_table(known.table.name)
        # The table first: a schema without its table would be an error at every turn, a table without one is nothing.
        self.stores.databackend.create_table(schema.table(schema.identifier, ledgers.SOURCE))
        self._record_schema(schema)
        self.catalog.fresh()
        made = self.ledger(listener)
        assert made is not None
        return made

    def _record_schema(self, schema: Schema) -> None:
        children = [self.catalog.record(child)[0].key for child in schema.children()]
        self.catalog.record(schema, children)

    def task(self, listener: Listener) -> Task:
        """Ready to run. Raises ModelError where the model is not trained, CodeError where its code does not load."""
        function, batched = listener.model.function(listener.predict.batched)
        size = listener.predict.batch_size
        return Task(
            name=listener.model.identifier,
            rows=self.rows(listener.predict.table, listener.predict.filter),
            inputs=listener.inputs,
            key=self.key(listener),
            predictor=Predictor(function, batched),
            ledger=self.ledger(listener),
            open_ledger=lambda values: self.open_ledger(listener, values),
            batch_size=size if isinstance(size, int) else None,
            downstream=tuple(
                ledger for each in self.catalog.listeners(listener.outputs_table) if (ledger := self.ledger(each))
            ),
        )

    def _infer_again(self, listener: Listener, task: Task) -> Task:
        """Where nobody said what outputs are, another model may give others: look at the first of them."""
        from dataclasses import replace

        if listener.datatype is not None or task.ledger is None or task.ledger.has(task.key):
            return task
        return replace(task, ledger=None)

    # Running

    def run(self, listener: Listener, keys: Sequence[Any] | None = None) -> list[JobRecord]:
        """Compute what is missing; then the listeners on its outputs. Gives the jobs that did anything."""
        from dataclasses import replace

        if listener.model.suspend or not self._is_trained(listener.model):
            return []
        if keys is None and self.is_current(listener):
            return []
        dependents = self.catalog.listeners(listener.outputs_table)
        task = self._infer_again(listener, self.task(listener))
        if keys is None:
            total = self.coverage(listener).pending
            if self.progress is not None and total:
                tell, name = self.progress, listener.identifier
                task = replace(task, progress=lambda report: tell(name, report.done, report.failed, total))
            with self._lock(f"predict:{listener.identifier}"):
                self._close_interrupted(listener.model.identifier)
                report, job = self._job(
                    "predict", listener.model, lambda: predict.run(task, self.stores), announce=total > 0
                )
        else:
            report, job = self._job("predict", listener.model, lambda: predict.run(task, self.stores, keys))
        jobs = [job] if report.done or report.kept else []
        for dependent in dependents:
            if dependent.predict.trigger == "OnChange":
                jobs += self._run_after(dependent, keys)
        return jobs

    def _run_after(self, listener: Listener, keys: Sequence[Any] | None) -> list[JobRecord]:
        """Run it on rows that are written already: that it fails is its job's failure, not the write's."""
        try:
            return self.run(listener, keys)
        except SuperduperError as error:
            now, model = datetime.now(UTC), listener.model
            message = describe(error)
            job = JobRecord(
                str(uuid.uuid4()), "predict", model.identifier, model.version or 0, "Failed", now, now, 0, 0, message
            )
            self.stores.metadata.put_job(job)
            return [job]

    def is_current(self, listener: Listener) -> bool:
        """Whether every row has a current result: asked of the database, without loading the model."""
        ledger = self.ledger(listener)
        if ledger is None:
            return False
        rows, current = self.rows(listener.predict.table, listener.predict.filter), ledger.current(self.key(listener))
        return not any(self.stores.databackend.missing(rows.table, rows.filter, ledger.table, current, batch=1))

    def _is_trained(self, model: Model) -> bool:
        return model.fitted is not None or (model.training is None and model.artifact is None)

    def _job(
        self,
        kind: Literal["predict", "train", "validate"],
        model: Model,
        run: Callable[[], Report],
        *,
        announce: bool = False,
    ) -> tuple[Report, JobRecord]:
        """Run and record it; ``announce`` records it as running first, where others may want to see it."""
        from dataclasses import replace

        job = JobRecord(str(uuid.uuid4()), kind, model.identifier, model.version or 0, "Running", datetime.now(UTC))
        if announce:
            self.stores.metadata.put_job(job)
        try:
            report = run()
        except Exception as error:
            if announce:
                failed = replace(job, phase="Failed", finished=datetime.now(UTC), message=describe(error))
                self.stores.metadata.put_job(failed)
            raise
        job = replace(job, phase="Succeeded", finished=datetime.now(UTC), rows=report.done, failed=report.failed)
        if announce or report.done:
            self.stores.metadata.put_job(job)
        return report, job

    def _close_interrupted(self, model: str) -> None:
        """Jobs that run while nobody else holds the lock were killed."""
        from dataclasses import replace

        for job in self.stores.metadata.jobs(model, limit=20):
            if job.phase == "Running" and job.kind == "predict":
                self.stores.metadata.put_job(
                    replace(job, phase="Failed", finished=datetime.now(UTC), message="interrupted")
                )

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """One whole run of a listener at a time, over all processes; kept alive while it runs.

        Waits for as long as another process keeps it. Should it lapse all the same (a frozen process, a lost metadata
        store), two do the same work: results are upserts, so that is slower and not wrong.
        """
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
        while not self.stores.metadata.acquire(name, owner, LOCK_SECONDS):
            time.sleep(0.1)
        done = threading.Event()

        def keep() -> None:
            while not done.wait(LOCK_SECONDS / 4):
                with suppress(SuperduperError):
                    self.stores.metadata.acquire(name, owner, LOCK_SECONDS)

        keeper = threading.Thread(target=keep, name=f"superduper {name}", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            self.stores.metadata.release(name, owner)

    # What a write does

    def inserted(self, table: str, keys: Sequence[Any]) -> list[JobRecord]:
        """Predict new rows."""
        listeners = self.catalog.listeners(table)
        # A row of that key may have been there before, and gone past us: its results are not the new row's.
        self.mark(listeners, keys)
        return [
            job
            for listener in listeners
            if listener.predict.trigger == "OnChange"
            for job in self._run_after(listener, keys)
        ]

    def concerned(self, table: str, fields: frozenset[str] | None = None) -> list[Listener]:
        """Listeners whose inputs or filter read one of these fields (None: any)."""
        found = self.catalog.listeners(table)
        return found if fields is None else [listener for listener in found if fields & self._reads(listener)]

    def _reads(self, listener: Listener) -> set[str]:
        from superduper.query.visit import leaves

        used = {leaf.field.partition(".")[0] for leaf in leaves(parse_filter(listener.predict.filter))}
        return used | set(listener.inputs.fields)

    def _mark_stale(self, listener: Listener, keys: Sequence[Any]) -> None:
        ledger = self.ledger(listener)
        if ledger is not None:
            ledger.mark(keys, ledgers.STALE)
            for dependent in self.catalog.listeners(listener.outputs_table):
                self._mark_stale(dependent, keys)

    def mark(self, listeners: list[Listener], keys: Sequence[Any]) -> None:
        """Results of these rows are no longer known to be right."""
        for listener in listeners:
            self._mark_stale(listener, keys)

    def rerun(self, listeners: list[Listener], keys: Sequence[Any]) -> list[JobRecord]:
        """Bring the results of changed rows up to date."""
        return [
            job
            for listener in listeners
            if listener.predict.trigger == "OnChange"
            for job in self._run_after(listener, keys)
        ]

    def deleted(self, table: str, keys: Sequence[Any]) -> None:
        """Forget the results of rows that are gone, and what was computed from those."""
        for listener in self.catalog.listeners(table):
            ledger = self.ledger(listener)
            if ledger is not None:
                ledger.forget(keys)
                self.deleted(listener.outputs_table, keys)

    # Asked for

    def refresh(self, listener: Listener) -> int:
        """Find results that writes past the API made wrong; they are computed with the next run."""
        with self._lock(f"predict:{listener.identifier}"):
            return predict.refresh(self.task(listener), self.stores)

    def prune(self, listener: Listener) -> int:
        """Forget results of rows that are gone or no longer pass the filter."""
        return predict.prune(self.task(listener), self.stores) if self._is_trained(listener.model) else 0

    def coverage(self, listener: Listener) -> Coverage:
        """How far it is."""
        rows = self.rows(listener.predict.table, listener.predict.filter) if self._known(listener) else None
        if rows is None:
            return Coverage(0, 0, 0)
        return predict.coverage(rows, self.ledger(listener), self.key(listener), self.stores)

    def _known(self, listener: Listener) -> bool:
        try:
            self.catalog.entry(listener.predict.table)
        except NotFound:
            return False
        return True

    def train(self, model: Model, *, again: bool = False) -> bool:
        """Fit the model, or fetch its artifact, unless that is done for what it is now. False where nothing was done.

        Where its table has no row yet it stays as it is. Raises ModelError.
        """
        if model.fitted is not None and not again:
            return False
        if model.training is None and model.artifact is None:
            return False
        with self._lock(f"train:{model.identifier}"):
            # Another process may have done it while this one waited.
            known = None if again else self.catalog.fitted_id(model.identifier, model.makes())
            if known is not None:
                model.fitted = Fitted(self.stores.artifacts.get, known, model.identifier)
                return False
            report, _ = self._job("train", model, lambda: self._fit(model), announce=model.training is not None)
        self.catalog.fresh()
        return report.done > 0

    def _fit(self, model: Model) -> Report:
        if model.training is not None:
            rows = self.rows(model.training.table, model.training.filter)
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

        def measure() -> Report:
            values, seen = validate.validate(
                model.identifier, predictor, self.stores, rows, inputs, spec.target, metrics, pinned
            )
            found.update(values)
            return Report(done=seen)

        report, _ = self._job("validate", model, measure, announce=True)
        return {"metrics": found, "rows": report.done, "dataset": spec.dataset}

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
        rows = self.rows(dataset.table, dataset.filter)
        with self.stores.artifacts.writing() as writer:
            data, ids, _ = validate.snapshot(self.stores, rows)
            dataset.snapshot = writer.put(data)
            writer.flush()
            record, _ = self.stores.metadata.add_component(
                dataset.type_id, dataset.identifier, digest=dataset.digest(),
                spec=dataset.spec().model_dump(mode="json", by_alias=True, exclude_none=True),
                artifacts=[dataset.snapshot, *ids],
            )  # fmt: skip
        dataset.version = record.version


def _digest(kind: DataType | str) -> str:
    return kind if isinstance(kind, str) else kind.digest()


__all__ = ["OUTPUTS", "Progress", "Upkeep"]
