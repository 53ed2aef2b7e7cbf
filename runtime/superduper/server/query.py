"""The portable query as documents: one operation, one bounded answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from superduper.embedded.view import peek
from superduper.errors import NotFound, QueryError
from superduper.server.access import TooLarge
from superduper.server.named import named
from superduper.server.values import Reader, dumps, restored, shown

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.server.state import State

Document = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Find(_Part):
    """Rows, as ``GET …/rows`` shows them."""

    filter: Document = Field(default_factory=dict)
    fields: list[str] = Field(default_factory=list)
    sort: Any = Field(None, description='"x", [["x", -1]] or {"x": -1}')
    skip: int = Field(0, ge=0)
    limit: int | None = Field(None, ge=1)
    outputs: list[str] = Field(default_factory=list, description="Join these models' outputs.")


class Distinct(_Part):
    """Different values of a field."""

    field: str
    filter: Document = Field(default_factory=dict)


class Update(_Part):
    """Changes to rows."""

    filter: Document
    update: Document = Field(description='As {"$set": {"x": 3}}: $set, $unset, $inc, $push.')
    many: bool = True


class Replace(_Part):
    """A row in the place of another; its key stays."""

    filter: Document
    document: Document


class Delete(_Part):
    """Rows to be removed."""

    filter: Document
    many: bool = True


class Query(_Part):
    """Exactly one of these."""

    find: Find | None = None
    count: Document | None = Field(None, description="A filter; {} counts all rows.")
    distinct: Distinct | None = None
    update: Update | None = None
    replace: Replace | None = None
    delete: Delete | None = None


def run(server: State, db: Datalayer, table: str, query: Query) -> bytes:
    """The answer in JSON: ``{"rows"}``, ``{"count"}``, ``{"values"}`` or ``{"ids", "jobs"}``."""
    given = [name for name in type(query).model_fields if getattr(query, name) is not None]
    if len(given) != 1:
        raise QueryError(f"give exactly one of {', '.join(type(query).model_fields)}, not {', '.join(given) or 'none'}")
    identifier = named(server, db, "Table", table)
    if query.find is not None:
        return _find(server, db, identifier, query.find)
    if query.count is not None:
        return dumps({"count": db[identifier].count_documents(restored(query.count, "count")).execute()})
    if query.distinct is not None:
        filter = restored(query.distinct.filter, "distinct.filter")
        return _bounded(server, dumps({"values": db[identifier].distinct(query.distinct.field, filter).execute()}))
    ids = _write(server, db, identifier, query)
    server.objects.written(db, identifier)
    return dumps({"ids": ids, "jobs": []})


def _find(server: State, db: Datalayer, table: str, find: Find) -> bytes:
    most = server.settings.max_rows
    found = peek(
        db,
        table,
        restored(find.filter, "find.filter"),
        fields=find.fields,
        sort=[tuple(pair) if isinstance(pair, list) else pair for pair in find.sort]
        if isinstance(find.sort, list)
        else find.sort,
        skip=find.skip,
        limit=most + 1 if find.limit is None else min(find.limit, most + 1),
        outputs=[named(server, db, "Model", name) for name in find.outputs],
    )
    held: list[bytes] = []
    size = 0
    for row in found:
        line = dumps(row)
        size += len(line)
        held.append(line)
        if len(held) > most or size > server.settings.max_answer:
            raise TooLarge(
                f"the answer is more than {most:,} rows or {server.settings.max_answer:,} bytes: give a limit, or ask "
                f"GET /v1/tables/{table}/rows, which streams"
            )
    return b'{"rows":[' + b",".join(held) + b"]}"


def _bounded(server: State, answer: bytes) -> bytes:
    if len(answer) > server.settings.max_answer:
        raise TooLarge(f"the answer is more than {server.settings.max_answer:,} bytes: narrow the filter")
    return answer


def _write(server: State, db: Datalayer, table: str, query: Query) -> list[Any]:
    try:
        component: Any = db.load("table", table)
    except NotFound:
        component = None
    with Reader(db, component, int(server.settings.max_row)) as reader:
        if query.update is not None:
            update = {
                operator: {name: reader.value(name, value, f"update.{operator}") for name, value in changes.items()}
                if operator == "$set" and isinstance(changes, dict)
                else restored(changes, f"update.{operator}")
                for operator, changes in query.update.update.items()
            }
            filter = restored(query.update.filter, "update.filter")
            collection = db[table]
            asked: Any = (collection.update_many if query.update.many else collection.update_one)(filter, update)
        elif query.replace is not None:
            document = reader.row(query.replace.document, "replace.document")
            asked = db[table].replace_one(restored(query.replace.filter, "replace.filter"), document)
        else:
            assert query.delete is not None
            filter = restored(query.delete.filter, "delete.filter")
            asked = (db[table].delete_many if query.delete.many else db[table].delete_one)(filter)
        return list(shown(asked.execute().ids))
