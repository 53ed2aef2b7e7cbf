"""What ``db['t']`` returns, and the queries that it makes.

A query is a frozen value bound to its executor (the datalayer): ``q.execute()`` is ``executor.execute(q)``.
Documents are kept as they were given, neither copied nor shown: encoding them is the executor's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from superduper.errors import QueryError, nearest
from superduper.query.ast import Filter, Select, Update
from superduper.query.native import Native, native
from superduper.query.operations import Operation, as_operation
from superduper.query.parse import (
    Direction,
    parse_filter,
    parse_projection,
    parse_sort,
    parse_update,
    parse_window,
)

FilterDocument = Mapping[str, Any]


class Executor(Protocol):
    """What runs queries: the datalayer."""

    def execute(self, query: Any, /) -> Any:
        """Run one query."""

    def native_names(self, table: str, /) -> AbstractSet[str]:
        """Names of the methods of the database's own client, and of the columns, that ``table`` offers."""


@dataclass(frozen=True, eq=False)
class Query:
    """One query of one table."""

    executor: Executor = field(repr=False)
    table: str

    def execute(self, **options: Any) -> Any:
        """Run it. ``options`` are those of the executor's own ``execute``."""
        return self.executor.execute(self, **options)


@dataclass(frozen=True, eq=False)
class Find(Query):
    """Rows of a table; ``one`` asks for the first that passes, or None."""

    select: Select
    one: bool = False

    def sort(self, by: object, direction: object = None) -> Self:
        """In this order: ``'x'``, ``('x', -1)``, ``[('x', -1), 'y']`` or ``{'x': -1}``. Nulls come first."""
        return self._with("sort", sort=parse_sort(by, direction))

    def skip(self, number: int) -> Self:
        """Leave out the first ``number`` rows."""
        return self._with("skip", skip=parse_window("skip", number))

    def limit(self, number: int) -> Self:
        """At most ``number`` rows; 0 lifts the limit."""
        return self._with("limit", limit=parse_window("limit", number) or None)

    def outputs(self, *listeners: str) -> Self:
        """Join the current outputs of these listeners to each row."""
        outputs = (*self.select.outputs, *_listeners(listeners))
        return replace(self, select=replace(self.select, outputs=outputs))

    def _with(self, method: str, **changes: Any) -> Self:
        if self.one:
            raise QueryError(
                f"{method}() does not follow find_one(); use find(...).{method}(...) or find_one's arguments"
            )
        return replace(self, select=replace(self.select, **changes))


@dataclass(frozen=True, eq=False)
class Insert(Query):
    """New rows. ``one`` says that the user gave a single document."""

    documents: Sequence[Mapping[str, Any]] = field(repr=False)
    one: bool = False


@dataclass(frozen=True, eq=False)
class UpdateQuery(Query):
    """Changes to the first row that passes, or to all."""

    filter: Filter
    update: Update = field(repr=False)
    many: bool


@dataclass(frozen=True, eq=False)
class Replace(Query):
    """A document in the place of the first row that passes; its primary key stays."""

    filter: Filter
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Delete(Query):
    """Removes the first row that passes, or all."""

    filter: Filter
    many: bool


@dataclass(frozen=True, eq=False)
class Count(Query):
    """How many rows pass."""

    filter: Filter


@dataclass(frozen=True, eq=False)
class Distinct(Query):
    """The different values of one field among the rows that pass."""

    field: str
    filter: Filter


@dataclass(frozen=True, eq=False)
class BulkWrite(Query):
    """Several writes, one after the other; all or nothing where the backend has transactions."""

    operations: tuple[Insert | UpdateQuery | Replace | Delete, ...]


