"""The metadata of a datalayer, by way of its server."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from superduper.backends.base.metadata import ComponentKey, ComponentRecord, JobRecord, Json, MetaDataStore
from superduper.backends.http import records
from superduper.backends.http.client import Server, connect
from superduper.config import Settings
from superduper.errors import StoreError
from superduper.uris import without_password

PART = "metadata"


class HttpMetaDataStore(MetaDataStore):
    """``http://host:8000`` or ``https://host``: the metadata store of the datalayer that is served there."""

    configured = True

    def __init__(self, uri: str, settings: Settings | None = None) -> None:
        self.uri = without_password(uri)
        self.server = connect(uri, settings)
        self._closed = False
        try:
            self.prepare()
        except BaseException:
            self.close()
            raise

    def _open(self) -> Server:
        if self._closed:
            raise StoreError(f"the connection to {self.uri} was closed; connect again with superduper({self.uri!r})")
        return self.server

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._open().call(PART, method, *args, **kwargs)

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
        record, new = self._call(
            "add_component", type_id, identifier, digest=digest, spec=spec, artifacts=artifacts, children=children
        )
        return records.component(record), new

    def component(self, type_id: str, identifier: str, version: int | None = None) -> ComponentRecord:
        return records.component(self._call("component", type_id, identifier, version))

    def components(self, type_id: str | None = None) -> list[tuple[str, str]]:
        return [(kind, name) for kind, name in self._call("components", type_id)]

    def versions(self, type_id: str, identifier: str) -> list[int]:
        return list(self._call("versions", type_id, identifier))

    def state(self) -> Hashable:
        found: bytes = self._call("state")
        return found

    def remove_component(self, type_id: str, identifier: str, version: int | None = None) -> None:
        self._call("remove_component", type_id, identifier, version)

    def children(self, key: ComponentKey) -> list[ComponentKey]:
        return [records.key(one) for one in self._call("children", key)]

    def parents(self, type_id: str, identifier: str, version: int | None = None) -> list[ComponentKey]:
        return [records.key(one) for one in self._call("parents", type_id, identifier, version)]

    def artifacts(self) -> Iterator[str]:
        for batch in self._open().stream(PART, "artifacts"):
            yield from batch

    def status(self, type_id: str, identifier: str) -> dict[str, Json]:
        return dict(self._call("status", type_id, identifier))

    def set_status(self, type_id: str, identifier: str, status: Mapping[str, Json]) -> None:
        self._call("set_status", type_id, identifier, status)

    def put_job(self, job: JobRecord) -> None:
        self._call("put_job", records.plain(job))

    def jobs(self, model: str | None = None, *, limit: int = 100) -> list[JobRecord]:
        return [records.job(one) for one in self._call("jobs", model, limit=limit)]

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        return bool(self._call("acquire", name, owner, seconds))

    def holder(self, name: str) -> str | None:
        found: str | None = self._call("holder", name)
        return found

    def release(self, name: str, owner: str) -> None:
        self._call("release", name, owner)

    def prepare(self) -> None:
        self._call("prepare")

    def drop(self) -> None:
        self._call("drop")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.server.leave()

    def __repr__(self) -> str:
        return f"HttpMetaDataStore({self.uri!r})"
