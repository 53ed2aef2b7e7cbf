"""Reading rows for a model: bounded in bytes, decoded, with a hash of what the model is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from superduper.artifacts import reference
from superduper.backends.base.compute import Batch
from superduper.document import unpack_all
from superduper.errors import ArtifactError
from superduper.jobs.stores import Stores
from superduper.query.ast import And, Filter, In, Select
from superduper.query.tables import TableDef
from superduper.rows import Row, RowCodec

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Inputs


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


def plain_rows(
    stores: Stores, rows: Rows, fields: Sequence[str], filter: Filter | None = None, *, at_once: int = 1000
) -> Iterator[list[Row]]:
    """Plain rows, in lists of at most so many, whose payloads fit a quarter of the budget."""
    query = rows.select(fields, filter)
    referring = [name for name in rows.codec.reference_fields if name in query.fields] if query.fields else []
    for batch in stores.databackend.select(rows.table, query, batch=at_once):
        if referring:
            yield from bounded(stores, rows.codec, batch, referring)
        else:
            yield batch


def bounded(stores: Stores, codec: RowCodec, batch: list[Row], fields: Sequence[str]) -> Iterator[list[Row]]:
    """The batch in parts whose payloads fit a quarter of the budget; a single larger row is a part of its own."""
    part: list[Row] = []
    held = 0
    sizes = _sizes(stores, codec, batch, fields)
    for row in batch:
        size = sum(sizes.get(row.get(name), 0) for name in fields)
        if part and held + size > stores.budget // 4:
            yield part
            part, held = [], 0
        part.append(row)
        held += size
    if part:
        yield part


def _sizes(stores: Stores, codec: RowCodec, rows: list[Row], fields: Sequence[str]) -> dict[str | None, int]:
    """Bytes of the payloads that the rows name, by reference. Of what is not there reading says what is wrong."""
    ids: dict[str | None, str] = {}
    for name in fields:
        kind = codec.schema.fields[name]
        if not isinstance(kind, str) and kind.is_file:
            continue  # a file is copied out, not held
        for row in rows:
            if (text := row.get(name)) is not None:
                with suppress(ArtifactError):
                    ids[text] = reference.parse(text).id
    sizes = stores.artifacts.sizes(ids.values())
    return {text: sizes.get(id, 0) for text, id in ids.items()}


def digests(rows: Sequence[Row], inputs: Inputs) -> list[str]:
    """For each row a hash of what the model is given: stored values and, for artifacts, their ids.

    It is that of the JSON ``[[args], {name: kwarg}]``. Payloads are not read.
    """
    named = sorted(inputs.kwargs.items())
    places = [f"{_ENCODER.encode(name).replace('%', '%%')}:%s" for name, _ in named]
    form = f"[[{','.join(['%s'] * len(inputs.args))}],{{{','.join(places)}}}]"
    fields = [*inputs.args, *(field for _, field in named)]
    columns = [_json_texts([row.get(name) for row in rows]) for name in fields]
    sha1 = hashlib.sha1
    return [sha1((form % texts).encode(), usedforsecurity=False).hexdigest() for texts in zip(*columns, strict=True)]


def _json_texts(values: list[Any]) -> Iterable[str]:
    """Each value as JSON, by the fastest way for what they are."""
    return map(str, values) if set(map(type, values)) == {int} else map(_ENCODER.encode, values)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return hashlib.sha1(value, usedforsecurity=False).hexdigest()
    return repr(value)


_ENCODER = json.JSONEncoder(sort_keys=True, default=_text, separators=(",", ":"))


def check_files(stores: Stores, rows: Rows, inputs: Inputs) -> None:
    """Raises ModelError where the model reads files and runs where they cannot be seen."""
    if stores.compute.elsewhere:
        kinds = [rows.codec.schema.fields.get(name) for name in inputs.fields]
        if any(not isinstance(kind, str) and kind is not None and kind.is_file for kind in kinds):
            stores.compute.check_folder(stores.files)


def values(stores: Stores, codec: RowCodec, rows: Sequence[Row], fields: Sequence[str]) -> dict[str, list[Any]]:
    """Some rows' values by field, lazy ones loaded. The rows stay as they are."""
    found: Sequence[Row] = rows
    if not codec.stores_as_is(fields):
        found = unpack_all(codec.decode(rows, stores.inputs))
    return {name: [row.get(name) for row in found] for name in fields}


def batch(keys: Sequence[Any], values: Mapping[str, list[Any]], inputs: Inputs) -> Batch:
    """What the model is given of these rows."""
    return Batch(
        keys, [values[name] for name in inputs.args], {name: values[field] for name, field in inputs.kwargs.items()}
    )
