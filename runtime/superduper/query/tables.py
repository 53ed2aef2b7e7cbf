"""What a databackend knows of a table: columns of plain types, one primary key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["str", "int", "float", "bool", "bytes", "json", "datetime"]

#: Columns and keys that superduper writes itself; no field of a user may have such a name.
RESERVED = ("_fold", "_schema", "_builds", "_files", "_blobs", "_id")

#: What a document that was read holds beside its own fields.
READ_ALONG = (*RESERVED, "_outputs")

FOLDS = ("train", "valid")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. References to artifacts are stored as ``str``."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class TableDef:
    """A table as the databackend sees it: nothing of data types or artifacts.

    ``columns`` holds the primary key first and ends with ``_fold`` for user tables.
    ``schema`` is the identifier that document stores write into each record as ``_schema``.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: str
    schema: str | None = None

    def column(self, name: str) -> Column | None:
        """The column of that name, if there is one."""
        return next((c for c in self.columns if c.name == name), None)
