"""The metadata store in MongoDB, in collections that start with ``_superduper_``.

A version of a component is one document with its artifacts and children inside, so that it is there whole or not at
all, without transactions: a single server has none. Specs are kept as JSON text, since they may have keys that
MongoDB gives a meaning to, as ``$gt``.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, DESCENDING
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from superduper.backends.base.metadata import (
    SCHEMA_VERSION,
    ComponentKey,
    ComponentRecord,
    JobRecord,
    Json,
    MetaDataStore,
    check_names,
    check_schema_version,
    no_such_component,
    no_such_version,
    pause,
    still_needed,
    storable,
)
from superduper.backends.mongodb.client import MongoDatabase
from superduper.errors import StoreError

PREFIX = "_superduper_"
_COLLECTIONS = ("components", "jobs", "locks", "meta", "statuses")
_BATCH = 1000
_TRIES = 500

Document = dict[str, Any]


class MongoMetaDataStore(MetaDataStore):
    """``mongodb://host/database``, ``mongodb+srv://…``, and ``mongomock://database`` in this process alone."""

    def __init__(self, uri: str) -> None:
        """Raises UriError, MissingExtra, Unreachable after 10 seconds, AccessDenied, VersionError."""
        self._database = MongoDatabase(uri)
        self.uri = self._database.uri
        try:
            self.prepare()
        except Exception:
            self.close()
            raise

    # ---------------------------------------------------------------------------------------------- components

    def add_component(
        self,
        type_id: str,
        identifier: str,
        *,
        digest: str,
        spec: Mapping[str, Json],
        artifacts: Sequence[str] = (),
        children: Sequence[ComponentKey] = (),
    ) -> tuple[ComponentRecord, bool]:
        check_names(type_id, identifier)
        document = {
            "type_id": type_id,
            "identifier": identifier,
            "digest": digest,
            "spec": json.dumps(spec, separators=(",", ":")),
            "artifacts": list(artifacts),
            "children": [_id(*child) for child in sorted(set(children))],
        }
        with self._database.translated():
            for attempt in range(_TRIES):
                newest = self._find(type_id, identifier)
                if newest is not None and newest["digest"] == digest:
                    return _record(newest), False
                self._check_present(children)
                version = 0 if newest is None else newest["version"] + 1
                numbered = {**document, "version": version, "created": _stamp(datetime.now(UTC))}
                key = _id(type_id, identifier, version)
                try:
                    self._collection("components").insert_one({"_id": key, **numbered})
                except DuplicateKeyError:
                    pause(attempt)
                    continue
                try:
                    # One that was removed meanwhile saw no parent: then this one must go, not hang in the air.
                    self._check_present(children)
                except Exception:
                    self._collection("components").delete_one({"_id": key})
                    raise
                self._changed()
                return _record(numbered), True
        raise StoreError(f"{self.uri}: others keep adding versions of {type_id} {identifier!r}; try again")

    def state(self) -> Hashable:
        with self._database.translated():
            found = self._collection("meta").find_one({"_id": "state"})
            return str(found["value"]) if found else None

    def component(self, type_id: str, identifier: str, version: int | None = None) -> ComponentRecord:
        with self._database.translated():
            found = self._find(type_id, identifier, version)
            if found is None:
                raise self._missing(type_id, identifier, version)
            return _record(found)

    def components(self, type_id: str | None = None) -> list[tuple[str, str]]:
        with self._database.translated():
            match = {} if type_id is None else {"type_id": type_id}
            found = self._collection("components").find(match, {"type_id": 1, "identifier": 1})
            return sorted({(each["type_id"], each["identifier"]) for each in found})

    def versions(self, type_id: str, identifier: str) -> list[int]:
        with self._database.translated():
            found = self._collection("components").find(_match(type_id, identifier), {"version": 1})
            return sorted(each["version"] for each in found)

    def remove_component(self, type_id: str, identifier: str, version: int | None = None) -> None:
        with self._database.translated():
            collection = self._collection("components")
            found = list(collection.find(_match(type_id, identifier, version)))
            if not found:
                raise self._missing(type_id, identifier, version)
            versions = [each["version"] for each in found]
            self._check_unneeded(type_id, identifier, versions)
            collection.delete_many({"_id": {"$in": [each["_id"] for each in found]}})
            try:
                # A parent may have come since; one that comes from now on sees that this is gone.
                self._check_unneeded(type_id, identifier, versions)
            except Exception:
                collection.insert_many(found)
                raise
            if not self.versions(type_id, identifier):
                self._collection("statuses").delete_one({"_id": _id(type_id, identifier)})
            self._changed()

    def children(self, key: ComponentKey) -> list[ComponentKey]:
        with self._database.translated():
            found = self._collection("components").find_one({"_id": _id(*key)}, {"children": 1})
            return sorted(_key(each) for each in found["children"]) if found else []

    def parents(self, type_id: str, identifier: str, version: int | None = None) -> list[ComponentKey]:
        with self._database.translated():
            versions = self.versions(type_id, identifier) if version is None else [version]
            return self._parents([_id(type_id, identifier, each) for each in versions])

    def artifacts(self) -> Iterator[str]:
        # In pages by key, so that no cursor stays open while the caller works.
        after = ""
        while True:
            with self._database.translated():
                query = self._collection("components").find({"_id": {"$gt": after}}, {"artifacts": 1})
                page = list(query.sort("_id").limit(_BATCH))
            for document in page:
                yield from document["artifacts"]
            if len(page) < _BATCH:
                return
            after = page[-1]["_id"]

    # ----------------------------------------------------------------------------------- statuses, jobs and locks

    def status(self, type_id: str, identifier: str) -> dict[str, Json]:
        with self._database.translated():
            found = self._collection("statuses").find_one({"_id": _id(type_id, identifier)})
        status: dict[str, Json] = json.loads(found["status"]) if found else {}
        return status

    def set_status(self, type_id: str, identifier: str, status: Mapping[str, Json]) -> None:
        check_names(type_id, identifier)
        self._put("statuses", _id(type_id, identifier), {"status": json.dumps(status, separators=(",", ":"))})

    def put_job(self, job: JobRecord) -> None:
        values = {
            "kind": job.kind,
            "model": job.model,
            "version": job.version,
            "phase": job.phase,
            "started": _stamp(job.started),
            "finished": None if job.finished is None else _stamp(job.finished),
            "rows": job.rows,
            "failed": job.failed,
            "message": storable(job.message),
        }
        self._put("jobs", job.id, values)

    def jobs(self, model: str | None = None, *, limit: int = 100) -> list[JobRecord]:
        with self._database.translated():
            query = self._collection("jobs").find({} if model is None else {"model": model})
            return [_job(each) for each in query.sort([("started", DESCENDING), ("_id", DESCENDING)]).limit(limit)]

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        with self._database.translated():
            now = self._database.clock()
            free = {"_id": name, "$or": [{"owner": owner}, {"expires": {"$lte": now}}]}
            held = {"owner": owner, "expires": now + seconds}
            if self._collection("locks").update_one(free, {"$set": held}).matched_count:
                return True
            try:
                self._collection("locks").insert_one({"_id": name, **held})
            except DuplicateKeyError:
                return False
            return True

    def holder(self, name: str) -> str | None:
        with self._database.translated():
            found = self._collection("locks").find_one({"_id": name}, {"owner": 1})
            return None if found is None else str(found["owner"])

    def release(self, name: str, owner: str) -> None:
        with self._database.translated():
            self._collection("locks").delete_one({"_id": name, "owner": owner})

    # ----------------------------------------------------------------------------------------------- the whole

    def drop(self) -> None:
        with self._database.translated():
            for name in _COLLECTIONS:
                self._collection(name).drop()

    def close(self) -> None:
        self._database.close()

    def prepare(self) -> None:
        """Check the layout's version with one read; make the index and the version only where there is none."""
        with self._database.translated():
            meta = self._collection("meta")
            found = meta.find_one({"_id": "schema_version"})
            if found is None:
                self._collection("components").create_index(
                    [(name, ASCENDING) for name in ("type_id", "identifier", "version")], unique=True, name="by_version"
                )
                self._put("meta", "schema_version", {"value": SCHEMA_VERSION})
                return
        check_schema_version(self.uri, int(found["value"]))

    def _collection(self, name: str) -> Collection[Document]:
        found: Collection[Document] = self._database.database[PREFIX + name]
        return found

    def _put(self, name: str, key: str, values: Mapping[str, Any]) -> None:
        """Replace the document of that key, or add it."""
        with self._database.translated():
            for attempt in count():
                try:
                    self._collection(name).replace_one({"_id": key}, dict(values), upsert=True)
                except DuplicateKeyError:  # two add it at once: one of them is told to try again
                    if attempt == _TRIES:
                        raise
                    pause(attempt)
                else:
                    return

    def _changed(self) -> None:
        self._put("meta", "state", {"value": uuid4().hex})

    def _find(self, type_id: str, identifier: str, version: int | None = None) -> Document | None:
        match = _match(type_id, identifier, version)
        return self._collection("components").find_one(match, sort=[("version", DESCENDING)])

    def _parents(self, children: Sequence[str]) -> list[ComponentKey]:
        found = self._collection("components").find({"children": {"$in": list(children)}}, {"_id": 1})
        return sorted(_key(each["_id"]) for each in found)

    def _check_present(self, keys: Sequence[ComponentKey]) -> None:
        for key in keys:
            if self._find(*key) is None:
                raise self._missing(*key)

    def _check_unneeded(self, type_id: str, identifier: str, versions: Sequence[int]) -> None:
        needing = self._parents([_id(type_id, identifier, version) for version in versions])
        parents = [key for key in needing if (key.type_id, key.identifier) != (type_id, identifier)]
        if parents:
            raise still_needed(type_id, identifier, parents)

    def _missing(self, type_id: str, identifier: str, version: int | None = None) -> Exception:
        versions = self.versions(type_id, identifier)
        if version is not None and versions:
            return no_such_version(type_id, identifier, version, versions)
        return no_such_component(type_id, identifier, self.components())


