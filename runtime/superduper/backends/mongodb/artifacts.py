"""Artifacts in MongoDB, as GridFS lays files out: ``artifacts.files`` and ``artifacts.chunks``.

A file's ``filename`` is the key; its ``_id`` is new for every write. Chunks are written first, the files document
last: that one insert makes the object visible whole, also where it replaces another, and the newest wins until the
older is gone. What a killed writer left are chunks that no files document names.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from superduper.backends.base.artifacts import ArtifactStore, Buffer, ObjectInfo, check_key
from superduper.backends.mongodb.client import MongoDatabase

_CHUNK = 1 << 20
_TOGETHER = 8
_KEYS = 1000


class MongoArtifactStore(ArtifactStore):
    """``mongodb://user:password@host/database``; ``mongomock://database`` for tests."""

    parallel = 8

    def __init__(self, uri: str) -> None:
        self._mongo = MongoDatabase(uri)
        self.uri = self._mongo.uri
        # All clients of a server stamp by its clock.
        self._ahead = self._mongo.clock() - time.time()
        with self._mongo.translated():
            self._files.create_index("filename")
            self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)

    @property
    def _files(self) -> Any:
        return self._mongo.database["artifacts.files"]

    @property
    def _chunks(self) -> Any:
        return self._mongo.database["artifacts.chunks"]

    def put(self, key: str, body: Buffer | Iterable[Buffer], *, overwrite: bool = True) -> bool:
        from bson import ObjectId

        if not overwrite and self.head(key) is not None:
            return False
        token = ObjectId()
        try:
            with self._mongo.translated():
                length = self._upload(token, body)
                stamp = datetime.fromtimestamp(time.time() + self._ahead, UTC)
                self._files.insert_one(
                    {
                        "_id": token,
                        "filename": check_key(key),
                        "length": length,
                        "chunkSize": _CHUNK,
                        "uploadDate": stamp,
                    }
                )
        except BaseException:
            with contextlib.suppress(Exception):
                self._remove([token])
            raise
        with self._mongo.translated():
            others = [
                found["_id"] for found in self._files.find({"filename": key}, {"_id": 1}) if found["_id"] != token
            ]
            if others and not overwrite:
                # Of several that create the same key at once at most one may think that it did.
                self._remove([token])
                return False
            self._remove(others)
        return True

    def _upload(self, token: Any, body: Buffer | Iterable[Buffer]) -> int:
        length, number, waiting = 0, 0, []
        for part in _parts(body):
            waiting.append({"files_id": token, "n": number, "data": part})
            length, number = length + len(part), number + 1
            if len(waiting) == _TOGETHER:
                self._chunks.insert_many(waiting)
                waiting = []
        if waiting:
            self._chunks.insert_many(waiting)
        return length

    def _remove(self, tokens: Sequence[Any]) -> None:
        if tokens:
            self._files.delete_many({"_id": {"$in": list(tokens)}})
            self._chunks.delete_many({"files_id": {"$in": list(tokens)}})

    def _file(self, key: str) -> dict[str, Any]:
        # Whoever replaces an object removes the older at once: more than a few are never there.
        found = list(self._files.find({"filename": check_key(key)}))
        if not found:
            raise KeyError(key)
        newest: dict[str, Any] = max(found, key=lambda file: (file["uploadDate"], file["_id"]))
        return newest

    def get(self, key: str) -> bytes:
        return self.get_range(key, 0, -1)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        before = None
        with self._mongo.translated():
            while True:
                file = self._file(key)
                end = file["length"] if length < 0 else min(start + length, file["length"])
                if start >= end:
                    return b""
                size = file["chunkSize"]
                wanted = {"files_id": file["_id"], "n": {"$gte": start // size, "$lte": (end - 1) // size}}
                parts = [chunk["data"] for chunk in self._chunks.find(wanted).sort("n", 1)]
                if len(parts) == (end - 1) // size - start // size + 1:
                    skip = start - start // size * size
                    return b"".join(parts)[skip : skip + end - start]
                if file["_id"] == before:
                    # Not replaced while it was read, but damaged: the reader's verification says so.
                    return b"".join(parts)
                before = file["_id"]

    def head(self, key: str) -> ObjectInfo | None:
        with self._mongo.translated(), contextlib.suppress(KeyError):
            return _info(self._file(key))
        return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        newest: dict[str, ObjectInfo] = {}
        with self._mongo.translated():
            for file in self._files.find({"filename": {"$gte": prefix, "$lt": f"{prefix}\uffff"}}):
                info = _info(file)
                if info.key not in newest or newest[info.key].modified < info.modified:
                    newest[info.key] = info
        yield from newest.values()

    def delete(self, keys: Sequence[str]) -> None:
        with self._mongo.translated():
            for batch in _batches(keys):
                found = self._files.find({"filename": {"$in": [check_key(key) for key in batch]}}, {"_id": 1})
                self._remove([file["_id"] for file in found])

    def move(self, key: str, to: str) -> None:
        with self._mongo.translated():
            file = self._file(key)
            replaced = [found["_id"] for found in self._files.find({"filename": check_key(to)}, {"_id": 1})]
            self._files.update_one({"_id": file["_id"]}, {"$set": {"filename": to}})
            self._remove(replaced)

    def existing(self, keys: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with self._mongo.translated():
            for batch in _batches(keys):
                files = self._files.find({"filename": {"$in": batch}}, {"filename": 1})
                found.update(file["filename"] for file in files)
        return found

    def leftovers(self) -> Iterator[ObjectInfo]:
        found: list[ObjectInfo] = []
        with self._mongo.translated():
            # Chunks before files: an upload that ends in between is in neither, or in both.
            uploads = {group["_id"] for group in self._chunks.aggregate([{"$group": {"_id": "$files_id"}}])}
            uploads -= {file["_id"] for file in self._files.find({}, {"_id": 1})}
            for token in uploads:
                size = sum(len(chunk["data"]) for chunk in self._chunks.find({"files_id": token}))
                # An id tells whole seconds: at the latest it was made at the end of that one.
                begun = token.generation_time.timestamp() + self._ahead + 1
                found.append(ObjectInfo(str(token), size, begun))
        yield from found

    def discard(self, leftovers: Sequence[str]) -> None:
        from bson import ObjectId

        with self._mongo.translated():
            for batch in _batches(leftovers):
                self._remove([ObjectId(token) for token in batch])

    def drop(self) -> None:
        with self._mongo.translated():
            self._files.delete_many({})
            self._chunks.delete_many({})

    def close(self) -> None:
        self._mongo.close()


def _info(file: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(file["filename"], file["length"], file["uploadDate"].timestamp())


def _batches(keys: Sequence[str]) -> Iterator[list[str]]:
    return (list(keys[start : start + _KEYS]) for start in range(0, len(keys), _KEYS))


def _parts(body: Buffer | Iterable[Buffer]) -> Iterator[bytes]:
    """A body in chunks of the same size, but for the last."""
    waiting = bytearray()
    for piece in [body] if isinstance(body, (bytes, bytearray, memoryview)) else body:
        view = memoryview(piece)
        for start in range(0, len(view), _CHUNK):
            waiting += view[start : start + _CHUNK]
            if len(waiting) >= _CHUNK:
                yield bytes(waiting[:_CHUNK])
                del waiting[:_CHUNK]
    if waiting:
        yield bytes(waiting)