class Collection:
    """One table of a datalayer. Its methods make queries; nothing runs before ``.execute()``.

    Beside the portable query it offers what the database's own client can: pymongo's methods of a
    collection, or ibis's of a table (``t.filter(t.x > 3).select('id')``).
    """

    def __init__(self, name: str, executor: Executor) -> None:
        if not isinstance(name, str):
            raise QueryError(f"a table's name is a text, not {name!r}")
        self.name = name
        self._executor = executor

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"

    def insert_one(self, document: Mapping[str, Any]) -> Insert:
        """Add one row."""
        if not isinstance(document, Mapping):
            raise QueryError(f"insert_one() takes one document, not a {type(document).__name__}")
        return Insert(self._executor, self.name, (document,), one=True)

    def insert_many(self, documents: Iterable[Mapping[str, Any]]) -> Insert:
        """Add all rows, or none."""
        if isinstance(documents, (Mapping, str, bytes)) or not isinstance(documents, Iterable):
            raise QueryError(f"insert_many() takes a list of documents, not a {type(documents).__name__}")
        rows = documents if isinstance(documents, (list, tuple)) else list(documents)
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise QueryError(f"insert_many(): item {number} is no document but a {type(row).__name__}")
        return Insert(self._executor, self.name, rows)

    def find(
        self,
        filter: FilterDocument | None = None,
        projection: Mapping[str, object] | Iterable[str] | None = None,
        *,
        sort: object = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Find:
        """The rows that pass ``filter``; chain ``.sort() .skip() .limit() .outputs()``."""
        return Find(self._executor, self.name, self._select(filter, projection, parse_sort(sort), skip, limit))

    def find_one(
        self,
        filter: FilterDocument | None = None,
        projection: Mapping[str, object] | Iterable[str] | None = None,
        *,
        sort: object = None,
        skip: int = 0,
    ) -> Find:
        """The first row that passes ``filter``, or None."""
        return Find(self._executor, self.name, self._select(filter, projection, parse_sort(sort), skip, 1), one=True)

    def outputs(self, *listeners: str) -> Find:
        """All rows, with the current outputs of these listeners joined to each."""
        return self.find().outputs(*listeners)

    def update_one(self, filter: FilterDocument, update: FilterDocument) -> UpdateQuery:
        """Change the first row that passes, by ``$set $unset $inc $push``."""
        return UpdateQuery(self._executor, self.name, _required(filter, "update_one"), parse_update(update), many=False)

    def update_many(self, filter: FilterDocument, update: FilterDocument) -> UpdateQuery:
        """Change every row that passes."""
        return UpdateQuery(self._executor, self.name, _required(filter, "update_many"), parse_update(update), many=True)

    def replace_one(self, filter: FilterDocument, replacement: Mapping[str, Any]) -> Replace:
        """Put a document in the place of the first row that passes."""
        if not isinstance(replacement, Mapping):
            raise QueryError(f"replace_one() takes a document, not a {type(replacement).__name__}")
        for name in replacement:
            if str(name).startswith("$"):
                raise QueryError(f"replace_one() takes a whole document, not the operator {name!r}: use update_one()")
        return Replace(self._executor, self.name, _required(filter, "replace_one"), replacement)

    def delete_one(self, filter: FilterDocument) -> Delete:
        """Remove the first row that passes."""
        return Delete(self._executor, self.name, _required(filter, "delete_one"), many=False)

    def delete_many(self, filter: FilterDocument) -> Delete:
        """Remove every row that passes; ``{}`` is every row."""
        return Delete(self._executor, self.name, _required(filter, "delete_many"), many=True)

    def count_documents(self, filter: FilterDocument | None = None) -> Count:
        """How many rows pass."""
        return Count(self._executor, self.name, parse_filter(filter))

    def distinct(self, key: str, filter: FilterDocument | None = None) -> Distinct:
        """The different values of a field, in ascending order, nulls left out."""
        ((name, _),) = parse_sort(key)
        return Distinct(self._executor, self.name, name, parse_filter(filter))

    def bulk_write(self, requests: Iterable[object]) -> BulkWrite:
        """Several writes in order: ``InsertOne UpdateOne UpdateMany ReplaceOne DeleteOne DeleteMany``, ours or pymongo's."""
        if isinstance(requests, (Mapping, str, bytes)) or not isinstance(requests, Iterable):
            raise QueryError(f"bulk_write() takes a list of operations, not a {type(requests).__name__}")
        operations = tuple(self._operation(as_operation(request)) for request in requests)
        if not operations:
            raise QueryError("bulk_write() takes one or more operations")
        return BulkWrite(self._executor, self.name, operations)

    def _operation(self, operation: Operation) -> Insert | UpdateQuery | Replace | Delete:
        made: Insert | UpdateQuery | Replace | Delete = getattr(self, operation.method)(*operation.arguments)
        return made

    def _select(
        self,
        filter: FilterDocument | None,
        projection: Mapping[str, object] | Iterable[str] | None,
        sort: tuple[tuple[str, Direction], ...],
        skip: int,
        limit: int,
    ) -> Select:
        fields, exclude = parse_projection(projection)
        return Select(
            self.name,
            parse_filter(filter),
            fields,
            exclude,
            sort,
            parse_window("skip", skip),
            parse_window("limit", limit) or None,
        )

    def __getattr__(self, name: str) -> Native:
        # Python itself asks objects for dunder names (copying, pickling): those are never a column.
        if name.startswith("__") or name in ("_executor", "name"):
            raise AttributeError(name)
        names = self._executor.native_names(self.name)
        if name not in names:
            portable = [known for known in dir(type(self)) if not known.startswith("_")]
            raise AttributeError(f"table {self.name!r} has no method {name!r}{nearest(name, [*portable, *names])}")
        return getattr(native(self._executor, self.name), name)  # type: ignore[no-any-return]

    def __superduper_native__(self) -> Native:
        """The table itself, where it is an argument of a native expression (the other side of a join)."""
        return native(self._executor, self.name)

    def __getitem__(self, key: Any) -> Native:
        """A column by name, as the database's own client has it: ``t['x']``."""
        return native(self._executor, self.name)[key]


def _required(filter: FilterDocument, method: str) -> Filter:
    if filter is None:
        raise QueryError(f"{method}() needs a filter; {{}} says every row")
    return parse_filter(filter)


def _listeners(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str) or not name:
            raise QueryError(f"outputs() takes names of listeners, not {name!r}")
    if not names:
        raise QueryError("outputs() takes the name of one or more listeners")
    return names
