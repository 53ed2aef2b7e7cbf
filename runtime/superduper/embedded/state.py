"""What was applied, and what was observed of it: one SQLite file in the home folder.

A file of its own, and not the metadata stores': objects of several datalayers stand side by side, a Datalayer is an
object before it has a metadata store, and ``superduper get`` answers without connecting to any database. URIs may
hold passwords, so the file is readable by its owner only.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from superduper.api.v1alpha1 import KINDS, Object, Status
from superduper.errors import NotFound, StoreError, nearest

FILE = "state.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, name TEXT NOT NULL, datalayer TEXT NOT NULL, identifier TEXT NOT NULL,
    object TEXT NOT NULL, generation INTEGER NOT NULL, created TEXT NOT NULL, status TEXT NOT NULL, memo TEXT NOT NULL,
    PRIMARY KEY (kind, name)
)
"""
_SELECT = "SELECT kind, name, datalayer, identifier, object, generation, created, status, memo FROM objects"
_INSERT = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Record:
    """One applied object.

    ``object`` has its code inlined and no status; ``memo`` is what the embedded apply remembers of it: the URIs of a
    Datalayer, the fingerprint of a Table's source, the folder that relative paths start from.
    """

    object: Object
    datalayer: str
    identifier: str
    generation: int
    created: str
    status: Status
    memo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of the object."""
        return self.object.kind

    @property
    def name(self) -> str:
        """Name of the object."""
        return self.object.metadata.name

    def manifest(self) -> dict[str, Any]:
        """The object as ``get -o yaml`` shows it: with generation, time of creation and status."""
        shown = self.object.to_dict()
        shown["metadata"] |= {"generation": self.generation, "creationTimestamp": self.created}
        status = self.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {**shown, "status": status}


class State:
    """The objects of one home folder. Safe under processes; the file is made with the first write."""

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        self.path = self.home / FILE

    def all(self) -> list[Record]:
        """All objects: Datalayers, DataTypes, Tables, Models, by name."""
        kinds = list(KINDS)
        found = [_record(row) for row in self._rows(_SELECT, ())]
        return sorted(found, key=lambda record: (kinds.index(record.kind), record.name))

    def find(self, kind: str, name: str) -> Record | None:
        """The object of that kind and ``metadata.name``, or None."""
        rows = self._rows(_SELECT + " WHERE kind = ? AND name = ?", (kind, name))
        return _record(rows[0]) if rows else None

    def get(self, kind: str, name: str) -> Record:
        """The object of that kind by name or, where no other has it, identifier. Raises NotFound."""
        found = self.find(kind, name)
        if found is not None:
            return found
        same = [record for record in self.all() if record.kind == kind]
        named = [record for record in same if record.identifier == name]
        if len(named) == 1:
            return named[0]
        known = [record.name for record in same]
        hint = nearest(name, known) or (f"; there are: {', '.join(known[:10])}" if known else "")
        raise NotFound(f"no {kind} {name!r} in {self.home}{hint}")

    def known(self) -> dict[str, set[str]]:
        """Per kind, what manifests may refer to: names of Datalayers, identifiers of the others."""
        found: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for record in self.all():
            found[record.kind].add(record.name if record.kind == "Datalayer" else record.identifier)
        return found

    def put(self, record: Record) -> None:
        """Keep the object, in the place of the one of its kind and name."""
        values = (
            record.kind, record.name, record.datalayer, record.identifier, json.dumps(record.object.to_dict()),
            record.generation, record.created, record.status.model_dump_json(by_alias=True), json.dumps(dict(record.memo)),
        )  # fmt: skip
        with self._connection() as connection:
            connection.execute(_INSERT, values)

    def remove(self, kind: str, name: str) -> None:
        """Forget the object."""
        with self._connection() as connection:
            connection.execute("DELETE FROM objects WHERE kind = ? AND name = ?", (kind, name))

    def _rows(self, sql: str, values: tuple[str, ...]) -> list[Any]:
        if not self.path.exists():
            return []
        with self._connection() as connection:
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self.path.exists():
                self.home.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self.path, timeout=30)
            try:
                with connection:
                    connection.execute(_SCHEMA)
                    yield connection
            finally:
                connection.close()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the state in {self.path} cannot be used: {error}; choose another --home") from error


def _record(row: tuple[Any, ...]) -> Record:
    kind, _, datalayer, identifier, text, generation, created, status, memo = row
    model = KINDS[kind]
    return Record(
        object=model.model_validate_json(text),
        datalayer=datalayer,
        identifier=identifier,
        generation=generation,
        created=created,
        status=status_type(kind).model_validate_json(status),
        memo=json.loads(memo),
    )


def status_type(kind: str) -> type[Status]:
    """The status of objects of that kind."""
    from superduper.api.v1alpha1 import DatalayerStatus, DataTypeStatus, ModelStatus, TableStatus

    types: dict[str, type[Status]] = {
        "Datalayer": DatalayerStatus, "DataType": DataTypeStatus, "Table": TableStatus, "Model": ModelStatus,
    }  # fmt: skip
    return types[kind]


def next_record(previous: Record | None, object: Object, datalayer: str, identifier: str) -> Record:
    """The record of an object that is applied: a changed spec is a new generation, with the status that it had."""
    bare = object.model_copy(update={"status": None})
    if previous is None:
        created = datetime.now(UTC).replace(microsecond=0).isoformat()
        return Record(bare, datalayer, identifier, 1, created, status_type(object.kind)())
    same = previous.object.spec == bare.spec
    return replace(previous, object=bare, generation=previous.generation + (not same))
