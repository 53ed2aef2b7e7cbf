"""Running queries: documents encoded on the way in, decoded on the way out, outputs kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from superduper.artifacts import reference
from superduper.catalog import Catalog, Entry
from superduper.components.listener import OUTPUTS
from superduper.components.schema import Schema, infer
from superduper.components.table import Table, check_name
from superduper.document import Cursor, Document
from superduper.errors import InvalidReference, NotFound, QueryError
from superduper.jobs.ledger import OUTPUT, Ledger
from superduper.query.ast import And, Compare, Exists, Filter, In, Select
from superduper.query.builder import BulkWrite, Count, Delete, Distinct, Find, Insert, Replace, UpdateQuery
from superduper.query.native import Native, steps_of, table_of
from superduper.query.tables import READ_ALONG
from superduper.query.visit import leaves, map_update, map_values
from superduper.upkeep import Upkeep

if TYPE_CHECKING:
    from superduper.artifacts.writer import Writer
    from superduper.backends.base.metadata import JobRecord
    from superduper.datalayer import Datalayer
    from superduper.jobs.stores import Stores
    from superduper.rows import Row


OUTPUTS_AT_ONCE = 16
"""Documents whose outputs are loaded together, where outputs are in the artifact store."""


class Written(NamedTuple):
    """What a write did: ``ids, jobs = q.execute()``."""

    ids: list[Any]
    """Primary keys of the rows that it concerned."""
    jobs: list[JobRecord]
    """Runs of models that followed from it."""


class Change(NamedTuple):
    """A write that is done; ``follow`` does what follows from it, once it is committed."""

    ids: list[Any]
    follow: Callable[[], list[JobRecord]] = list


class Execution:
    """Runs the queries of one datalayer."""

    def __init__(self, stores: Stores, catalog: Catalog, upkeep: Upkeep, owner: Datalayer) -> None:
        self.stores, self.catalog, self.upkeep, self._owner = stores, catalog, upkeep, owner

    def execute(self, query: Any, schema: Schema | None = None) -> Any:
        """The result: a Cursor, a Document or None, a number, a list, or ``Written``."""
        match query:
            case Find():
                return self._find(query)
            case Insert() | UpdateQuery() | Replace():
                with self.stores.artifacts.writing() as writer:
                    change = self._change(query, writer, schema)
                return Written(change.ids, change.follow())
            case Delete():
                return Written(self._delete(query).ids, [])
            case Count():
                entry = self.catalog.entry(query.table)
                return self.stores.databackend.count(entry.table, self._filter(entry, query.filter))
            case Distinct():
                return self._distinct(query)
            case BulkWrite():
                return self._bulk(query)
            case Native():
                return self._native(query)
        raise QueryError(f"{type(query).__name__} is no query: use db[table].find(…), .insert_many(…) and so on")

    # Reading

    def _find(self, query: Find) -> Any:
        entry = self.catalog.entry(query.table)
        documents = self._documents(entry, query.select)
        if not query.one:
            return Cursor(documents)
        with closing(documents):
            return next(documents, None)

    def _documents(self, entry: Entry, query: Select) -> Generator[Document, None, None]:
        ledgers = {name: self._ledger(name) for name in query.outputs}
        for name, _ in query.sort:
            if name.partition(".")[0] in entry.codec.reference_fields:
                raise QueryError(
                    f"field {name!r} of table {entry.table.name!r} is kept in the artifact store and has no order; keep "
                    "what you sort by in a field of its own"
                )
        key = entry.table.primary_key
        hidden = (query.fields is not None and key not in query.fields) or key in query.exclude
        chosen = replace(query, table=entry.table.name, filter=self._filter(entry, query.filter), outputs=())
        if query.fields is not None and hidden:
            chosen = replace(chosen, fields=(key, *query.fields))
        elif hidden:
            chosen = replace(chosen, exclude=tuple(name for name in query.exclude if name != key))
        batches: Any = self.stores.databackend.select(entry.table, chosen)
        # Given back at once where a row cannot be read: whoever keeps the error keeps this frame.
        with closing(batches):
            for batch in batches:
                for documents in entry.codec.decode_parts(batch, self.stores.source, self.stores.budget // 4):
                    joined = self._join(documents, key, ledgers) if ledgers else _handed_over(documents)
                    for document in joined:
                        if hidden:
                            document.pop(key, None)
                        yield document

    def _ledger(self, listener: str) -> tuple[Ledger | None, str]:
        found: Any = self.catalog.load("listener", listener)
        return self.upkeep.ledger(found), self.upkeep.key(found)

    def _join(
        self, documents: list[Document], key: str, ledgers: Mapping[str, tuple[Ledger | None, str]]
    ) -> Iterator[Document]:
        """The documents with the current outputs of each listener, a few loaded at a time."""
        plain = {
            name: {}
            if ledger is None
            else ledger.rows([document[key] for document in documents], (OUTPUT,), ledger.done(made))
            for name, (ledger, made) in ledgers.items()
        }
        large = any(ledger is not None and ledger.codec.has_artifacts for ledger, _ in ledgers.values())
        step = OUTPUTS_AT_ONCE if large else len(documents)
        documents.reverse()
        while documents:
            part = [documents.pop() for _ in range(min(step, len(documents)))]
            self._put_outputs(part, key, ledgers, plain)
            yield from _handed_over(part)

    def _put_outputs(
        self,
        documents: list[Document],
        key: str,
        ledgers: Mapping[str, tuple[Ledger | None, str]],
        plain: Mapping[str, dict[Any, Row]],
    ) -> None:
        for document in documents:
            document["_outputs"] = dict.fromkeys(ledgers)
        for name, (ledger, _) in ledgers.items():
            found = [
                (document, plain[name].pop(document[key])) for document in documents if document[key] in plain[name]
            ]
            if ledger is not None:
                decoded = ledger.codec.decode([row for _, row in found], self.stores.source)
                for (document, _), output in zip(found, decoded, strict=True):
                    document["_outputs"][name] = output[OUTPUT]

    def _filter(self, entry: Entry, filter: Filter) -> Filter:
        """Values as they are stored; a payload in the artifact store cannot be compared."""
        for leaf in leaves(filter):
            null = isinstance(leaf, Exists) or (isinstance(leaf, Compare) and leaf.value is None)
            if leaf.field in entry.codec.reference_fields and not null:
                raise QueryError(
                    f"field {leaf.field!r} of table {entry.table.name!r} is kept in the artifact store: only $exists and "
                    "null can be asked of it; keep what you filter by in a field of its own"
                )
        return map_values(filter, _plain)

    def _distinct(self, query: Distinct) -> list[Any]:
        entry = self.catalog.entry(query.table)
        if query.field in entry.codec.reference_fields:
            raise QueryError(
                f"field {query.field!r} is kept in the artifact store and has no distinct values to ask for"
            )
        return self.stores.databackend.distinct(entry.table, query.field, self._filter(entry, query.filter))

    def _native(self, query: Native) -> Any:
        entry = self.catalog.entry(table_of(query))
        found = self.stores.databackend.native(entry.table, steps_of(query))
        if isinstance(found, Mapping):
            return self._decoded(entry, [dict(found)])[0]
        if isinstance(found, Iterator):
            return Cursor(document for row in found for document in self._decoded(entry, [row]))
        if isinstance(found, list) and all(isinstance(row, Mapping) for row in found):
            return Cursor(iter(self._decoded(entry, [dict(row) for row in found])))
        return found

    def _decoded(self, entry: Entry, rows: list[Any]) -> list[Any]:
        """Results of the client's own expressions: what is still as it was stored is decoded, the rest left alone."""
        if not all(isinstance(row, dict) for row in rows):
            return rows
        return [
            entry.codec.decode([row], self.stores.source)[0] if self._is_stored(entry, row) else Document(row)
            for row in rows
        ]

    def _is_stored(self, entry: Entry, row: Mapping[str, Any]) -> bool:
        for name in entry.codec.reference_fields:
            if row.get(name) is not None:
                try:
                    reference.parse(row[name])
                except InvalidReference:
                    return False
        return True

    # Writing

    def _change(self, query: Any, writer: Writer, schema: Schema | None = None) -> Change:
        """Do one write; ``writer``'s lease is to be held until it is committed."""
        match query:
            case Insert():
                return self._insert(query, writer, schema)
            case UpdateQuery():
                return self._update(query, writer)
            case Replace():
                return self._replace(query, writer)
            case _:
                return self._delete(query)

    def _insert(self, query: Insert, writer: Writer, schema: Schema | None) -> Change:
        if query.table.startswith(("outputs.", OUTPUTS)):
            raise QueryError(f"{query.table!r} holds outputs of a model; superduper writes them")
        entry, rows = self._encoded(query, writer, schema)
        writer.flush()
        self.stores.databackend.insert(entry.table, rows)
        keys = [row[entry.table.primary_key] for row in rows]
        return Change(keys, lambda: self.upkeep.inserted(entry.table.name, keys) if keys else [])

    def _encoded(self, query: Insert, writer: Writer, schema: Schema | None) -> tuple[Entry, list[Row]]:
        """The table and the rows as it keeps them; made where there is none yet, once it is known that they fit it."""
        table = self._to_make(query, schema)
        if table is None:
            entry = self.catalog.entry(query.table)
            return entry, entry.codec.encode(query.documents, writer)
        made = self.catalog.of_table(table)
        rows = made.codec.encode(query.documents, writer)
        self.stores.databackend.check(made.table, rows)
        self._owner.apply(table)
        return self.catalog.entry(query.table), rows

    def _to_make(self, query: Insert, schema: Schema | None) -> Table | None:
        """The table that is not there yet, with the schema given or inferred."""
        try:
            entry = self.catalog.entry(query.table)
        except NotFound:
            check_name(query.table)
            entry = None
        if schema is not None:
            return Table(query.table, schema)
        if entry is None:
            return Table(query.table, infer(query.table, query.documents, "id"))
        if entry.component is not None and not entry.component.schema.fields:
            known = entry.component
            inferred = infer(known.schema.identifier, query.documents, known.primary_id)
            return Table(
                query.table, inferred, known.primary_id, source=known.source, deletion_policy=known.deletion_policy
            )
        return None

    def _update(self, query: UpdateQuery, writer: Writer) -> Change:
        entry = self.catalog.entry(query.table)
        chosen = self._filter(entry, query.filter)
        fields = query.update.fields
        if entry.table.primary_key in fields:
            raise QueryError(
                f"field {entry.table.primary_key!r} is the primary key and cannot be changed; insert a new row"
            )
        for name in fields.intersection(READ_ALONG):
            if name != "_fold" or name not in query.update.set:
                raise QueryError(f"field {name!r} is superduper's own: of such only '_fold' can be changed, by $set")
        for name in (*query.update.inc, *query.update.push):
            if name.partition(".")[0] in entry.codec.schema.fields and name in entry.codec.reference_fields:
                raise QueryError(f"field {name!r} is kept in the artifact store: use $set with the whole value")
        listeners = self.upkeep.concerned(entry.table.name, fields)
        update = map_update(query.update, lambda name, value: entry.codec.part(name, value, writer))
        writer.flush()
        if listeners:
            keys = self._keys(entry, chosen, many=query.many)
            self.upkeep.mark(listeners, keys)
            # The filter once more: somebody may have changed a row since its key was read.
            chosen = And((In(entry.table.primary_key, tuple(keys)), chosen))
        keys = self.stores.databackend.update(entry.table, chosen, update, many=query.many)
        return self._changed(listeners, keys)

    def _changed(self, listeners: list[Any], keys: list[Any]) -> Change:
        def follow() -> list[JobRecord]:
            # Marked again: somebody may have predicted from the old row between the first mark and the write.
            self.upkeep.mark(listeners, keys)
            return self.upkeep.rerun(listeners, keys)

        return Change(keys, follow) if keys and listeners else Change(keys)

    def _keys(self, entry: Entry, filter: Filter, *, many: bool) -> list[Any]:
        key = entry.table.primary_key
        query = Select(entry.table.name, filter, (key,), sort=((key, 1),), limit=None if many else 1)
        return [row[key] for batch in self.stores.databackend.select(entry.table, query) for row in batch]

    def _replace(self, query: Replace, writer: Writer) -> Change:
        entry = self.catalog.entry(query.table)
        key = entry.table.primary_key
        found = self._keys(entry, self._filter(entry, query.filter), many=False)
        if not found:
            return Change([])
        if query.document.get(key, found[0]) != found[0]:
            raise QueryError(
                f"field {key!r} is the primary key and cannot be changed from {found[0]!r}; insert a new row"
            )
        listeners = self.upkeep.concerned(entry.table.name)
        row = entry.codec.encode([{**query.document, key: found[0]}], writer)[0]
        writer.flush()
        self.upkeep.mark(listeners, found)
        keys = self.stores.databackend.replace(entry.table, Compare(key, "eq", found[0]), row)
        return self._changed(listeners, keys)

    def _delete(self, query: Delete) -> Change:
        entry = self.catalog.entry(query.table)
        keys = self.stores.databackend.delete(entry.table, self._filter(entry, query.filter), many=query.many)
        if keys:
            self.upkeep.deleted(entry.table.name, keys)
        return Change(keys)

    def _bulk(self, query: BulkWrite) -> Written:
        """Each in turn; where the database has transactions, all or none."""
        inserted = [
            row for operation in query.operations if isinstance(operation, Insert) for row in operation.documents
        ]
        with self.stores.artifacts.writing() as writer:
            whole = Insert(query.executor, query.table, inserted)
            if inserted and self._to_make(whole, None) is not None:
                # Made before: the metadata may be in the same database, which the transaction keeps others off.
                self._encoded(whole, writer, None)
            with self.stores.databackend.transaction():
                changes = [self._change(operation, writer) for operation in query.operations]
        ids = [key for change in changes for key in change.ids]
        return Written(ids, [job for change in changes for job in change.follow()])


def _handed_over(documents: list[Document]) -> Iterator[Document]:
    """Each in turn, and none held here once it is taken: its reader may load what is in it."""
    documents.reverse()
    while documents:
        yield documents.pop()


def _plain(_: str, value: Any) -> Any:
    """A value as databases know it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
