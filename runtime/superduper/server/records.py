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
        self._names: tuple[tuple[str, str], ...] = ()
        self._objects: dict[tuple[str, str], tuple[str, Object]] = {}
        """Each object as it was read last, with the digest of its component."""

    def names(self) -> tuple[tuple[str, str], ...]:
        """Kind and name of all objects: DataTypes, Tables, Models, by name. One small question, mostly."""
        state = self.metadata.state()
        if state != self._state:
            found = [key.partition("/")[::2] for _, key in self.metadata.components(OBJECT)]
            self._names = tuple(sorted(found, key=lambda key: (SERVED.index(key[0]), key[1])))
            self._state = state
        return self._names

    def all(self) -> list[Record]:
        """All objects, in that order."""
        found = [self._record(kind, name) for kind, name in self.names()]
        return [record for record in found if record is not None]

    def find(self, kind: str, name: str) -> Record | None:
        """The object of that kind and ``metadata.name``, or None."""
        return self._record(kind, name) if (kind, name) in self.names() else None

    def get(self, kind: str, name: str) -> Record:
        """The same. Raises NotFound."""
        found = self.find(kind, name)
        if found is None:
            known = [name for k, name in self.names() if k == kind]
            raise NotFound(f"no {kind} {name!r} was applied here{nearest(name, known)}")
        return found

    def holder(self, kind: str, identifier: str) -> str | None:
        """Name of the object of that kind that has the identifier, which never changes."""
        for key in self.names():
            if key[0] == kind:
                known = self._objects.get(key)
                found = known[1] if known is not None else getattr(self._record(*key), "object", None)
                if found is not None and found.identifier == identifier:  # type: ignore[union-attr]
                    return key[1]
        return None

    def put(self, record: Record) -> None:
        """Keep the object, in the place of the one of its kind and name."""
        key = f"{record.kind}/{record.name}"
        spec = {"object": record.object.to_dict(), "datalayer": record.datalayer, "identifier": record.identifier}
        known = self._objects.get((record.kind, record.name))
        digest = sha1(json.dumps(spec, sort_keys=True).encode())
        if known is None or known[0] != digest or (record.kind, record.name) not in self.names():
            new, is_new = self.metadata.add_component(OBJECT, key, digest=digest, spec=spec)
            for version in self.metadata.versions(OBJECT, key) if is_new else ():
                if version < new.version:
                    self.metadata.remove_component(OBJECT, key, version)
            self._objects[record.kind, record.name] = digest, record.object
        self._say(record, digest)

    def observe(self, record: Record) -> None:
        """Keep what was observed of an object that is there, unless another replica has a newer spec by now."""
        said: dict[str, Any] = self.metadata.status(OBJECT, f"{record.kind}/{record.name}")
        if said.get("generation", 0) <= record.generation:
            known = self._objects.get((record.kind, record.name))
            self._say(record, known[0] if known is not None else str(said.get("digest", "")))

    def _say(self, record: Record, digest: str) -> None:
        said = {
            "generation": record.generation,
            "created": record.created,
            "status": record.status.model_dump(mode="json", by_alias=True, exclude_none=True),
            "memo": dict(record.memo),
            "digest": digest,
        }
        self.metadata.set_status(OBJECT, f"{record.kind}/{record.name}", said)

    def remove(self, kind: str, name: str) -> None:
        """Forget the object."""
        self.metadata.remove_component(OBJECT, f"{kind}/{name}")
        self._objects.pop((kind, name), None)

    def _record(self, kind: str, name: str) -> Record | None:
        said: dict[str, Any] = self.metadata.status(OBJECT, f"{kind}/{name}")
        known = self._objects.get((kind, name))
        if known is None or known[0] != said.get("digest"):
            try:
                component = self.metadata.component(OBJECT, f"{kind}/{name}")
            except NotFound:
                return None
            spec: Any = component.spec
            known = self._objects[kind, name] = component.digest, KINDS[kind].model_validate(spec["object"])
        found = known[1]
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
