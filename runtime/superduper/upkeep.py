"""Keeping outputs up to date: which listeners a write concerns, and running them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from superduper.backends.base.metadata import JobRecord
from superduper.catalog import Catalog, Fitted
from superduper.components.listener import Listener
from superduper.components.model import Model
from superduper.components.schema import Schema, infer
from superduper.errors import NotFound, SuperduperError
from superduper.fitting import Fitting
from superduper.jobs import ledger as ledgers
from superduper.jobs import predict
from superduper.jobs.ledger import Ledger
from superduper.jobs.predict import Coverage, Report, Task
from superduper.jobs.predictor import Predictor
from superduper.query.parse import parse_filter
from superduper.runs import Runs, Tell

if TYPE_CHECKING:
    from superduper.components.datatype import DataType
    from superduper.jobs.stores import Stores

Progress = Callable[[str, int, int, int], None]
"""Called with a model's name, rows done, rows failed and rows in all."""


class Upkeep:
    """Runs models where rows, code or settings have changed."""

    def __init__(self, stores: Stores, catalog: Catalog, *, defer: bool = False) -> None:
        self.stores, self.catalog, self.runs = stores, catalog, Runs(stores.metadata)
        self.fitting = Fitting(stores, catalog, self.runs)
        self.progress: Progress | None = None
        self.defer = defer
        """Results are marked, and no model is run because of a write or of another model's outputs."""

    # What a listener needs

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
            rows=self.catalog.rows(listener.predict.table, listener.predict.filter),
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
        if listener.model.suspend or not self._is_trained(listener.model):
            return []
        dependents = self.catalog.listeners(listener.outputs_table)
        stores = self.stores.on(listener.model.compute)
        if keys is None:
            with self.runs.lock(f"predict:{listener.identifier}"):
                # What is missing now: another process may have done it while this one waited.
                pending = self._pending(listener)
                if pending is None:
                    return []
                report, job = self._run_all(listener, stores, pending)
        else:
            task = self._infer_again(listener, self.task(listener))
            report, job = self.runs.job("predict", listener.model, lambda _: predict.run(task, stores, keys))
        jobs = [job] if report.done or report.kept else []
        for dependent in dependents:
            if dependent.predict.trigger == "OnChange":
                jobs += self._run_after(dependent, keys)
        return jobs

    def _pending(self, listener: Listener) -> Iterator[list[Any]] | None:
        """Keys of the rows without a current result; None where there are none."""
        ledger = self.ledger(listener)
        if ledger is None:
            return iter(())  # what is missing is asked once there is one
        rows = self.catalog.rows(listener.predict.table, listener.predict.filter)
        found = predict.missing(rows, ledger, self.key(listener), self.stores)
        first = next((keys for keys in found if keys), None)
        return None if first is None else chain((first,), found)

    def _run_all(self, listener: Listener, stores: Stores, pending: Iterator[list[Any]]) -> tuple[Report, JobRecord]:
        from dataclasses import replace

        self.runs.close_interrupted(listener.model.identifier)
        task = self._infer_again(listener, self.task(listener))
        tells = self.progress
        total = 0 if tells is None else self.coverage(listener).pending

        def run(tell: Tell) -> Report:
            def progress(report: Report) -> None:
                tell(report)
                if tells is not None and total:
                    tells(listener.identifier, report.done, report.failed, total)

            return predict.run(replace(task, progress=progress), stores, pending=pending)

        announce = task.ledger is not None or self.coverage(listener).pending > 0
        return self.runs.job("predict", listener.model, run, announce=announce)

    def _run_after(self, listener: Listener, keys: Sequence[Any] | None) -> list[JobRecord]:
        """Run it on rows that are written already: that it fails is its job's failure, not the write's."""
        if self.defer:
            return []
        try:
            return self.run(listener, keys)
        except SuperduperError as error:
            return [self.runs.failed("predict", listener.model, error)]

    def is_current(self, listener: Listener) -> bool:
        """Whether every row has a current result: asked of the database, without loading the model."""
        ledger = self.ledger(listener)
        if ledger is None:
            return False
        rows, current = (
            self.catalog.rows(listener.predict.table, listener.predict.filter),
            ledger.current(self.key(listener)),
        )
        return not any(self.stores.databackend.missing(rows.table, rows.filter, ledger.table, current, batch=1))

    def _is_trained(self, model: Model) -> bool:
        return model.fitted is not None or (model.training is None and model.artifact is None)

    # What a write does

    def inserted(self, table: str, keys: Sequence[Any]) -> list[JobRecord]:
        """Predict new rows."""
        listeners = self.catalog.listeners(table)
        # A row of that key may have been there before, and gone past us: its results are not the new row's.
        self.mark(listeners, keys)
        return self.rerun(listeners, keys)

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
        with self.runs.lock(f"predict:{listener.identifier}"):
            return predict.refresh(self.task(listener), self.stores)

    def prune(self, listener: Listener) -> int:
        """Forget results of rows that are gone or no longer pass the filter."""
        return predict.prune(self.task(listener), self.stores) if self._is_trained(listener.model) else 0

    def coverage(self, listener: Listener) -> Coverage:
        """How far it is."""
        if not self.catalog.has(listener.predict.table):
            return Coverage(0, 0, 0)
        rows = self.catalog.rows(listener.predict.table, listener.predict.filter)
        return predict.coverage(rows, self.ledger(listener), self.key(listener), self.stores)


def _digest(kind: DataType | str) -> str:
    return kind if isinstance(kind, str) else kind.digest()
