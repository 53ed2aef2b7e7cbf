"""What the datalayer's server and its clients say to each other: values, errors and streams, in msgpack.

Values are the plain ones that rows hold. Beside msgpack's own types there are extensions:

======  ==========================================================================================
``-1``  a datetime with a zone, to the microsecond; it comes back in UTC
``1``   a datetime without a zone, as ISO 8601
``2``   an integer beyond 64 bits, as text: a databackend refuses it by row and field
``3``   a value of MongoDB's own types (ObjectId, Decimal128 …), as BSON
``4``   one of the classes in ``CLASSES``: its name and its fields
``5``   a value that no database keeps, as the name of its type: it is refused where rows are checked
======  ==========================================================================================

Nothing is pickled, and nothing but the classes named here is made of what arrives. A stream is a sequence of frames, each one
byte of kind, four of length (big-endian) and so many bytes; it ends with a frame that says so, so that one that was
cut short is noticed.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from superduper import errors
from superduper.errors import EncodeError, MissingExtra, QueryError, StoreError, SuperduperError, Unreachable
from superduper.query import ast
from superduper.query.tables import Column, TableDef

try:
    import msgpack
except ImportError as error:  # pragma: no cover - a test takes the package away in another process
    raise MissingExtra("msgpack", "http", "a datalayer over HTTP") from error

MEDIA_TYPE = "application/vnd.superduper.msgpack"
"""Content type of one value."""
STREAM_TYPE = "application/vnd.superduper.frames"
"""Content type of frames."""

ITEM, DATA, ALIVE, ERROR, ABORT, END = b"i", b"d", b"k", b"e", b"a", b"z"
"""Kinds of frames: a value, bytes, a sign of life, an error, the sender gives up, the end."""
HEADER = struct.Struct("!cI")
FRAME_BYTES = 256 << 20
"""Bytes of a frame at most."""

_NAIVE, _BIG, _BSON, _CLASS, _STRANGE = 1, 2, 3, 4, 5
CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(ast.Compare, ast.In, ast.Exists, ast.Regex, ast.And, ast.Or, ast.Not, ast.Select, ast.Update),
        *(Column, TableDef),
    )
}
"""All that a tagged tree may be made of."""


def dumps(value: Any) -> bytes:
    """The value as bytes. Raises EncodeError where it is nested too deeply."""
    packer = msgpack.Packer(default=_extended, strict_types=True, datetime=True, unicode_errors="surrogatepass")
    try:
        packed: bytes = packer.pack(value)
    except (ValueError, RecursionError) as error:
        raise EncodeError(f"a value cannot be sent over HTTP: {error}; nest it less deeply") from error
    return packed


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value that those bytes say. Raises QueryError where they are none."""
    try:
        return msgpack.unpackb(
            data, ext_hook=_restored, timestamp=3, strict_map_key=False, unicode_errors="surrogatepass", **_LIMITS
        )
    except SuperduperError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise QueryError(f"what arrived cannot be read as a request or an answer of superduper: {error}") from error


_LIMITS = dict.fromkeys(("max_str_len", "max_bin_len", "max_array_len", "max_map_len", "max_ext_len"), 2**31 - 1)


def _extended(value: Any) -> Any:
    """What msgpack does not know by itself."""
    kind = type(value)
    if kind.__name__ in CLASSES and kind is CLASSES[kind.__name__]:
        fields = [getattr(value, field.name) for field in dataclasses.fields(kind)]
        return msgpack.ExtType(_CLASS, dumps([kind.__name__, *fields]))
    if isinstance(value, datetime):
        return msgpack.ExtType(_NAIVE, value.isoformat().encode())
    if kind.__module__.partition(".")[0] == "bson":
        import bson

        return msgpack.ExtType(_BSON, bson.encode({"": value}))
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 and kind is not int else msgpack.ExtType(_BIG, b"%d" % value)
    for base, plain in _PLAIN:
        if isinstance(value, base):
            return plain(value)
    return msgpack.ExtType(_STRANGE, kind.__name__.encode())


_PLAIN: tuple[tuple[Any, Any], ...] = (
    (str, str.__str__),
    (float, float.__float__),
    ((bytearray, memoryview, bytes), bytes),
    (Mapping, dict),
    ((tuple, list), list),
)


def _restored(code: int, data: bytes) -> Any:
    if code == _NAIVE:
        return datetime.fromisoformat(data.decode())
    if code == _BIG:
        return int(data)
    if code == _BSON:
        return _from_bson(data)
    if code == _CLASS:
        name, *fields = loads(data)
        return _made(name, fields)
    if code == _STRANGE:
        return type(data.decode("utf-8", "replace"), (), {"__slots__": ()})()
    raise ValueError(f"extension {code} is unknown")


def _from_bson(data: bytes) -> Any:
    try:
        import bson
        from bson.codec_options import CodecOptions
    except ImportError as error:
        raise MissingExtra("pymongo", "mongodb", "a datalayer whose databackend is MongoDB") from error
    return bson.decode(data, CodecOptions(tz_aware=True))[""]


