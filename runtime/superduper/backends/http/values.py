"""What models are given and give, over HTTP: plain values as they are, others encoded as a table would encode them."""

from __future__ import annotations

from typing import Any

from superduper.api.v1alpha1 import DataTypeSpec
from superduper.components.datatype import DataType
from superduper.components.schema import infer
from superduper.errors import QueryError

PLAIN, ENCODED = "plain", "encoded"


def packed(value: Any) -> list[Any]:
    """The value, and by which data type it is encoded where it is not plain. Raises EncodeError."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    kind = infer("value", [{"value": value}], "").fields.get("value", "json")
    if not isinstance(kind, DataType):
        return [PLAIN, value]
    spec = kind.spec().model_dump(mode="json", by_alias=True, exclude_none=True)
    return [ENCODED, spec, kind.encode(value)]


def unpacked(said: Any) -> Any:
    """The value again. Raises DecodeError; ConfigError for a pickle where none may be loaded."""
    match said:
        case ["plain", value]:
            return value
        case ["encoded", dict() as spec, bytes() as data] if "codec" in spec:
            return DataType.from_spec(DataTypeSpec.model_validate(spec)).decode(data)
    raise QueryError("a value is ['plain', value] or ['encoded', data type, bytes]")
