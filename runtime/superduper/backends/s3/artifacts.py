"""Artifacts in a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING

from superduper.backends.base.artifacts import ArtifactStore, Buffer, ObjectInfo, check_key
from superduper.backends.s3.driver import Driver, Location, parts
from superduper.errors import MissingExtra

if TYPE_CHECKING:
    from superduper.backends.s3.boto3_driver import Boto3Driver


class S3ArtifactStore(ArtifactStore):
    """``s3://bucket/prefix``, with ``?driver=boto3``, ``?endpoint=http://host:port`` and ``?region=…``.

    Credentials come from the environment (``AWS_ACCESS_KEY_ID`` and so on); the bucket must exist. Uploads carry a
    checksum that the server compares; those above 8 MiB go in parts.
    """

    parallel = 16

    def __init__(self, uri: str) -> None:
        self._location = Location.parse(uri)
        self.uri = uri
        self._pid = os.getpid()
        self._held = _driver(self._location, self._location.driver)
        with self._held.translated("list the bucket"):
            self._held.probe()

    @property
    def _driver(self) -> Driver:
        if self._pid != os.getpid():
            # obstore's threads stay in the parent, and it refuses to work without them; boto3 just opens anew.
            if find_spec("boto3") is None:
                raise MissingExtra("boto3", "s3", "s3:// after a fork")
            self._held, self._pid = _driver(self._location, "boto3"), os.getpid()
        return self._held

    def put(self, key: str, body: Buffer | Iterable[Buffer], *, overwrite: bool = True) -> bool:
        driver = self._driver
        pieces = parts([body] if isinstance(body, (bytes, bytearray, memoryview)) else body)
        first, second = next(pieces, b""), next(pieces, None)
        with driver.translated(f"write {key}"):
            if second is None:
                return driver.put(check_key(key), first, overwrite=overwrite)
            if not overwrite and self.head(key) is not None:
                return False
            failed: list[BaseException] = []
            try:
                driver.put_parts(check_key(key), _watched(chain((first, second), pieces), failed))
            except BaseException as error:
                # The caller's own error, whatever the client made of it.
                if failed and failed[0] is not error:
                    raise failed[0] from error
                raise
        return True

    def get(self, key: str) -> bytes:
        driver = self._driver
        with driver.translated(f"read {key}"):
            return driver.get(check_key(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        driver = self._driver
        with driver.translated(f"read {key}"):
            return driver.get_range(check_key(key), start, length)

    def head(self, key: str) -> ObjectInfo | None:
        driver = self._driver
        try:
            with driver.translated(f"look at {key}"):
                return driver.head(check_key(key))
        except KeyError:
            return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        driver = self._driver
        with driver.translated("list the bucket"):
            for info in driver.list(prefix.rpartition("/")[0]):
                if info.key.startswith(prefix):
                    yield info

    def delete(self, keys: Sequence[str]) -> None:
        driver = self._driver
        with driver.translated("remove objects"):
            driver.delete([check_key(key) for key in keys])

    def move(self, key: str, to: str) -> None:
        driver = self._driver
        with driver.translated(f"move {key}"):
            driver.copy(check_key(key), check_key(to))
            driver.delete([key])

    def existing(self, keys: Sequence[str]) -> set[str]:
        with ThreadPoolExecutor(self.parallel) as pool:
            return {key for key, info in zip(keys, pool.map(self.head, keys), strict=True) if info is not None}

    def leftovers(self) -> Iterator[ObjectInfo]:
        """Multipart uploads. Only boto3 can list them: without it, the bucket needs a lifecycle rule for them."""
        if find_spec("boto3") is None:
            return
        uploads = self._uploads()
        with uploads.translated("list uploads"):
            yield from uploads.unfinished()
        uploads.close()

    def discard(self, leftovers: Sequence[str]) -> None:
        if leftovers:
            uploads = self._uploads()
            with uploads.translated("undo uploads"):
                uploads.abort(leftovers)
            uploads.close()

    def _uploads(self) -> Boto3Driver:
        from superduper.backends.s3.boto3_driver import Boto3Driver

        return Boto3Driver(self._location)

    def url(self, key: str, expires: float) -> str:
        driver = self._driver
        with driver.translated(f"sign {key}"):
            return driver.url(check_key(key), expires)

    def drop(self) -> None:
        self.delete([info.key for info in self.list()])
        self.discard([info.key for info in self.leftovers()])

    def close(self) -> None:
        if self._pid == os.getpid():
            self._held.close()

    def __repr__(self) -> str:
        return f"S3ArtifactStore({self.uri!r})"


def _watched(body: Iterable[bytes], failed: list[BaseException]) -> Iterator[bytes]:
    try:
        yield from body
    except Exception as error:
        failed.append(error)
        raise


def _driver(location: Location, name: str) -> Driver:
    if name == "boto3":
        from superduper.backends.s3.boto3_driver import Boto3Driver

        return Boto3Driver(location)
    from superduper.backends.s3.obstore_driver import ObstoreDriver

    return ObstoreDriver(location)
