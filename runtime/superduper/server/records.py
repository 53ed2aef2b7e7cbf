"""The objects that a server was given, and what was observed of them: in the metadata store, for all its replicas.

An object is kept as a component of a hidden type, so that it is listed and goes with the metadata; its status and what
is remembered of it are that component's status.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from superduper.api.v1alpha1 import KINDS, Object
from superduper.catalog import OBJECT
from superduper.embedded.state import Record, status_type
from superduper.errors import NotFound, nearest
from superduper.fingerprint import sha1

if TYPE_CHECKING:
    from superduper.backends.base.metadata import MetaDataStore

SERVED = ("DataType", "Table", "Model")
"""Kinds of objects inside a datalayer."""


class Records:
    """The objects of one datalayer. Safe under threads; others may write at the same time."""

    def __init__(self, metadata: MetaDataStore) -> None:
        self.metadata = metadata
        self._state: Hashable = None
        self._objects: dict[tuple[str, str], Object] = {}

    def all(self) -> list[Record]:
        """All objects: DataTypes, Tables, Models, by name."""
        found = [self._record(kind, name) for kind, name in self._known()]
        return sorted((r for r in found if r is not None), key=lambda r: (SERVED.index(r.kind), r.name))

    def find(self, kind: str, name: str) -> Record | None:
        """The object of that kind and ``metadata.name``, or None."""
        return self._record(kind, name) if (kind, name) in self._known() else None

    def get(self, kind: str, name: str) -> Record:
        """The same. Raises NotFound."""
        found = self.find(kind, name)
        if found is None:
            known = [name for k, name in self._known() if k == kind]
            raise NotFound(f"no {kind} {name!r} was applied here{nearest(name, known)}")
        return found

    def put(self, record: Record) -> None:
        """Keep the object, in the place of the one of its kind and name."""
        spec = {"object": record.object.to_dict(), "datalayer": record.datalayer, "identifier": record.identifier}
        key = f"{record.kind}/{record.name}"
        if self._known().get((record.kind, record.name)) != record.object:
            digest = sha1(json.dumps(spec, sort_keys=True).encode())
            new, is_new = self.metadata.add_component(OBJECT, key, digest=digest, spec=spec)
            for version in self.metadata.versions(OBJECT, key) if is_new else ():
                if version < new.version:
                    self.metadata.remove_component(OBJECT, key, version)
        self.observe(record)

    def observe(self, record: Record) -> None:
        """Keep what was observed of an object that is there."""
        said = {
            "generation": record.generation,
            "created": record.created,
            "status": record.status.model_dump(mode="json", by_alias=True, exclude_none=True),
            "memo": dict(record.memo),
        }
        self.metadata.set_status(OBJECT, f"{record.kind}/{record.name}", said)

    def remove(self, kind: str, name: str) -> None:
        """Forget the object."""
        self.metadata.remove_component(OBJECT, f"{kind}/{name}")

    def _known(self) -> dict[tuple[str, str], Object]:
        """The objects, read again when any process has changed the metadata."""
        state = self.metadata.state()
        if state == self._state:
            return self._objects
        found: dict[tuple[str, str], Object] = {}
        for _, key in self.metadata.components(OBJECT):
            kind, _, name = key.partition("/")
            try:
                spec: Any = self.metadata.component(OBJECT, key).spec
            except NotFound:
                continue
            found[kind, name] = KINDS[kind].model_validate(spec["object"])
        self._objects, self._state = found, state
        return found

    def _record(self, kind: str, name: str) -> Record | None:
        found = self._known().get((kind, name))
        if found is None:
            return None
        said: dict[str, Any] = self.metadata.status(OBJECT, f"{kind}/{name}")
        return Record(
            object=found,
            datalayer=datalayer_of(found),
            identifier=found.identifier,  # type: ignore[union-attr]
            generation=said.get("generation", 1),
            created=said.get("created", ""),
            status=status_type(kind).model_validate(said.get("status", {})),
            memo=said.get("memo", {}),
        )


def datalayer_of(object: Object) -> str:
    """Name of the Datalayer that the object says it belongs to."""
    from superduper.api import references

    return references.datalayer(object)


def applied(previous: Record | None, object: Object) -> Record:
    """The record of an object that is given: a changed spec is a new generation, with the status that it had.

    Of the metadata the name and the generation are kept: what else stands there is the cluster's.
    """
    given = object.metadata.generation
    bare = object.model_copy(update={"status": None, "metadata": type(object.metadata)(name=object.metadata.name)})
    if previous is None:
        created = datetime.now(UTC).replace(microsecond=0).isoformat()
        status = status_type(object.kind)()
        return Record(bare, datalayer_of(bare), bare.identifier, given or 1, created, status)  # type: ignore[union-attr]
    same = previous.object.spec == bare.spec
    return replace(previous, object=bare, generation=given or previous.generation + (not same))
