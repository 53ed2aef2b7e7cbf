"""Reading rows for a model: bounded in bytes, decoded, with a hash of what the model is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from superduper.artifacts import reference
from superduper.document import Document
from superduper.errors import ArtifactError
from superduper.jobs.stores import Stores
from superduper.query.ast import And, Filter, In, Select
from superduper.query.tables import TableDef
from superduper.rows import Row, RowCodec

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Inputs

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table as a job reads it."""

    table: TableDef
    codec: RowCodec
    filter: Filter

    def select(self, fields: Sequence[str], filter: Filter | None = None, limit: int | None = None) -> Select:
        """The query for these fields and the key, of the rows that pass both filters."""
        names = tuple(dict.fromkeys([self.table.primary_key, *fields]))
        chosen = self.filter if filter is None else And((self.filter, filter))
        return Select(self.table.name, chosen, names, limit=limit)

    def by_keys(self, keys: Sequence[Any]) -> Filter:
        """Rows of these keys."""
        return In(self.table.primary_key, tuple(keys))


def plain_rows(stores: Stores, rows: Rows, fields: Sequence[str], filter: Filter | None = None) -> Iterator[list[Row]]:
    """Plain rows, in lists whose payloads fit a quarter of the budget."""
    query = rows.select(fields, filter)
    referring = [name for name in rows.codec.reference_fields if name in query.fields] if query.fields else []
    for batch in stores.databackend.select(rows.table, query):
        if referring:
            yield from bounded(stores, rows.codec, batch, referring)
        else:
            yield batch


def bounded(stores: Stores, codec: RowCodec, batch: list[Row], fields: Sequence[str]) -> Iterator[list[Row]]:
    """The batch in parts whose payloads fit a quarter of the budget; a single larger row is a part of its own."""
    part: list[Row] = []
    held = 0
    for row in batch:
        size = sum(_size(stores, codec, name, row[name]) for name in fields if row.get(name) is not None)
        if part and held + size > stores.budget // 4:
            yield part
            part, held = [], 0
        part.append(row)
        held += size
    if part:
        yield part


def _size(stores: Stores, codec: RowCodec, name: str, text: str) -> int:
    kind = codec.schema.fields[name]
    if not isinstance(kind, str) and kind.is_file:
        return 0  # a file is copied out, not held
    try:
        return stores.artifacts.size(reference.parse(text).id)
    except ArtifactError:
        return 0  # reading it says what is wrong with it, and of which row


def digest(row: Row, inputs: Inputs) -> str:
    """Hash of what the model is given: stored values and, for artifacts, their ids. Payloads are not read."""
    content = [[row.get(name) for name in inputs.args], {name: row.get(field) for name, field in inputs.kwargs.items()}]
    text = json.dumps(content, sort_keys=True, default=_text, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return hashlib.sha1(value, usedforsecurity=False).hexdigest()
    return repr(value)


def check_files(stores: Stores, rows: Rows, inputs: Inputs) -> None:
    """Raises ModelError where the model reads files and runs where they cannot be seen."""
    if stores.compute.elsewhere:
        kinds = [rows.codec.schema.fields.get(name) for name in inputs.fields]
        if any(not isinstance(kind, str) and kind is not None and kind.is_file for kind in kinds):
            stores.compute.check_folder(stores.files)


def arguments(document: Document, inputs: Inputs) -> Arguments:
    """The model's arguments for one row, lazy values loaded."""
    values = document.unpack()
    return tuple(values.get(name) for name in inputs.args), {k: values.get(f) for k, f in inputs.kwargs.items()}
