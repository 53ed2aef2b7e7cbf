"""What both S3 clients have in common: where the objects lie, and how a body is cut into parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from superduper.backends.base.artifacts import Buffer, ObjectInfo
from superduper.errors import UriError, nearest

__all__ = ["DEADLINE", "PART", "Driver", "Location", "parts"]

#: Seconds after which a server that does not answer counts as unreachable.
DEADLINE = 10
#: Bytes of a part of a multipart upload.
PART = 8 << 20

_OPTIONS = ("driver", "endpoint", "region")
_DRIVERS = ("obstore", "boto3")


@dataclass(frozen=True)
class Location:
    """``s3://bucket/prefix?endpoint=…&region=…&driver=obstore|boto3``, read."""

    uri: str
    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    driver: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Raises UriError."""
        split = urlsplit(uri)
        if split.scheme != "s3" or not split.netloc or split.fragment:
            raise UriError(f"{uri!r} names no bucket; write s3://bucket/prefix")
        if "@" in split.netloc or ":" in split.netloc:
            raise UriError(
                f"s3://{split.netloc.rpartition('@')[2]}: credentials and ports do not belong here; set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and ?endpoint= for a server of your own"
            )
        options = dict(parse_qsl(split.query, keep_blank_values=True))
        for name, value in options.items():
            if name not in _OPTIONS or not value:
                raise UriError(f"{uri!r}: option {name!r} is unknown or empty{nearest(name, _OPTIONS)}")
        driver = options.get("driver", "obstore")
        if driver not in _DRIVERS:
            raise UriError(f"{uri!r}: driver {driver!r} is neither obstore nor boto3{nearest(driver, _DRIVERS)}")
        prefix = unquote(split.path).strip("/")
        return cls(uri, split.netloc, prefix, options.get("endpoint"), options.get("region"), driver)

    def key(self, key: str) -> str:
        """The whole key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key


class Driver(ABC):
    """The verbs of one client. Objects that are not there raise KeyError, other errors are the client's own."""

    @abstractmethod
    def translated(self, what: str) -> AbstractContextManager[None]:
        """Errors of the client become ours."""

    @abstractmethod
    def probe(self) -> None:
        """One cheap request under the deadline."""

    @abstractmethod
    def put(self, key: str, data: Buffer, *, overwrite: bool) -> bool:
        """In one request."""

    @abstractmethod
    def put_parts(self, key: str, body: Iterable[bytes]) -> None:
        """As a multipart upload, ended or undone."""

    @abstractmethod
    def get(self, key: str) -> bytes: ...

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> bytes: ...

    @abstractmethod
    def head(self, key: str) -> ObjectInfo: ...

    @abstractmethod
    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """All below a folder, given without a slash at its end; everything for an empty one."""

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None: ...

    @abstractmethod
    def copy(self, key: str, to: str) -> None: ...

    @abstractmethod
    def url(self, key: str, expires: float) -> str: ...

    @abstractmethod
    def close(self) -> None: ...


def parts(body: Iterable[Buffer]) -> Iterator[bytes]:
    """A body in parts of the size of an upload's, but for the last."""
    waiting = bytearray()
    for piece in body:
        view = memoryview(piece)
        while view:
            room = PART - len(waiting)
            waiting += view[:room]
            view = view[room:]
            if len(waiting) == PART:
                yield bytes(waiting)
                waiting.clear()
    if waiting:
        yield bytes(waiting)
