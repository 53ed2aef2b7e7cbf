"""The operations that ``bulk_write`` takes. pymongo's own objects of the same names are as welcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from superduper.errors import QueryError, nearest

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InsertOne:
    """Add one row."""

    document: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpdateOne:
    """Change the first row that passes."""

    filter: Document
    update: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpdateMany:
    """Change every row that passes."""

    filter: Document
    update: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReplaceOne:
    """Put a document in the place of the first row that passes."""

    filter: Document
    replacement: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeleteOne:
    """Remove the first row that passes."""

    filter: Document


@dataclass(frozen=True, slots=True)
class DeleteMany:
    """Remove every row that passes."""

    filter: Document


@dataclass(frozen=True, slots=True)
class Operation:
    """Which method of a collection an operation stands for, and its arguments."""

    method: str
    arguments: tuple[Document, ...] = field(repr=False)


# Per operation: our method, our attributes, and the attributes where pymongo keeps the same things.
_OPERATIONS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "InsertOne": ("insert_one", ("document",), ("_doc",)),
    "UpdateOne": ("update_one", ("filter", "update"), ("_filter", "_doc")),
    "UpdateMany": ("update_many", ("filter", "update"), ("_filter", "_doc")),
    "ReplaceOne": ("replace_one", ("filter", "replacement"), ("_filter", "_doc")),
    "DeleteOne": ("delete_one", ("filter",), ("_filter",)),
    "DeleteMany": ("delete_many", ("filter",), ("_filter",)),
}


def as_operation(request: object) -> Operation:
    """One request of a ``bulk_write``, ours or pymongo's. Raises QueryError for anything else."""
    kind = type(request)
    known = _OPERATIONS.get(kind.__name__)
    if known is not None and kind.__module__ == __name__:
        return Operation(known[0], tuple(getattr(request, name) for name in known[1]))
    if known is not None and kind.__module__.startswith("pymongo."):
        if getattr(request, "_upsert", None):
            raise QueryError(
                f"{kind.__name__}(upsert=True) is not portable; use the client itself: db.databackend.conn"
            )
        return Operation(known[0], tuple(getattr(request, name) for name in known[2]))
    raise QueryError(
        f"bulk_write() takes {', '.join(_OPERATIONS)}, not a {kind.__name__}{nearest(kind.__name__, _OPERATIONS)}"
    )
