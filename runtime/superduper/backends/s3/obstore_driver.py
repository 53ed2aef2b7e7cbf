"""S3 by obstore: ten times boto3's rate of objects on one thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from superduper.backends.base.artifacts import Buffer, ObjectInfo
from superduper.backends.s3.driver import DEADLINE, PART, Driver, Location
from superduper.errors import AccessDenied, MissingExtra, NotFound, StoreError, Unreachable

if TYPE_CHECKING:
    from obstore.store import S3Store

_DENIED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403 Forbidden", "401 Unauthorized")
_SILENT = ("error sending request", "timed out", "timeout", "connection", "HTTP error", "dns error")


class ObstoreDriver(Driver):
    """One client for all threads. Its own threads do not outlive a fork."""

    def __init__(self, location: Location) -> None:
        try:
            import obstore
        except ImportError as error:
            raise MissingExtra("obstore", "s3", "s3://") from error
        self._obstore = obstore
        self._location = location
        self._store = self._connect(retries=3, timeout=6 * DEADLINE)

    def _connect(self, retries: int, timeout: int) -> S3Store:
        from obstore.store import S3Store

        given = {"endpoint": self._location.endpoint, "region": self._location.region}
        return S3Store(
            self._location.bucket,
            prefix=self._location.prefix or None,
            checksum_algorithm="SHA256",
            client_options={
                "allow_http": (self._location.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=DEADLINE),
                "timeout": timedelta(seconds=timeout),
            },
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=timeout)},
            **{name: value for name, value in given.items() if value},  # type: ignore[arg-type]
        )

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        from obstore import exceptions

        bucket = f"s3://{self._location.bucket}"
        try:
            yield
        except (exceptions.BaseError, FileNotFoundError) as error:
            text = " ".join(str(error).partition("Debug source")[0].split())
            denied = isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
            if denied or any(word in text for word in _DENIED):
                raise AccessDenied(f"{bucket}: no right to {what}; check the credentials ({text})") from error
            if "NoSuchBucket" in text:
                raise NotFound(f"{bucket}: there is no such bucket; create it, or correct the URI") from error
            if isinstance(error, (exceptions.NotFoundError, FileNotFoundError)):
                raise KeyError(what) from error
            if isinstance(error, exceptions.GenericError) and any(word in text for word in _SILENT):
                raise Unreachable(f"{bucket} does not answer: {text}; check endpoint, region and network") from error
            raise StoreError(f"{bucket}: cannot {what}: {text}") from error

    def probe(self) -> None:
        next(iter(self._obstore.list(self._connect(retries=0, timeout=DEADLINE), prefix="leases")), None)

    def put(self, key: str, data: Buffer, *, overwrite: bool) -> bool:
        from obstore.exceptions import AlreadyExistsError

        try:
            mode: Literal["overwrite", "create"] = "overwrite" if overwrite else "create"
            self._obstore.put(self._store, key, bytes(data), mode=mode, use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def put_parts(self, key: str, body: Iterable[bytes]) -> None:
        self._obstore.put(self._store, key, iter(body), use_multipart=True, chunk_size=PART, max_concurrency=4)

    def get(self, key: str) -> bytes:
        return bytes(self._obstore.get(self._store, key).bytes())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        try:
            return bytes(self._obstore.get_range(self._store, key, start=start, length=length))
        except self._obstore.exceptions.BaseError:
            # A range that starts at the end or beyond is an error there, and nothing here.
            if start >= self.head(key).size:
                return b""
            raise

    def head(self, key: str) -> ObjectInfo:
        found = self._obstore.head(self._store, key)
        return ObjectInfo(key, found["size"], found["last_modified"].timestamp())

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        for page in self._obstore.list(self._store, prefix=folder or None):
            for found in page:
                yield ObjectInfo(found["path"], found["size"], found["last_modified"].timestamp())

    def delete(self, keys: Sequence[str]) -> None:
        if keys:
            self._obstore.delete(self._store, list(keys))

    def copy(self, key: str, to: str) -> None:
        self._obstore.copy(self._store, key, to)

    def url(self, key: str, expires: float) -> str:
        return self._obstore.sign(self._store, "GET", key, timedelta(seconds=expires))

    def close(self) -> None:
        """Its connections end with it."""
