"""DataType: how large or odd data is encoded, and where it is kept."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from superduper.api.v1alpha1.common import Code, ComponentResource, ComponentSpec, Count, FreeMap, Rule
from superduper.api.v1alpha1.conditions import Status

Codec = Literal["pickle", "json", "text", "bytes", "numpy", "image", "file"]
Encodable = Literal["native", "encodable", "artifact", "lazy_artifact", "file", "lazy_file"]

DEFAULT_ENCODABLE: dict[Codec | None, Encodable] = {
    "pickle": "artifact",
    "bytes": "artifact",
    "numpy": "artifact",
    "image": "artifact",
    "json": "native",
    "text": "native",
    "file": "file",
    None: "encodable",
}
"""Where encoded data is kept unless it is said; None stands for own encoders."""


def codec_or_coder(spec: DataTypeSpec) -> bool:
    """Whether there is either a codec or at least one of encoder and decoder."""
    return (spec.codec is not None) != (spec.encoder is not None or spec.decoder is not None)


def file_with_file(spec: DataTypeSpec) -> bool:
    """Whether files, and files only, are kept as files."""
    return (spec.codec == "file") == (spec.stored_as in ("file", "lazy_file"))


class DataTypeSpec(ComponentSpec):
    """A codec, or an encoder and a decoder, and where the encoded data is kept."""

    codec: Codec | None = None
    """Ready-made encoder and decoder."""
    encoder: Code | None = None
    """Callable `(x)` or `(x, info)` that turns a value into bytes or text; left out: values are stored as they are."""
    decoder: Code | None = None
    """Callable `(x)` or `(x, info)` that turns stored bytes or text into a value; left out: they are handed out as
    stored."""
    encodable: Encodable | None = None
    """Where encoded data is kept: in the row (`native`, `encodable`), in the artifact store (`artifact`,
    `lazy_artifact`), or as a file or folder there (`file`, `lazy_file`); lazy ones are read when unpacked. Left out:
    `artifact` for pickle, bytes, numpy and image; `native` for json and text; `file` for file; `encodable` for own
    encoders."""
    media_type: Annotated[str, StringConstraints(max_length=127)] | None = None
    """Media type of the encoded data, as `image/png`."""
    shape: Annotated[tuple[Count, ...], Field(max_length=16)] | None = None
    """Shape that decoded arrays have."""
    bytes_encoding: Literal["Bytes", "Str"] = "Bytes"
    """How bytes stand in a row: as they are, or as base64 text."""
    info: FreeMap | None = None
    """Free map that encoder and decoder are given; the image codec reads `format`, as PNG or JPEG."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "exactly_one_of_codec_or_coder",
            "either codec or encoder and/or decoder must be given, not both",
            codec_or_coder,
            cel="has(self.codec) != (has(self.encoder) || has(self.decoder))",
        ),
        Rule(
            "file_codec_with_file_encodable",
            "encodable file and lazy_file go with codec file, and codec file with these only",
            file_with_file,
            cel=(
                "(has(self.codec) && self.codec == 'file') == (has(self.encodable) "
                "? self.encodable in ['file', 'lazy_file'] : has(self.codec) && self.codec == 'file')"
            ),
        ),
    )

    @property
    def stored_as(self) -> Encodable:
        """``encodable``, or the default for the codec."""
        return self.encodable or DEFAULT_ENCODABLE[self.codec]


class DataTypeStatus(Status):
    """What is there."""

    version: Count | None = None
    """Version inside the datalayer."""


class DataType(ComponentResource):
    """How large or odd data is encoded, and where it is kept."""

    kind: Literal["DataType"] = "DataType"
    """Kind of the object."""
    spec: DataTypeSpec
    """What is wanted."""
    status: DataTypeStatus | None = None
    """What was observed; ignored when applied."""
