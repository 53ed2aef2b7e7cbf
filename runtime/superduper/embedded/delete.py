"""Removing applied objects: what depends on them first, their data as ``deletionPolicy`` says."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from superduper.api import references
from superduper.embedded.home import Home
from superduper.embedded.state import Record
from superduper.errors import InUse, NotFound

KEPT = {"Table": "rows are kept", "Model": "outputs are kept", "Datalayer": "stores are kept"}


class Delete:
    """One run of ``superduper delete``."""

    def __init__(self, home: Home, records: Sequence[Record], *, force: bool) -> None:
        self.home, self.force = home, force
        self.records = {(record.kind, record.name): record for record in records}
        if force:
            for record in records:
                self._add_dependents(record)

    def order(self) -> list[Record]:
        """Each before what it depends on."""
        ordered = references.ordered(list(self.records.values())) or list(self.records.values())
        return list(reversed(ordered))

    def check(self, record: Record) -> str:
        """What becomes of its data, in words. Raises InUse, naming all that depends on it and stays."""
        others = [other for other in self._dependents(record) if (other.kind, other.name) not in self.records]
        if others:
            names = ", ".join(f"{other.kind} {other.name!r}" for other in others)
            raise InUse(
                f"{names} {'depends' if len(others) == 1 else 'depend'} on it; delete that first, or use --force"
            )
        policy = getattr(record.object.spec, "deletion_policy", None)
        return KEPT.get(record.kind, "") if policy != "Delete" else ""

    def remove(self, record: Record) -> str:
        """Remove it from its datalayer and from the home. Raises InUse, and what the stores raise."""
        note = self.check(record)
        if record.kind == "Datalayer":
            self._datalayer(record)
        else:
            self._component(record)
        self.home.state.remove(record.kind, record.name)
        self.records.pop((record.kind, record.name), None)
        return note

    def _add_dependents(self, record: Record) -> None:
        for other in self._dependents(record):
            if (other.kind, other.name) not in self.records:
                self.records[other.kind, other.name] = other
                self._add_dependents(other)

    def _dependents(self, record: Record) -> list[Record]:
        found = []
        for other in self.home.state.all():
            inside = other.datalayer == record.datalayer
            if inside and any(self._names(ref, record) for ref in references.references(other.object)):
                found.append(other)
        return found

    def _names(self, reference: references.Reference, record: Record) -> bool:
        name = record.name if record.kind == "Datalayer" else record.identifier
        return reference.kind == record.kind and reference.name == name

    def _component(self, record: Record) -> None:
        db: Any = self.home.datalayer(record.datalayer)
        type_id = record.kind.lower()
        # An object that never came as far as the datalayer is only forgotten.
        if not db.metadata.versions(type_id, record.identifier):
            return
        schema = db.load("table", record.identifier).schema.identifier if record.kind == "Table" else None
        db.remove(type_id, record.identifier, force=self.force)
        if schema is not None:
            # The table's own schema; one that others share stays.
            with contextlib.suppress(InUse, NotFound):
                db.remove("schema", schema)

    def _datalayer(self, record: Record) -> None:
        spec: Any = record.object.spec
        if spec.deletion_policy == "Delete" and spec.databackend.provision is not None:
            ours = (part is None or part.provision is not None for part in (spec.metadata, spec.artifact_store))
            if all(ours):
                # Also takes it off the list of those who use an artifact store that others share.
                self.home.datalayer(record.name).drop(force=True)
        self.home.forget(record.name)
        if spec.deletion_policy != "Delete":
            return
        for field, key in (
            ("databackend", "databackend"),
            ("metadata", "metadata"),
            ("artifact_store", "artifact_store"),
        ):
            # Metadata that is left out lies in the databackend, or in a file beside it.
            part = getattr(spec, field) or (spec.databackend if field == "metadata" else None)
            if part is not None and part.provision is not None and key in record.memo:
                _remove_store(record.memo[key])


def _remove_store(uri: str) -> None:
    scheme, _, rest = uri.partition("://")
    path = Path("/" + rest.lstrip("/"))
    if scheme == "filesystem":
        shutil.rmtree(path, ignore_errors=True)
    else:
        for end in ("", "-wal", "-shm", ".wal"):
            path.with_name(path.name + end).unlink(missing_ok=True)
