"""``Schema``: the type of each field of a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from superduper.components.component import Component, Lookup, alone
from superduper.components.datatype import DataType
from superduper.errors import ConfigError, SchemaMismatch, nearest
from superduper.query.tables import READ_ALONG, Column, ColumnType, TableDef

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import FieldType, SchemaSpec

PLAIN: tuple[str, ...] = get_args(ColumnType)


class Schema(Component):
    """Field names and their types: a plain type's name (``'int'``) or a ``DataType``."""

    type_id = "schema"

    def __init__(self, identifier: str, fields: Mapping[str, DataType | str | type]) -> None:
        super().__init__(identifier)
        self.fields = {name: _field(identifier, name, kind) for name, kind in fields.items()}

    def children(self) -> list[Component]:
        found = {kind.identifier: kind for kind in self.fields.values() if isinstance(kind, DataType)}
        return list(found.values())

    def table(self, name: str, primary_key: str) -> TableDef:
        """The table that holds such rows: the key first, ``_fold`` last."""
        columns = [Column(field, column_type(kind)) for field, kind in self.fields.items()]
        key = [c for c in columns if c.name == primary_key] or [Column(primary_key, "str")]
        rest = [c for c in columns if c.name != primary_key]
        return TableDef(name, (*key, *rest, Column("_fold", "str")), primary_key, self.identifier)

    def spec(self) -> SchemaSpec:
        from superduper.api.v1alpha1 import SchemaSpec

        return SchemaSpec(identifier=self.identifier, fields=field_specs(self.fields))

    @classmethod
    def from_spec(cls, spec: SchemaSpec, *, lookup: Lookup = alone) -> Schema:
        """The schema that the spec says; ``lookup`` gives the data types that it names."""
        return cls(spec.identifier or "", from_field_specs(spec.fields, lookup))


def column_type(kind: DataType | str) -> ColumnType:
    """Type of the column of a field."""
    return kind.column_type if isinstance(kind, DataType) else kind  # type: ignore[return-value]


def storage(kind: DataType | str) -> str:
    """What the field's stored value is; see ``DataType.storage``."""
    return kind.storage if isinstance(kind, DataType) else kind


def field_spec(kind: DataType | str) -> FieldType:
    """``{type: …}`` or ``{dataType: …}``."""
    from superduper.api.v1alpha1 import FieldType

    return FieldType(data_type=kind.identifier) if isinstance(kind, DataType) else FieldType(type=kind)


def field_specs(fields: Mapping[str, DataType | str]) -> dict[str, FieldType]:
    """The specs of all fields."""
    return {name: field_spec(kind) for name, kind in fields.items()}


def from_field_spec(spec: FieldType, lookup: Lookup) -> DataType | str:
    """The type that a field's spec says."""
    if spec.data_type is None:
        return str(spec.type)
    found = lookup("datatype", spec.data_type)
    assert isinstance(found, DataType)
    return found


def from_field_specs(specs: Mapping[str, FieldType], lookup: Lookup) -> dict[str, DataType | str]:
    """The types of all fields."""
    return {name: from_field_spec(spec, lookup) for name, spec in specs.items()}


def infer(identifier: str, rows: Iterable[Mapping[str, Any]], primary_key: str) -> Schema:
    """A schema that all the rows fit: plain types where they do, numpy arrays, images, and pickles for the rest."""
    kinds: dict[str, DataType | str] = {}
    for row in rows:
        for name, value in row.items():
            if not isinstance(name, str):
                raise SchemaMismatch(f"table {identifier!r}: a field's name is a text, not {name!r}")
            if name in READ_ALONG or value is None:
                continue
            kind = _infer_value(value)
            known = kinds.setdefault(name, kind)
            if storage(known) != storage(kind):
                kinds[name] = "float" if {storage(known), storage(kind)} == {"int", "float"} else _pickle()
    if isinstance(kinds.get(primary_key), DataType):
        raise ConfigError(f"field {primary_key!r} is the primary key and must be a str or an int")
    return Schema(identifier, kinds)


def _pickle() -> DataType:
    return DataType("inferred_pickle", codec="pickle", encodable="artifact")


def _infer_value(value: Any) -> DataType | str:
    for type_, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"), (datetime, "datetime")):
        if isinstance(value, type_):
            return name
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(value, (dict, list)) and _is_json(value):
        return "json"
    origin = type(value).__module__.partition(".")[0]
    if origin == "numpy" and type(value).__name__ == "ndarray" and value.dtype.kind in "biufcSU":
        return DataType("inferred_numpy", codec="numpy", encodable="artifact")
    if origin == "PIL":
        return DataType("inferred_image", codec="image", encodable="artifact")
    return _pickle()


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(part) for key, part in value.items())
    if isinstance(value, list):
        return all(_is_json(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _field(schema: str, name: str, kind: DataType | str | type) -> DataType | str:
    if not isinstance(name, str) or name in READ_ALONG or "." in name or name.startswith("$") or not name:
        raise ConfigError(
            f"Schema {schema!r}: a field cannot be named {name!r} (reserved: {', '.join(READ_ALONG)}; no '.', no '$')"
        )
    if isinstance(kind, type):
        kind = kind.__name__
    if isinstance(kind, DataType):
        return kind
    if isinstance(kind, str) and kind in PLAIN:
        return kind
    raise ConfigError(
        f"Schema {schema!r}: field {name!r} is {kind!r}, neither a DataType nor one of {', '.join(PLAIN)}"
        + nearest(str(kind), PLAIN)
    )