def _id(type_id: str, identifier: str, version: int | None = None) -> str:
    """One text for a key: no type has a slash in its name, and the version is the last part."""
    return f"{type_id}/{identifier}" if version is None else f"{type_id}/{identifier}/{version}"


def _key(id: str) -> ComponentKey:
    rest, _, version = id.rpartition("/")
    type_id, _, identifier = rest.partition("/")
    return ComponentKey(type_id, identifier, int(version))


def _match(type_id: str, identifier: str, version: int | None = None) -> Document:
    match: Document = {"type_id": type_id, "identifier": identifier}
    return match if version is None else {**match, "version": version}


def _record(document: Document) -> ComponentRecord:
    return ComponentRecord(
        document["type_id"],
        document["identifier"],
        document["version"],
        document["digest"],
        json.loads(document["spec"]),
        tuple(document["artifacts"]),
        datetime.fromisoformat(document["created"]),
    )


def _stamp(moment: datetime) -> str:
    """UTC with microseconds, which MongoDB's own dates lose, always of the same length, so that texts sort."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _job(document: Document) -> JobRecord:
    values = {**document, "id": document["_id"], "started": datetime.fromisoformat(document["started"])}
    values["finished"] = document["finished"] and datetime.fromisoformat(document["finished"])
    del values["_id"]
    return JobRecord(**values)
