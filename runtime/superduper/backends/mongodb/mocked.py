"""Reading mongomock's documents without the deep copy that its ``find`` makes of each, which is most of its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any


def documents(collection: Any, filter: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The documents that pass, in the order they were inserted. Containers in them are copies, datetimes have a zone."""
    own = _helpers().make_datetime_timezone_aware_in_document
    for document in _passing(collection, filter):
        yield {
            name: own(value) if isinstance(value, (dict, list, datetime)) else value for name, value in document.items()
        }


def values(collection: Any, filter: Mapping[str, Any], field: str) -> list[Any]:
    """One field's values in the documents that pass."""
    return [document[field] for document in _passing(collection, filter)]


def _passing(collection: Any, filter: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found: Iterator[dict[str, Any]] = collection._iter_documents(
        _helpers().patch_datetime_awareness_in_document(filter)
    )
    return found


def _helpers() -> Any:
    from mongomock import helpers

    return helpers
