"""Applying components: what they need first, then themselves, then what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from superduper.backends.base.metadata import ComponentKey, JobRecord
from superduper.catalog import Catalog
from superduper.components.component import Component
from superduper.components.dataset import Dataset
from superduper.components.datatype import DataType
from superduper.components.listener import Listener
from superduper.components.metric import READY, unknown
from superduper.components.model import Model
from superduper.components.schema import storage
from superduper.components.table import Table
from superduper.errors import ConfigError, NotFound, SchemaMismatch, nearest
from superduper.retention import Retention
from superduper.upkeep import Upkeep

if TYPE_CHECKING:
    from superduper.jobs.stores import Stores


class Applying:
    """Brings components into one datalayer."""

    def __init__(self, stores: Stores, catalog: Catalog, upkeep: Upkeep, retention: Retention) -> None:
        self.stores, self.catalog, self.upkeep, self.retention = stores, catalog, upkeep, retention

    def apply(self, component: Component, *, run: bool = True) -> tuple[bool, list[JobRecord]]:
        """Record it and what it needs. Gives whether anything is new, and the jobs that followed."""
        match component:
            case Table():
                return self._table(component), []
            case Listener():
                new = self._model(component.model)
                return self._listener(component) or new, self._run(component.model, [component], run)
            case Model():
                new = self._model(component)
                listener = component.listener()
                if listener is not None:
                    new = self._listener(listener) or new
                elif component.whole:
                    new = self._silence(component) or new
                return new, self._run(component, None, run)
            case Dataset():
                before = self.catalog.stores.metadata.versions("dataset", component.identifier)
                self.upkeep.fitting.snapshot(component)
                return component.version not in before, []
            case _:
                return self._record(component)[1], []

    def _record(self, component: Component) -> tuple[ComponentKey, bool]:
        if isinstance(component, DataType):
            component.check()
            self._refuse_other_encoding(component)
        children, new = [], False
        for child in component.children():
            key, child_is_new = self._record(child)
            children.append(key)
            new = new or child_is_new
        record, is_new = self.catalog.record(component, children)
        self.catalog.fresh()
        return record.key, is_new or new

    def _table(self, table: Table) -> bool:
        self._refuse_other_storage(table)
        self.stores.databackend.create_table(table.definition)
        return self._record(table)[1]

    def _refuse_other_storage(self, table: Table) -> None:
        """Rows that are there must stay readable: a field may not change how it is stored, nor come back otherwise."""
        for name, kind in table.schema.fields.items():
            old = self.retention.clash(table.identifier, name, storage(kind))
            if old is not None and self.retention.has_rows(table.definition):
                raise SchemaMismatch(
                    f"table {table.identifier!r}, field {name!r}: rows are stored as {old}, which cannot be read "
                    f"as {storage(kind)}; give the new field another name, or remove the rows first"
                )

    def _refuse_other_encoding(self, datatype: DataType) -> None:
        """What is stored by a data type must stay readable by it."""
        try:
            known = self.catalog.load("datatype", datatype.identifier)
        except NotFound:
            return
        assert isinstance(known, DataType)
        if known.storage == datatype.storage:
            return
        for table in self.retention.tables_of(datatype.identifier):
            if self.retention.has_rows(table):
                raise SchemaMismatch(
                    f"DataType {datatype.identifier!r}: rows of table {table.name!r} are stored as {known.storage}, which "
                    f"cannot be read as {datatype.storage}; give the new data type another name"
                )

    def _refuse_unknown_metrics(self, model: Model) -> None:
        """Before anything is trained: what measures it must be there."""
        for metric in model.validation.metrics if model.validation is not None else ():
            if isinstance(metric, str) and metric not in READY and not self.stores.metadata.versions("metric", metric):
                raise ConfigError(f"model {model.identifier!r} validation: {unknown(metric)}")

    def _model(self, model: Model) -> bool:
        self._refuse_unknown_metrics(model)
        _, new = self._record(model)
        known: Any = self.catalog.load("model", model.identifier)
        if model is not known:
            model.fitted = known.fitted
        return new

    def _listener(self, listener: Listener) -> bool:
        self._refuse_unknown(listener)
        key = ComponentKey("model", listener.model.identifier, listener.model.version or 0)
        before = self.stores.metadata.versions("listener", listener.identifier)
        record, new = self.catalog.record(listener, [key])
        self.catalog.fresh()
        if new:
            self._open_outputs(listener)
            if before and record.version not in before:
                self.upkeep.prune(listener)
        return new

    def _refuse_unknown(self, listener: Listener) -> None:
        """What it reads must be there: the table, and fields that the table declares."""
        table = self.catalog.entry(listener.predict.table).table
        names = [column.name for column in table.columns]
        for field in listener.inputs.fields:
            hint = nearest(field, names)
            if field not in names and (hint or not self.stores.databackend.abilities.schemaless):
                raise ConfigError(
                    f"listener {listener.identifier!r}: table {table.name!r} has no field {field!r}{hint} "
                    f"(fields: {', '.join(names)})"
                )

    def _open_outputs(self, listener: Listener) -> None:
        """Outputs of a declared type have their table from the start, so that others can refer to it."""
        if listener.datatype is not None:
            self.upkeep.open_ledger(listener, [])

    def _silence(self, model: Model) -> bool:
        """A manifest without ``predict`` takes away the listener of its name. Whether there was one."""
        if not self.stores.metadata.versions("listener", model.identifier):
            return False
        self.stores.metadata.remove_component("listener", model.identifier)
        self.catalog.fresh()
        return True

    def _run(self, model: Model, listeners: list[Listener] | None, run: bool) -> list[JobRecord]:
        """Train what is not trained, predict what is missing, measure what is not measured."""
        if not run or model.suspend or self.upkeep.defer:
            return []
        if model.artifact is not None or (model.training is not None and self.catalog.has(model.training.table)):
            self.upkeep.fitting.train(model)
        jobs = []
        # All that run the model, unless one was applied; as they are now that it is trained.
        for listener in self.catalog.listeners_of(model.identifier) if listeners is None else listeners:
            if listener.predict.trigger == "OnChange" and self.catalog.has(listener.predict.table):
                if self.upkeep.ledger(listener) is None:
                    self._open_outputs(listener)
                jobs += self.upkeep.run(listener)
        return jobs
