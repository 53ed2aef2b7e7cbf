"""``Table``: rows with a schema, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from superduper.components.component import Component, Lookup, alone, check_identifier
from superduper.components.schema import Schema, field_specs, from_field_specs
from superduper.errors import ConfigError
from superduper.query.tables import RESERVED, TableDef

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import TableSpec
    from superduper.api.v1alpha1.table import Source
    from superduper.components.datatype import DataType


OWN = ("_superduper_", "_outputs__")
"""What names of superduper's own tables begin with."""


def check_name(identifier: str) -> None:
    """Raises ConfigError for what cannot be the name of a user's table."""
    check_identifier("Table", identifier)
    # By any case: there are databases in which that makes no difference.
    if identifier.lower().startswith(OWN):
        raise ConfigError(f"Table {identifier!r}: names that begin with {' or '.join(OWN)} are superduper's own")


class Table(Component):
    """A table of the databackend whose rows follow a schema.

    Without a schema and without fields one is inferred from the first rows inserted. ``primary_id`` names the
    primary key: a ``str`` unless the schema says ``int``; a ``str`` key that a row lacks is made up.
    """

    type_id = "table"

    def __init__(
        self,
        identifier: str,
        schema: Schema | None = None,
        primary_id: str = "id",
        *,
        fields: Mapping[str, DataType | str | type] | None = None,
        source: Source | None = None,
        deletion_policy: Literal["Retain", "Delete"] = "Retain",
    ) -> None:
        check_name(identifier)
        super().__init__(identifier)
        if schema is not None and fields is not None:
            raise ConfigError(f"Table {identifier!r}: give schema or fields, not both")
        self.schema = Schema(identifier, fields or {}) if schema is None else schema
        if primary_id in RESERVED:
            raise ConfigError(
                f"Table {identifier!r}: the primary key cannot be {primary_id!r}, which superduper writes"
            )
        self.primary_id, self.source, self.deletion_policy = primary_id, source, deletion_policy
        key = self.schema.fields.get(primary_id, "str")
        if key not in ("str", "int"):
            raise ConfigError(
                f"Table {identifier!r}: the primary key {primary_id!r} is {key!r}; it must be 'str' or 'int'"
            )

    def children(self) -> list[Component]:
        return [self.schema]

    @property
    def definition(self) -> TableDef:
        """What the databackend knows of it."""
        return self.schema.table(self.identifier, self.primary_id)

    def spec(self) -> TableSpec:
        from superduper.api.v1alpha1 import TableSpec

        return TableSpec(
            identifier=self.identifier,
            primary_key=self.primary_id,
            fields=field_specs(self.schema.fields),
            schema_name=None if self.schema.identifier == self.identifier else self.schema.identifier,
            source=self.source,
            deletion_policy=self.deletion_policy,
        )

    @classmethod
    def from_spec(cls, spec: TableSpec, *, lookup: Lookup = alone) -> Table:
        """The table that the spec says; ``lookup`` gives the data types that its fields name."""
        identifier = spec.identifier or ""
        schema = Schema(spec.schema_name or identifier, from_field_specs(spec.fields, lookup))
        return cls(identifier, schema, spec.primary_key, source=spec.source, deletion_policy=spec.deletion_policy)
