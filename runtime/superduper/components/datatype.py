"""``DataType``: how one kind of large or odd value is encoded, and where the bytes go."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from superduper import code as _code
from superduper import codecs
from superduper.components.component import Component
from superduper.errors import ConfigError, DecodeError, EncodeError, SuperduperError, nearest
from superduper.query.tables import ColumnType

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Code, DataTypeSpec

Encodable = Literal["native", "encodable", "artifact", "lazy_artifact", "file", "lazy_file"]

_DEFAULT: dict[str, Encodable] = {"json": "native", "text": "native", "file": "file"}
_PLAINEST = {"file": "file", "lazy_file": "file", "native": "json"}
"""Codec of a data type that names neither a codec nor an encoder or decoder; else ``bytes``."""


class DataType(Component):
    """How a value is encoded and kept.

    ``encodable`` says where: ``native`` and ``encodable`` in the row; ``artifact`` in the artifact store, loaded
    with the row; ``lazy_artifact`` there, loaded on ``unpack``; ``file`` and ``lazy_file`` take the path of a file
    or folder, whose content goes to the artifact store and is copied out again on reading; symbolic links in it are
    refused, or with ``info={'symlinks': 'keep'}`` kept as links.

    Where ``shape`` is given, every value must have it: an array, an image, or nested lists.

    ``encoder`` and ``decoder`` are called as ``(x, info)`` or ``(x)``, whichever they accept; without them ``codec``
    names a ready-made pair (see ``superduper.codecs``).
    """

    type_id = "datatype"

    def __init__(
        self,
        identifier: str,
        encoder: Callable[..., Any] | Code | None = None,
        decoder: Callable[..., Any] | Code | None = None,
        info: Mapping[str, Any] | None = None,
        shape: tuple[int, ...] | list[int] | None = None,
        directory: str | None = None,
        encodable: Encodable | None = None,
        bytes_encoding: str = "Bytes",
        intermediate_type: str | None = "bytes",
        media_type: str | None = None,
        *,
        codec: str | None = None,
        fetch: _code.Fetch | None = None,
    ) -> None:
        super().__init__(identifier)
        if codec is not None and (encoder is not None or decoder is not None):
            raise ConfigError(f"DataType {identifier!r}: give codec, or encoder and decoder, not both")
        if encodable is None:
            encodable = "encodable" if codec is None else _DEFAULT.get(codec, "artifact")
        if encodable not in get_args(Encodable):
            raise ConfigError(
                f"DataType {identifier!r}: encodable {encodable!r} is none of {', '.join(get_args(Encodable))}"
                + nearest(str(encodable), get_args(Encodable))
            )
        if bytes_encoding not in ("Bytes", "Str"):
            raise ConfigError(f"DataType {identifier!r}: bytes_encoding is 'Bytes' or 'Str', not {bytes_encoding!r}")
        self.codec = codec
        if codec is None and encoder is None and decoder is None:
            self.codec = _PLAINEST.get(encodable, "bytes")
        self.encoder, self.decoder, self.info = encoder, decoder, dict(info) if info is not None else None
        self.shape = tuple(shape) if shape is not None else None
        self.directory, self.encodable, self.bytes_encoding = directory, encodable, bytes_encoding
        if self.is_file and (self.info or {}).get("symlinks", "refuse") not in ("refuse", "keep"):
            raise ConfigError(
                f"DataType {identifier!r}: info['symlinks'] is 'refuse' or 'keep', not {(self.info or {})['symlinks']!r}"
            )
        self.intermediate_type, self.media_type = intermediate_type, media_type
        self.upstream = self.plugins = None
        self._fetch = fetch
        self._coders: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
        self._holds_bytes = False
        if self.codec is not None:
            self._ready = codecs.get(self.codec)
            if self.is_file != (self.codec == "file"):
                raise ConfigError(
                    f"DataType {identifier!r}: codec 'file' goes with encodable file or lazy_file, and only there"
                )
            if self.media_type is None:
                image = f"image/{str((self.info or {}).get('format', 'png')).lower()}"
                self.media_type = image if self.codec == "image" else self._ready.media_type

    @property
    def is_artifact(self) -> bool:
        """The row holds a reference to bytes in the artifact store."""
        return self.encodable in ("artifact", "lazy_artifact")

    @property
    def is_file(self) -> bool:
        """The row holds a reference to a file or folder in the artifact store."""
        return self.encodable in ("file", "lazy_file")

    @property
    def symlinks(self) -> Literal["refuse", "keep"]:
        """What is done with symbolic links in a folder."""
        return "keep" if (self.info or {}).get("symlinks") == "keep" else "refuse"

    @property
    def column_type(self) -> ColumnType:
        """Type of the column that holds the value or its reference."""
        if self.is_artifact or self.is_file:
            return "str"
        if self.encodable == "native" and self.codec is not None and self._ready.native is not None:
            return self._ready.native  # type: ignore[return-value]
        return "bytes" if self.bytes_encoding == "Bytes" else "str"

    @property
    def storage(self) -> str:
        """What a stored value is: rows written under one storage cannot be read under another."""
        kind = "file" if self.is_file else "blob" if self.is_artifact else self.column_type
        return f"{kind}:{self.codec or 'custom'}"

    def encode(self, value: Any) -> Any:
        """Bytes for the artifact store, or the value for the column. Raises EncodeError."""
        try:
            if self.shape is not None:
                self._check_shape(value)
            data = self._functions()[0](value)
        except SuperduperError:
            raise
        except Exception as error:
            raise EncodeError(f"the encoder of DataType {self.identifier!r} raised {_code.describe(error)}") from error
        if self._holds_bytes and type(data) is bytes:
            return data
        if self.is_file or self.column_type not in ("bytes", "str") or (self.column_type == "str" and self._plain_text):
            return data
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise EncodeError(
                f"the encoder of DataType {self.identifier!r} gave {type(data).__name__}, not bytes; return bytes, "
                "or use encodable='native' without an encoder"
            )
        if self.bytes_encoding == "Str" and not self.is_artifact:
            return base64.b64encode(data).decode("ascii")
        return bytes(data) if not isinstance(data, bytes) else data

    def encoded(self, data: bytes) -> Any:
        """What ``encode`` gives for the value that these bytes hold. Raises DecodeError where they do not decode."""
        stored: Any = data
        if not self.is_artifact and self.column_type == "json":
            stored = codecs.get("json").decode(data, None)
        elif not self.is_artifact and self.column_type == "str":
            stored = data.decode() if self._plain_text else base64.b64encode(data).decode("ascii")
        if self.codec not in ("pickle", "bytes") or self.shape is not None:
            value = self.decode(stored)
            if self.shape is not None:
                self._check_shape(value)
        return stored

    def _check_shape(self, value: Any) -> None:
        if (found := codecs.shape(value)) != self.shape:
            raise EncodeError(f"DataType {self.identifier!r} has the shape {self.shape}, and the value {found}")

    def decode(self, data: Any) -> Any:
        """The value of what ``encode`` gave. Raises DecodeError."""
        try:
            decode = self._functions()[1]
            if (
                not self._holds_bytes
                and self.bytes_encoding == "Str"
                and self.column_type == "str"
                and not self._plain_text
            ):
                data = base64.b64decode(data, validate=True)
            return decode(data)
        except SuperduperError:
            raise
        except Exception as error:
            raise DecodeError(f"the decoder of DataType {self.identifier!r} raised {_code.describe(error)}") from error

    @property
    def _plain_text(self) -> bool:
        return self.encodable == "native" and self.codec == "text"

    def check(self) -> None:
        """Load what encodes and decodes. Raises CodeError, or ConfigError where the codec cannot use ``info``."""
        from superduper.api.v1alpha1 import Code

        if self.codec is not None:
            try:
                codecs.check_info(self.codec, self.info)
            except ConfigError as error:
                raise ConfigError(f"DataType {self.identifier!r} info: {error}") from error
        for name in ("encoder", "decoder"):
            given = getattr(self, name)
            # A pickle was made of a callable that was there; whether it may be loaded is for those who read rows.
            if isinstance(given, Code) and given.pickle is None:
                self._resolve(name)

    def _functions(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        if self._coders is None:
            self._holds_bytes = self.is_artifact or (not self.is_file and self.column_type == "bytes")
            if self.codec is not None:
                native = self.encodable == "native" and self._ready.native is not None
                pair = (_same, _same) if native else (self._bind(self._ready.encode), self._bind(self._ready.decode))
            else:
                pair = (self._bind(self._resolve("encoder")), self._bind(self._resolve("decoder")))
            self._coders = pair
        return self._coders

    def _resolve(self, name: str) -> Callable[..., Any]:
        from superduper.api.v1alpha1 import Code

        given = getattr(self, name)
        if isinstance(given, Code):
            return _code.load(given, self._fetch or _nothing_stored, where=f"DataType {self.identifier!r} {name}")  # type: ignore[no-any-return]
        return given if given is not None else _same

    def _bind(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        if function is _same or not _takes_info(function):
            return function
        info = self.info
        return lambda value: function(value, info)

    def spec(self) -> DataTypeSpec:
        from superduper.api.v1alpha1 import DataTypeSpec

        coders = {
            name: self._code(name, getattr(self, name))
            for name in ("encoder", "decoder")
            if getattr(self, name) is not None
        }
        return DataTypeSpec(
            identifier=self.identifier,
            codec=self.codec,
            encodable=self.encodable,
            media_type=self.media_type,
            shape=self.shape,
            bytes_encoding=self.bytes_encoding,
            info=self.info,
            **coders,
        )

    @classmethod
    def from_spec(cls, spec: DataTypeSpec, *, fetch: _code.Fetch | None = None) -> DataType:
        """The data type that the spec says; ``fetch`` gives the bytes of pickled coders."""
        return cls(
            spec.identifier or "",
            encoder=spec.encoder,
            decoder=spec.decoder,
            info=spec.info or None,
            shape=spec.shape,
            encodable=spec.stored_as,
            bytes_encoding=spec.bytes_encoding,
            media_type=spec.media_type,
            codec=spec.codec,
            fetch=fetch,
        )

    def __repr__(self) -> str:
        shown = (
            "identifier", "uuid", "upstream", "plugins", "encoder", "decoder", "info", "shape", "directory", "encodable",
            "bytes_encoding", "intermediate_type", "media_type",
        )  # fmt: skip
        return f"DataType({', '.join(f'{name}={self._shown(name)!r}' for name in shown)})"

    def _shown(self, name: str) -> Any:
        """Code as the function that it is, where that loads."""
        from superduper.api.v1alpha1 import Code

        value = getattr(self, name)
        if not isinstance(value, Code):
            return value
        try:
            return self._resolve(name)
        except SuperduperError:
            return value


def _same(value: Any) -> Any:
    return value


def _nothing_stored(identifier: str) -> bytes:
    raise DecodeError(f"the code {identifier} is in an artifact store; load the component through its datalayer")


def _takes_info(function: Callable[..., Any]) -> bool:
    """Whether to call ``(x, info)``: a parameter of that name, or a second one that must be given."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    if any(p.name == "info" or p.name == "_" for p in parameters[1:2]):
        return True
    second = parameters[1:2]
    return bool(second) and second[0].default is second[0].empty and second[0].kind in (
        second[0].POSITIONAL_ONLY, second[0].POSITIONAL_OR_KEYWORD,
    )  # fmt: skip