def _made(name: Any, fields: list[Any]) -> Any:
    """One of ``CLASSES``, of fields that fit its annotations."""
    kind = CLASSES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"{name!r} is no part of a query")
    hints = _HINTS[name]
    if len(fields) > len(hints):
        raise ValueError(f"{name} has {len(hints)} fields, not {len(fields)}")
    given = {
        field: _fit(value, hint, f"{name}.{field}") for (field, hint), value in zip(hints.items(), fields, strict=False)
    }
    return kind(**given)


def _fit(value: Any, hint: Any, where: str) -> Any:
    """The value, lists made the tuples that the class has. Raises ValueError where it is of another type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is object or type(value) is hint or (hint is float and type(value) is int):
        return value
    if origin is tuple and isinstance(value, list):
        parts = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_fit(item, part, where) for item, part in zip(value, parts, strict=True))
    if origin in (Union, UnionType):
        return _fit_one_of(value, args, where)
    if origin is Literal and value in args:
        return value
    if origin is Mapping and isinstance(value, dict):
        return {_fit(key, args[0], where): _fit(item, args[1], where) for key, item in value.items()}
    raise ValueError(f"{where} cannot be {str(value)[:40]!r}")


def _fit_one_of(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    for hint in hints:
        try:
            return _fit(value, hint, where)
        except ValueError:
            continue
    raise ValueError(f"{where} cannot be {str(value)[:40]!r}")


_HINTS = {name: get_type_hints(kind) for name, kind in CLASSES.items()}


# Errors

_ATTRIBUTES = ("keys", "problem", "reference", "store", "table", "row", "where", "part", "line", "package", "extra")
_KEY_ERROR = "KeyError"


def error_to(error: BaseException) -> dict[str, Any]:
    """An error of ours as ``{"code", "message", "field", …}``; a KeyError (there is no such object) too."""
    if isinstance(error, KeyError) and not isinstance(error, SuperduperError):
        return {"code": _KEY_ERROR, "message": str(error.args[0] if error.args else ""), "field": None}
    kept = {name: vars(error)[name] for name in _ATTRIBUTES if name in vars(error)}
    return {"code": type(error).__name__, "message": str(error), "field": None, "attributes": kept}


def error_from(said: Any, otherwise: str = "") -> Exception:
    """The same error again: its class, its message and what it holds; StoreError where the class is unknown."""
    if not isinstance(said, Mapping) or "code" not in said:
        return StoreError(otherwise or f"the server answered something else than an error of superduper: {said!r:.200}")
    code, message = str(said["code"]), str(said.get("message", ""))
    if code == _KEY_ERROR:
        return KeyError(message)
    kind = getattr(errors, code, None) if code in errors.__all__ else None
    if not isinstance(kind, type) or not issubclass(kind, SuperduperError):
        return StoreError(message or f"the server failed with {code}")
    made: SuperduperError = kind.__new__(kind, message)
    Exception.__init__(made, message)
    attributes = said.get("attributes")
    if issubclass(kind, errors.ArtifactError):
        made.__dict__.update({"problem": message, "reference": "", "store": "", "table": "", "row": None})
    elif issubclass(kind, errors.CodeError):
        made.__dict__.update({"problem": message, "where": "", "part": "", "line": None})
    elif issubclass(kind, errors.DuplicateKey):
        made.__dict__["keys"] = ()
    if isinstance(attributes, Mapping):
        known = {name: value for name, value in attributes.items() if name in _ATTRIBUTES}
        made.__dict__.update(known)
        if "keys" in known:
            made.__dict__["keys"] = tuple(known["keys"])
    elif issubclass(kind, errors.ArtifactError):
        # Its text would be made of its parts, which are not known: then the message is all there is.
        return StoreError(message)
    return made


# Streams


def frame(kind: bytes, payload: bytes | bytearray | memoryview = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(payload)) + payload


def read_frames(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of each frame of a stream that arrives in pieces of any size, up to its end.

    Raises Unreachable where the stream stops before its end.
    """
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(buffer, start)
            if length > FRAME_BYTES:
                raise StoreError(f"a frame of {length:,} bytes arrived, and at most {FRAME_BYTES:,} are read")
            if len(buffer) - start < HEADER.size + length:
                break
            start += HEADER.size + length
            yield kind, bytes(memoryview(buffer)[start - length : start])
            if kind == END:
                return
        del buffer[:start]
    raise Unreachable("the server's answer broke off before its end; check that the server runs, and try again")


class Unframer:
    """Takes the frames off a body that arrives in pieces, without holding more than a piece."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._kind = b""
        self.ended = self.aborted = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The payloads' bytes in it."""
        view = memoryview(chunk)
        while view and not (self.ended or self.aborted):
            if self._left:
                part = view[: self._left]
                view = view[len(part) :]
                self._left -= len(part)
                yield bytes(part)
                continue
            need = HEADER.size - len(self._head)
            self._head += view[:need]
            view = view[need:]
            if len(self._head) == HEADER.size:
                self._kind, self._left = HEADER.unpack(self._head)
                self._head.clear()
                self.ended, self.aborted = self._kind == END, self._kind == ABORT
