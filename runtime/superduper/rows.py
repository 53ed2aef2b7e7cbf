"""Between documents and plain rows: the schema decides what a value is, never its content."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from superduper.artifacts import reference
from superduper.components.datatype import DataType
from superduper.components.schema import Schema
from superduper.document import Document, Encoded, LazyArtifact, LazyFile, Place, Source, as_given
from superduper.errors import (
    AccessDenied,
    ArtifactError,
    DecodeError,
    EncodeError,
    SchemaMismatch,
    StoreError,
    SuperduperError,
    Unreachable,
    nearest,
)
from superduper.query.tables import FOLDS, READ_ALONG, RESERVED, TableDef

if TYPE_CHECKING:
    from superduper.artifacts.writer import Writer

Encode = Callable[[Any, "Writer"], Any]
Row = dict[str, Any]

_BLOB = str(reference.Reference("blob", ""))
_FOLD_RANGE = 1 << 32
FIRST_PART = 8
"""Rows that are loaded first, to see how large their payloads are."""


def fold(key: Any, valid: float) -> str:
    """``train`` or ``valid``, by a hash of the primary key, so that inserting a row again agrees."""
    share = zlib.crc32(key.encode() if isinstance(key, str) else repr(key).encode()) / _FOLD_RANGE
    return "valid" if share < valid else "train"


class RowCodec:
    """Encodes and decodes the rows of one table."""

    def __init__(
        self,
        table: TableDef,
        schema: Schema,
        *,
        schemaless: bool,
        valid: float = 0.05,
        before: Mapping[str, DataType] | None = None,
    ) -> None:
        self.table, self.schema, self.schemaless, self.valid = table, schema, schemaless, valid
        self._before = before or {}
        """Data types of older rows, of fields that held files and hold payloads now, or the other way round."""
        self._encoders: dict[str, Encode] = {
            column.name: _encoder(schema.fields.get(column.name, column.type))
            for column in table.columns
            if column.name not in RESERVED
        }
        self._key_type = table.columns[0].type
        typed = {name: kind for name, kind in schema.fields.items() if isinstance(kind, DataType)}
        self._eager = {name: kind for name, kind in typed.items() if kind.encodable == "artifact"}
        self._handles = {
            name: kind for name, kind in typed.items() if kind.encodable == "lazy_artifact" or kind.is_file
        }
        self._inline = {
            name: kind
            for name, kind in typed.items()
            if not kind.is_artifact and not kind.is_file and not (kind.encodable == "native" and kind.codec in _SELF)
        }

    @property
    def has_artifacts(self) -> bool:
        """Whether any field's payload is in the artifact store."""
        return bool(self._eager or self._handles)

    def stores_as_is(self, fields: Iterable[str]) -> bool:
        """Whether what is stored in all these fields is the values themselves."""
        typed = {**self._eager, **self._handles, **self._inline}
        return not any(name in typed for name in fields)

    def encode(
        self, rows: Iterable[Mapping[str, Any]], writer: Writer, places: Iterable[object] | None = None
    ) -> list[Row]:
        """Plain rows; payloads go to the writer. Raises EncodeError or SchemaMismatch, naming row and field.

        ``places``: what each row is called in messages, as ``numbers.csv:7``; left out: its position.
        """
        named = enumerate(rows) if places is None else zip(places, rows, strict=True)
        return [self._encode_row(place, row, writer) for place, row in named]

    def _encode_row(self, position: object, row: Mapping[str, Any], writer: Writer) -> Row:
        # Asked for first: whether something is a Mapping is slow to say.
        if type(row) is not dict and not isinstance(row, Mapping):
            raise EncodeError(
                f"table {self.table.name!r}, row {position}: a {type(row).__name__} is no document; give a dict"
            )
        encoders = self._encoders
        key_name = self.table.primary_key
        plain: Row = {}
        if key_name not in row:
            self._refuse_read_along(position, row)
            plain[key_name] = self._new_key(position)
        name = ""
        try:
            for name, value in row.items():
                encode = encoders.get(name)
                if encode is None:
                    if name not in READ_ALONG:
                        plain[name] = self._undeclared(name, value)
                elif value is None:
                    plain[name] = None
                else:
                    plain[name] = encode(value, writer)
        except SuperduperError as error:
            raise _at(
                error, f"table {self.table.name!r}, row {position} ({row.get(key_name)!r}), field {name!r}"
            ) from error
        key = plain[key_name]
        if key is None:
            raise SchemaMismatch(
                f"table {self.table.name!r}, row {position}, field {key_name!r}: a primary key cannot be null"
            )
        given = row.get("_fold")
        if given is not None and given not in FOLDS:
            raise self._no_fold(given, f"row {position} ({key!r})")
        plain["_fold"] = fold(key, self.valid) if given is None else given
        return plain

    def _no_fold(self, given: Any, where: str) -> SchemaMismatch:
        return SchemaMismatch(
            f"table {self.table.name!r}, {where}: '_fold' is 'train' or 'valid', not {given!r}"
            f"{nearest(str(given), FOLDS)}; leave it out to have it chosen by the key"
        )

    def _refuse_read_along(self, position: object, row: Mapping[str, Any]) -> None:
        """What superduper or MongoDB writes is let go where a row was read, which its key tells; else it is a slip."""
        for name in READ_ALONG:
            if name in row and name != "_fold":
                raise SchemaMismatch(
                    f"table {self.table.name!r}, row {position}: {name!r} is not kept, and the primary key "
                    f"{self.table.primary_key!r} is not given; name your field otherwise, or give {self.table.primary_key!r}"
                )

    def value(self, name: str, value: Any, writer: Writer) -> Any:
        """One field's value as it is stored: for updates."""
        encode = self._encoders.get(name)
        try:
            if encode is None:
                if name == "_fold" and value not in FOLDS:
                    raise self._no_fold(value, "update")
                return value if name == "_fold" else self._undeclared(name, value)
            return None if value is None else encode(value, writer)
        except SuperduperError as error:
            raise _at(error, f"table {self.table.name!r}, field {name!r}") from error

    def column(self, name: str, values: Sequence[Any], writer: Writer) -> list[Any]:
        """Many values of one declared field as they are stored; errors as ``value``, without the row at fault."""
        if _surely(self.schema.fields.get(name), values):
            return list(values)
        encode = self._encoders[name]
        return [None if value is None else encode(value, writer) for value in values]

    def part(self, name: str, value: Any, writer: Writer) -> Any:
        """A value of an update: a field's, or (``meta.size``) what goes into a JSON field."""
        column = self.table.column(name)
        if "." in name or (column is not None and column.type == "json" and name not in self._inline):
            return _json(value)
        return self.value(name, value, writer)

    def _new_key(self, position: object) -> str:
        if self._key_type != "str":
            raise SchemaMismatch(
                f"table {self.table.name!r}, row {position}: field {self.table.primary_key!r} is the primary key and is not given"
            )
        return str(uuid.uuid4())

    def _undeclared(self, name: object, value: Any) -> Any:
        if not isinstance(name, str) or name.startswith("$"):
            raise SchemaMismatch("a field's name is a text that does not start with '$'")
        if not self.schemaless:
            raise SchemaMismatch(
                f"the schema {self.schema.identifier!r} has no such field{nearest(name, self._encoders)} "
                f"(fields: {', '.join(self._encoders)})"
            )
        return value

    def decode_parts(self, rows: list[Row], source: Source, budget: int) -> Iterator[list[Document]]:
        """Documents, in lists whose eager payloads come to about ``budget`` bytes at the most.

        The rows stay as they are, so that a list that was let go holds no payload.
        """
        start, step = 0, FIRST_PART if self._eager else len(rows)
        while start < len(rows):
            part = [Document(row) for row in rows[start : start + step]]
            start += len(part)
            if held := self._fill(part, source):
                step = max(1, min(len(rows), budget * len(part) // held))
            else:
                step = len(rows)
            yield part

    def decode(self, rows: Iterable[Row], source: Source) -> list[Document]:
        """Documents: eager payloads loaded and verified, lazy ones as handles."""
        documents = [Document(row) for row in rows]
        self._fill(documents, source)
        return documents

    def _fill(self, documents: Sequence[Row], source: Source) -> int:
        """Values in the place of what is stored; gives how many bytes of payloads were loaded."""
        held = sum(self._load(name, kind, documents, source) for name, kind in self._eager.items())
        for name, kind in self._inline.items():
            for row in documents:
                if row.get(name) is not None:
                    row[name] = self._guard(row, name, kind.decode, row[name])
        for name, kind in self._handles.items():
            for row in documents:
                if row.get(name) is not None:
                    row[name] = self._guard(
                        row, name, self._handle(row, self._kind(name, kind, row), source), row[name]
                    )
        return held

    def _kind(self, name: str, kind: DataType, row: Row) -> DataType:
        """The data type that this row's reference is of: today's, or that of before."""
        before = self._before.get(name)
        return before if before is not None and str(row[name]).startswith(_prefix(before)) else kind

    def _load(self, name: str, kind: DataType, rows: Sequence[Row], source: Source) -> int:
        """Payloads in the place of their references; gives how many bytes they were."""
        wanted = [row for row in rows if row.get(name) is not None]
        if name in self._before:
            for row in [row for row in wanted if self._kind(name, kind, row) is not kind]:
                row[name] = self._guard(row, name, self._handle(row, self._before[name], source), row[name])
                wanted.remove(row)
        payloads: Iterable[bytes]
        try:
            # What follows the prefix is checked by get_many, for all at once.
            texts = [row[name] for row in wanted]
            ids = [text[len(_BLOB) :] if str(text).startswith(_BLOB) else _id(text, kind) for text in texts]
            payloads = source.artifacts.get_many(ids)
        except (ArtifactError, DecodeError):
            payloads = (
                self._guard(row, name, lambda text: source.artifacts.get(_id(text, kind)), row[name]) for row in wanted
            )
        decode = kind.decode
        held = 0
        for row, data in zip(wanted, payloads, strict=True):
            held += len(data)
            try:
                row[name] = decode(data)
            except SuperduperError as error:
                raise _at(error, self._where(row, name)) from error
        return held

    def _handle(self, row: Row, kind: DataType, source: Source) -> Callable[[str], Any]:
        place = Place(self.table.name, row.get(self.table.primary_key))

        def handle(text: str) -> Any:
            identifier = _id(text, kind)
            if kind.encodable == "artifact":
                return kind.decode(source.artifacts.get(identifier))
            if kind.encodable == "file":
                return as_given(source.artifacts.checkout(identifier, source.files))
            return (LazyFile if kind.is_file else LazyArtifact)(text, kind, source, place)

        return handle

    def _guard(self, row: Row, name: str, decode: Callable[[Any], Any], value: Any) -> Any:
        try:
            return decode(value)
        except ArtifactError as error:
            raise error.at(self.table.name, row.get(self.table.primary_key)) from error.__cause__
        except SuperduperError as error:
            raise _at(error, self._where(row, name)) from error

    def _where(self, row: Row, name: str) -> str:
        return f"table {self.table.name!r}, row {row.get(self.table.primary_key)!r}, field {name!r}"

    def references(self, rows: Iterable[Row], *, files: bool = True) -> Iterator[str]:
        """Ids of all artifacts that the plain rows name, with or without those of files and folders."""
        names = [*self._eager, *(name for name, kind in self._handles.items() if files or not kind.is_file)]
        for row in rows:
            for name in names:
                text = row.get(name)
                if isinstance(text, str):
                    yield reference.parse(text).id

    @property
    def eager_fields(self) -> tuple[str, ...]:
        """Fields whose payload is loaded with the row."""
        return tuple(self._eager)

    @property
    def reference_fields(self) -> tuple[str, ...]:
        """Fields whose column holds a reference."""
        return (*self._eager, *self._handles)


_SELF = ("json", "text", "bytes", None)
"""Codecs whose native form is the value itself."""


def _prefix(kind: DataType) -> str:
    return "&:file:" if kind.is_file else _BLOB


def _id(text: str, kind: DataType) -> str:
    """The id in a stored reference. Raises InvalidReference, DecodeError where it is of the other kind."""
    found = reference.parse(text)
    if found.kind != ("file" if kind.is_file else "blob"):
        raise DecodeError(f"{text} is a reference to a {found.kind}, which DataType {kind.identifier!r} does not hold")
    return found.id


_OF_STORES = (ArtifactError, StoreError, Unreachable, AccessDenied)


def _at(error: SuperduperError, where: str) -> SuperduperError:
    # What the store says is no fault of the row's: payloads are written while rows are encoded.
    if isinstance(error, _OF_STORES) or str(error).startswith("table "):
        return error
    kind = type(error) if isinstance(error, (EncodeError, DecodeError, SchemaMismatch)) else EncodeError
    return kind(f"{where}: {error}")


def _encoder(kind: DataType | str) -> Encode:
    if isinstance(kind, DataType):
        return _typed(kind)
    plain = _PLAIN[kind]
    return lambda value, _: plain(value)


def _typed(kind: DataType) -> Encode:
    encode_value = kind.encode

    def encode(value: Any) -> Any:
        given = type(value)
        if given is Encoded:
            return kind.encoded(value.data)
        return encode_value(value.unpack() if given is LazyArtifact or given is LazyFile else value)

    if kind.is_file:
        symlinks = kind.symlinks
        return lambda value, writer: reference.file(writer.put_path(encode(value), symlinks=symlinks))
    if kind.is_artifact:
        return lambda value, writer: _BLOB + writer.put(encode(value))
    if kind.column_type == "json":
        return lambda value, _: _json(encode(value))
    return lambda value, _: encode(value)


def _surely(kind: DataType | str | type | None, values: Sequence[Any]) -> bool:
    """Whether all values are stored as they are: said fast, for there may be many."""
    types = set(map(type, values))
    if kind == "int":
        return types == {int} and min(values) >= -(1 << 63) and max(values) < 1 << 63
    if kind == "str":
        return types == {str} and all(map(str.isascii, values))
    return kind == "float" and types == {float}


def _wrong(value: Any, expected: str) -> SchemaMismatch:
    return SchemaMismatch(f"expected {expected}, got {type(value).__name__} {value!r:.60}")


def _plain_number(value: Any) -> Any:
    """A numpy scalar as Python's own number."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SchemaMismatch(f"the text is no Unicode: {error}; keep such bytes in a bytes field") from error
    return value


def _int(value: Any) -> int:
    value = _plain_number(value)
    if type(value) is not int:
        raise _wrong(value, "int")
    if not -(1 << 63) <= value < 1 << 63:
        raise SchemaMismatch(f"{value} does not fit 64 bits; use a str field or a DataType")
    return value


def _float(value: Any) -> float:
    value = _plain_number(value)
    if type(value) is float:
        return value
    if type(value) is not int or int(float(value)) != value:
        raise _wrong(value, "float")
    return float(value)


def _bool(value: Any) -> bool:
    value = _plain_number(value)
    if type(value) is not bool:
        raise _wrong(value, "bool")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _wrong(value, "bytes")
    return bytes(value)


def _datetime(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise _wrong(value, "datetime")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _json(value: Any) -> Any:
    try:
        same = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SchemaMismatch(f"not JSON: {error}") from error
    if same != value:
        raise SchemaMismatch("JSON has lists and text keys only: a tuple or another key would not come back as it was")
    return same


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "str": _str, "int": _int, "float": _float, "bool": _bool, "bytes": _bytes, "datetime": _datetime, "json": _json,
}  # fmt: skip
