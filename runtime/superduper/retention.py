"""What must stay: artifacts that any row or component needs, and the form in which rows were stored.

A table's columns are never dropped while the table is there: what any version of it declared may still hold references.
A table that was removed while its rows stay leaves a note (``RETAINED``) that says the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from superduper.artifacts import reference
from superduper.artifacts.verify import Damage, Holder
from superduper.catalog import RETAINED, Catalog
from superduper.components.listener import OUTPUTS
from superduper.components.schema import Schema, storage
from superduper.components.table import Table
from superduper.errors import ArtifactError, NotFound
from superduper.fingerprint import sha1
from superduper.query.ast import Select
from superduper.query.tables import Column, TableDef

if TYPE_CHECKING:
    from superduper.jobs.stores import Stores


class Retention:
    """Asks the metadata and the tables themselves."""

    def __init__(self, stores: Stores, catalog: Catalog) -> None:
        self.stores, self.catalog = stores, catalog

    def live(self) -> Iterator[str]:
        """Ids of all artifacts that any row or component needs; may repeat."""
        self._settle_metadata()
        yield from self.stores.metadata.artifacts()
        there = set(self.stores.databackend.list_tables())
        referring = [(table, fields) for table, fields in self._referring() if table.name in there]
        self.stores.databackend.settle(sorted({table.name for table, _ in referring}))
        for table, fields in referring:
            yield from self._references(table, fields)

    def _settle_metadata(self) -> None:
        """A write of our own: see ``DataBackend.settle``."""
        owner = str(uuid.uuid4())
        if self.stores.metadata.acquire("collect", owner, 1.0):
            self.stores.metadata.release("collect", owner)

    def located(self, damage: Iterable[Damage]) -> list[Damage]:
        """The same findings, each with what needs it."""
        found = list(damage)
        ids = {reference.parse(one.reference).id for one in found if one.reference}
        holders: dict[str, dict[Holder, None]] = {}
        trees = {info.key.rpartition("/")[2] for info in self.stores.artifacts.store.list("trees/")} if ids else set()
        for holder, id in self._holders() if ids else ():
            for each in {id, *(self._parts(id) if id in trees else ())} & ids:
                holders.setdefault(each, {})[holder] = None
        return [
            replace(one, needed_by=tuple(holders.get(reference.parse(one.reference).id, ()))) if one.reference else one
            for one in found
        ]

    def _holders(self) -> Iterator[tuple[Holder, str]]:
        for type_id, identifier in self.stores.metadata.components():
            for version in self.stores.metadata.versions(type_id, identifier):
                record = self.stores.metadata.component(type_id, identifier, version)
                for id in record.artifacts:
                    yield Holder(type_id, f"{identifier!r} version {version}"), id
        there = set(self.stores.databackend.list_tables())
        for table, fields in self._referring():
            if table.name in there:
                for key, name, id in self._named(table, fields):
                    yield Holder(table.name, key, name), id

    def _parts(self, id: str) -> set[str]:
        """Contents of the files in a folder, where it can be read."""
        try:
            return self.stores.artifacts.tree(id).blobs
        except ArtifactError:
            return set()

    def _references(self, table: TableDef, fields: tuple[str, ...]) -> Iterator[str]:
        return (id for _, _, id in self._named(table, fields))

    def _named(self, table: TableDef, fields: tuple[str, ...]) -> Iterator[tuple[Any, str, str]]:
        """(key, field, id) of every reference in these fields."""
        query = Select(table.name, fields=(table.primary_key, *fields))
        for batch in self.stores.databackend.select(table, query):
            for row in batch:
                for name in fields:
                    value = row.get(name)
                    if isinstance(value, str):
                        yield row[table.primary_key], name, reference.parse(value).id

    def _referring(self) -> Iterator[tuple[TableDef, tuple[str, ...]]]:
        """Every table that may hold references, once for each form that it had."""
        for type_id, identifier in self.stores.metadata.components():
            if type_id == "schema" and identifier.startswith(OUTPUTS):
                for schema in self._versions("schema", identifier):
                    assert isinstance(schema, Schema)
                    entry = self.catalog.of_outputs(schema)
                    if entry.codec.has_artifacts:
                        yield entry.table, entry.codec.reference_fields
            elif type_id == "table":
                for table in self._versions("table", identifier):
                    assert isinstance(table, Table)
                    entry = self.catalog.of_table(table)
                    if entry.codec.has_artifacts:
                        yield entry.table, entry.codec.reference_fields
            elif type_id == RETAINED:
                note = self.stores.metadata.component(RETAINED, identifier).spec
                fields = tuple(name for name, forms in note["fields"].items() if _holds_references(forms))
                key, *rest = (note["primaryKey"], *fields)
                columns = (Column(key, note["keyType"]), *(Column(name, "str") for name in rest))
                if fields:
                    yield TableDef(identifier, columns, key), fields

    def _versions(self, type_id: str, identifier: str) -> Iterator[object]:
        for version in self.stores.metadata.versions(type_id, identifier):
            yield self.catalog.load(type_id, identifier, version)

    # How rows were stored

    def storages(self, table: str) -> dict[str, list[str]]:
        """How each field that any version declared was stored, the newest form last."""
        found: dict[str, list[str]] = {}
        with suppress(NotFound):
            found.update(self.stores.metadata.component(RETAINED, table).spec["fields"])
        for known in self._versions("table", table):
            assert isinstance(known, Table)
            for name, kind in known.schema.fields.items():
                forms = found.setdefault(name, [])
                form = storage(kind)
                if form in forms:
                    forms.remove(form)
                forms.append(form)
        return found

    def clash(self, table: str, name: str, form: str) -> str | None:
        """The form that rows of the table may have and that cannot be told from ``form``, if there is one.

        A payload and a file can be told apart by their references; nothing else can.
        """
        forms = self.storages(table).get(name, [form])
        if forms[-1] == form:
            return None
        kind = form.partition(":")[0]
        for old in reversed(forms):
            other = old.partition(":")[0]
            if other == kind:
                return None if old == form else old
            if {kind, other} != {"blob", "file"}:
                return old
        return None

    def note(self, table: Table) -> None:
        """Before versions of the table are removed: keep how its rows are stored, for as long as they are there."""
        spec = {
            "primaryKey": table.primary_id,
            "keyType": table.definition.columns[0].type,
            "fields": self.storages(table.identifier),
        }
        self.stores.metadata.add_component(
            RETAINED, table.identifier, digest=sha1(repr(sorted(spec.items())).encode()), spec=spec
        )

    def forget(self, table: str) -> None:
        """The table itself is gone, and with it what was noted of it."""
        if self.stores.metadata.versions(RETAINED, table):
            self.stores.metadata.remove_component(RETAINED, table)

    def has_rows(self, table: TableDef) -> bool:
        """Whether the table is there and not empty."""
        if table.name not in self.stores.databackend.list_tables():
            return False
        key = TableDef(table.name, (table.columns[0],), table.primary_key)
        query = Select(table.name, fields=(table.primary_key,), limit=1)
        return any(batch for batch in self.stores.databackend.select(key, query))

    def tables_of(self, datatype: str) -> Iterator[TableDef]:
        """Tables, outputs among them, any version of which has fields of that data type."""
        for type_id, identifier in self.stores.metadata.components():
            if type_id != "table" and not (type_id == "schema" and identifier.startswith(OUTPUTS)):
                continue
            for known in self._versions(type_id, identifier):
                schema = known.schema if isinstance(known, Table) else known
                assert isinstance(schema, Schema)
                if any(not isinstance(kind, str) and kind.identifier == datatype for kind in schema.fields.values()):
                    yield known.definition if isinstance(known, Table) else self.catalog.of_outputs(schema).table


def _holds_references(forms: list[str]) -> bool:
    return any(form.startswith(("blob:", "file:")) for form in forms)
