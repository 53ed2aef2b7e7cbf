"""Removing components: refused while others need them, and with the rows or without, as ``deletionPolicy`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from superduper.backends.base.metadata import ComponentKey
from superduper.catalog import HIDDEN, Catalog
from superduper.components.component import Component
from superduper.components.listener import Listener
from superduper.components.model import Model
from superduper.components.table import Table
from superduper.errors import InUse
from superduper.retention import Retention
from superduper.upkeep import Upkeep

if TYPE_CHECKING:
    from superduper.jobs.stores import Stores


class Removal:
    """Takes components out of one datalayer."""

    def __init__(self, stores: Stores, catalog: Catalog, upkeep: Upkeep, retention: Retention) -> None:
        self.stores, self.catalog, self.upkeep, self.retention = stores, catalog, upkeep, retention

    def remove(self, type_id: str, identifier: str, version: int | None = None, *, force: bool = False) -> None:
        """Forget one version, or all. Raises NotFound, or InUse unless ``force`` takes along what needs it."""
        component = self.catalog.load(type_id, identifier, version)
        self._refuse_current(component, version)
        if isinstance(component, Table) and self._is_last(component, version):
            self._refuse_while_read(component, force=force)
        for parent in self.stores.metadata.parents(type_id, identifier, version):
            self._parent(component, parent, force=force)
        if isinstance(component, Table):
            self.retention.note(component)
        last = self._is_last(component, version)
        self.stores.metadata.remove_component(type_id, identifier, version)
        self.catalog.fresh()
        if last and isinstance(component, Table) and component.deletion_policy == "Delete":
            self.stores.databackend.drop_table(identifier)
            self.retention.forget(identifier)
        if last and isinstance(component, Listener) and component.model.deletion_policy == "Delete":
            self._drop_outputs(component)
        self.catalog.fresh()

    def _refuse_current(self, component: Component, version: int | None) -> None:
        """Its number would be given again, and one number would then mean two things in the record of jobs."""
        versions = self.stores.metadata.versions(component.type_id, component.identifier)
        if version is not None and len(versions) > 1 and version == versions[-1]:
            raise InUse(
                f"{component.type_id} {component.identifier!r}: version {version} is the current one; apply what should "
                "take its place, or remove the component with all its versions"
            )

    def _is_last(self, component: Component, version: int | None) -> bool:
        return version is None or len(self.stores.metadata.versions(component.type_id, component.identifier)) <= 1

    def _parent(self, component: Component, parent: ComponentKey, *, force: bool) -> None:
        """What needs this version goes first, if it may."""
        own = (
            isinstance(component, Model)
            and parent.type_id in ("listener", *HIDDEN)
            and parent.identifier == component.identifier
        )
        if not (force or own):
            raise InUse(
                f"{component.type_id} {component.identifier!r} is needed by {parent.type_id} {parent.identifier!r}; "
                "remove that first"
            )
        if parent.version not in self.stores.metadata.versions(parent.type_id, parent.identifier):
            return
        if parent.type_id in HIDDEN:
            self.stores.metadata.remove_component(*parent)
        else:
            self.remove(*parent, force=force)

    def _refuse_while_read(self, table: Table, *, force: bool) -> None:
        for listener in self.catalog.listeners(table.identifier):
            if not force:
                raise InUse(
                    f"table {table.identifier!r} is read by listener {listener.identifier!r}; remove that first"
                )
            self.remove("listener", listener.identifier, force=True)

    def _drop_outputs(self, listener: Listener) -> None:
        ledger = self.upkeep.ledger(listener)
        if ledger is not None:
            self.stores.databackend.drop_table(ledger.table.name)
            self.stores.metadata.remove_component("schema", ledger.table.name)
