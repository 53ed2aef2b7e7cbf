"""Table: rows whose fields may be large or odd data, and where they come from."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from superduper.api.v1alpha1.common import (
    NO_RESERVED_FIELD,
    RESERVED_FIELDS,
    Code,
    ComponentResource,
    ComponentSpec,
    Count,
    CredentialsFrom,
    DeletionPolicy,
    Duration,
    FieldName,
    Fields,
    Identifier,
    Rule,
    Spec,
    Uri,
    exactly_one_of,
)
from superduper.api.v1alpha1.conditions import Status


def key_is_scalar(spec: TableSpec) -> bool:
    """Whether the primary key, where it is among the fields, is a str or an int."""
    field = spec.fields.get(spec.primary_key)
    return field is None or field.type in ("str", "int")


class Source(Spec):
    """Where the rows of a table come from."""

    uri: Uri | None = None
    """Folder or file to read, as `file://./data` (beside the manifest) or `s3://bucket/prefix`."""
    format: Literal["files", "jsonl", "csv", "parquet"] | None = None
    """What lies at the URI; `files`: each file is a row."""
    rows: Code | None = None
    """Callable that yields documents."""
    every: Duration | None = None
    """How often it is read again in a cluster, as 15m; without a cluster, each apply reads it."""
    credentials_from: CredentialsFrom | None = None
    """Secret with the source's credentials in a cluster; without one, the usual AWS_* environment variables."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "exactly_one_of_uri_or_rows",
            "exactly one of uri and rows must be given",
            exactly_one_of("uri", "rows"),
            cel="has(self.uri) != has(self.rows)",
        ),
        Rule(
            "format_with_uri",
            "format is required with uri, and not allowed with rows",
            lambda source: (source.uri is None) == (source.format is None),
            cel="has(self.uri) == has(self.format)",
        ),
    )


class TableSpec(ComponentSpec):
    """Fields, primary key and source of rows."""

    primary_key: FieldName = "id"
    """Field that names a row; where it is not among the fields, it is added as `str`."""
    fields: Fields = Field(default_factory=dict)
    """Name of each field and what its values are; left out: inferred from the first rows."""
    schema_name: Identifier | None = Field(default=None, alias="schema")
    """Identifier of the schema that the fields make up; left out: the table's identifier."""
    source: Source | None = None
    """Where the rows come from; left out: they are inserted by you."""
    deletion_policy: DeletionPolicy = "Retain"
    """Whether the rows are removed together with the object."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        NO_RESERVED_FIELD,
        Rule(
            "primary_key_is_str_or_int",
            "the primary key's field must have type str or int",
            key_is_scalar,
            cel=(
                "!has(self.fields) || !(self.primaryKey in self.fields) || (has(self.fields[self.primaryKey].type) && "
                "self.fields[self.primaryKey].type in ['str', 'int'])"
            ),
        ),
        Rule(
            "primary_key_not_reserved",
            f"primaryKey must not be {', '.join(RESERVED_FIELDS)}: superduper writes these",
            lambda spec: spec.primary_key not in RESERVED_FIELDS,
            cel=f"!(self.primaryKey in {list(RESERVED_FIELDS)})",
        ),
    )


class TableStatus(Status):
    """What is there."""

    version: Count | None = None
    """Version inside the datalayer."""
    rows: Count | None = None
    """Number of rows."""
    synced_at: datetime | None = None
    """When the source was last read."""


class Table(ComponentResource):
    """Rows whose fields may be large or odd data, and where they come from."""

    kind: Literal["Table"] = "Table"
    """Kind of the object."""
    spec: TableSpec
    """What is wanted."""
    status: TableStatus | None = None
    """What was observed; ignored when applied."""
