"""Rows as documents of MongoDB, or of mongomock in this process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from superduper.backends.base.checks import (
    asked_columns,
    check_field,
    check_filter,
    check_update,
    duplicates,
    given_twice,
)
from superduper.backends.base.data_backend import Abilities, DataBackend, Row
from superduper.backends.mongodb import mocked
from superduper.backends.mongodb.client import MongoDatabase
from superduper.backends.mongodb.filters import (
    Document,
    among,
    among_mocked,
    filter_document,
    nulls_in_the_way,
    update_document,
)
from superduper.backends.mongodb.records import RecordReader, check_names, projection_of, records_of
from superduper.backends.mongodb.refusals import refuse_misspelt, refuse_unfit
from superduper.errors import DuplicateKey, QueryError, SchemaMismatch, Unsupported
from superduper.query.ast import And, Compare, Filter, Plain, Select, Update
from superduper.query.native import Step, apply_steps
from superduper.query.tables import Column, TableDef
from superduper.query.visit import leaves

KEY_INDEX = "superduper_key"
LARGEST = 16 * 1024 * 1024
"""Bytes that MongoDB takes in one document."""
WINDOW = 10_000
"""How many keys one statement names, or an anti-join compares at a time."""


class MongoDataBackend(DataBackend):
    """``mongodb://host/database``, ``mongodb+srv://…``, ``mongomock://database``."""

    abilities = Abilities(native="pymongo", schemaless=True, envelope=True, transactions=False, datetime_digits=3)

    def __init__(self, uri: str) -> None:
        self._mongo = MongoDatabase(uri)
        self.uri = self._mongo.uri
        self._lock = threading.RLock()
        # mongomock looks at every row for every statement: it gets few statements, each searching in sets.
        self._among = among_mocked if self._mongo.in_memory else among
        self._window = sys.maxsize if self._mongo.in_memory else WINDOW
        if self._mongo.in_memory:
            self.abilities = Abilities(
                native="pymongo",
                schemaless=True,
                envelope=True,
                transactions=False,
                datetime_digits=3,
                persistent=False,
            )

    @property
    def conn(self) -> Any:
        return self._mongo.client

    def create_table(self, table: TableDef) -> None:
        check_names(table)
        with self._writing(table.name):
            database = self._mongo.database
            if table.name not in database.list_collection_names():
                self._create_collection(table.name)
            collection = database[table.name]
            there = collection.index_information().get(KEY_INDEX)
            if there is not None and there["key"][0][0] != table.primary_key:
                raise SchemaMismatch(
                    f"table {table.name!r} exists with the primary key {there['key'][0][0]!r}, not "
                    f"{table.primary_key!r}: choose another name, or drop it"
                )
            # mongomock would read the whole collection for each row under a unique index: there we check ourselves.
            collection.create_index([(table.primary_key, 1)], name=KEY_INDEX, unique=not self._mongo.in_memory)

    def _create_collection(self, name: str) -> None:
        from pymongo.errors import CollectionInvalid, OperationFailure

        try:
            self._mongo.database.create_collection(name)
        except CollectionInvalid:
            return
        except OperationFailure as error:
            if error.code != 48:  # NamespaceExists: another process was faster
                raise

    def drop_table(self, name: str) -> None:
        with self._writing(name):
            self._mongo.database[name].drop()

    def list_tables(self) -> list[str]:
        with self._mongo.translated():
            names = self._mongo.database.list_collection_names()
        return sorted(name for name in names if not name.startswith("system."))

    # Writing rows

    def check(self, table: TableDef, rows: Sequence[Row]) -> None:
        from bson import BSON
        from pymongo.errors import DocumentTooLarge

        with self._writing(table.name):
            for record in records_of(table, rows) if rows else ():
                if (size := len(BSON.encode(record))) > LARGEST:
                    raise DocumentTooLarge(f"{size} bytes")
        if twice := given_twice(table, rows):
            raise duplicates(table, sorted(twice))  # type: ignore[type-var]

    def insert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not rows:
            return
        records = records_of(table, rows)
        with self._writing(table.name):
            self._refuse_duplicates(table, rows)
            self._insert(table, records)

    def _insert(self, table: TableDef, records: list[Document]) -> None:
        from pymongo.errors import BulkWriteError

        collection = self._collection(table)
        ids = [record["_id"] for record in records]
        try:
            collection.insert_many(records)
        except BaseException as error:
            # Without transactions, what got in before the failure is taken out again.
            for part in _parts(ids, WINDOW):
                collection.delete_many(self._among("_id", part))
            if isinstance(error, BulkWriteError):
                self._explain(table, error, records)
            raise

    def _explain(self, table: TableDef, error: Any, records: list[Document]) -> None:
        first = (error.details or {}).get("writeErrors", [{}])[0]
        if first.get("code") == 11000:
            key = records[first["index"]][table.primary_key]
            raise DuplicateKey(
                f"table {table.name!r}: a row with {table.primary_key!r} {key!r} exists; nothing was inserted", (key,)
            ) from error

    def _refuse_duplicates(self, table: TableDef, rows: Sequence[Row]) -> None:
        keys, twice = [row[table.primary_key] for row in rows], given_twice(table, rows)
        existing = set(self._existing(table, list(set(keys))))
        if found := [key for key in dict.fromkeys(keys) if key in twice or key in existing]:
            raise duplicates(table, found)

    def _existing(self, table: TableDef, keys: list[Plain]) -> Iterator[Plain]:
        if self._mongo.in_memory:
            chosen = self._among(table.primary_key, keys)
            yield from mocked.values(self._collection(table), chosen, table.primary_key)
            return
        for part in _parts(keys, self._window):
            found = self._collection(table).find(self._among(table.primary_key, part), {table.primary_key: 1, "_id": 0})
            yield from (record[table.primary_key] for record in found)

    def upsert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not rows:
            return
        key = table.primary_key
        records = list({record[key]: record for record in records_of(table, rows)}.values())
        collection = self._collection(table)
        with self._writing(table.name):
            for part in _parts(records, self._window):
                chosen = self._among(key, [record[key] for record in part])
                before = list(
                    mocked.documents(collection, chosen) if self._mongo.in_memory else collection.find(chosen)
                )
                ids = {record[key]: record["_id"] for record in before}
                for record in part:
                    record["_id"] = ids.get(record[key], record["_id"])
                try:
                    self._put(collection, key, part, before)
                except BaseException:
                    collection.delete_many(chosen)
                    if before:
                        collection.insert_many(before)
                    raise

    def _put(self, collection: Any, key: str, records: list[Document], before: list[Document]) -> None:
        if self._mongo.in_memory or not before:
            if before:
                collection.delete_many(self._among(key, [record[key] for record in before]))
            collection.insert_many(records)
            return
        from pymongo import ReplaceOne

        collection.bulk_write(
            [ReplaceOne({key: record[key]}, record, upsert=True) for record in records], ordered=False
        )

    # Reading

    def select(self, table: TableDef, query: Select, *, batch: int = 1000) -> Iterator[list[Row]]:
        columns = asked_columns(table, query, schemaless=True)
        self._refuse_misspelt(table, (*(query.fields or ()), *query.exclude, *(name for name, _ in query.sort)))
        return self._fetch(table, query, RecordReader(columns, query), self._filter(table, query.filter), batch)

    def _fetch(
        self, table: TableDef, query: Select, reader: RecordReader, filter: Document, batch: int
    ) -> Iterator[list[Row]]:
        with self._mongo.translated():
            cursor = self._collection(table).find(filter, projection_of(query))
            if query.sort:
                sort = [
                    *query.sort,
                    *([] if any(n == table.primary_key for n, _ in query.sort) else [(table.primary_key, 1)]),
                ]
                cursor = cursor.sort(sort)
            if query.skip:
                cursor = cursor.skip(query.skip)
            if query.limit is not None:
                cursor = cursor.limit(query.limit)
            rows: list[Row] = []
            records: Iterable[Document] = cursor.batch_size(batch)
            if self._mongo.in_memory and not query.sort:
                stop = None if query.limit is None else query.skip + query.limit
                records = islice(mocked.documents(self._collection(table), filter), query.skip, stop)
            for record in records:
                rows.append(reader.row(record))
                if len(rows) == batch:
                    yield rows
                    rows = []
            if rows:
                yield rows

    def count(self, table: TableDef, filter: Filter) -> int:
        document = self._filter(table, filter)
        with self._mongo.translated():
            return int(self._collection(table).count_documents(document))

    def distinct(self, table: TableDef, field: str, filter: Filter) -> list[Plain]:
        column = check_field(table, field, schemaless=True)
        self._refuse_misspelt(table, (field,))
        document = self._filter(table, filter)
        with self._mongo.translated():
            values = [value for value in self._collection(table).distinct(field, document) if value is not None]
        if any(isinstance(value, (dict, list)) for value in values):
            raise Unsupported(
                f"table {table.name!r}: {field!r} holds documents or lists; distinct() is of single values"
            )
        if column is not None and column.name == field:
            reader = RecordReader([column], Select(table.name, fields=(field,)))
            return sorted(reader.row({field: value})[field] for value in values)  # type: ignore[type-var]
        kinds = {bool: 2, str: 1}
        return sorted(values, key=lambda value: (kinds.get(type(value), 0), value))

    # Changing rows

    def update(self, table: TableDef, filter: Filter, update: Update, *, many: bool) -> list[Plain]:
        check_update(table, update, nan=True, schemaless=True)
        self._refuse_misspelt(table, update.fields)
        document, changes = self._filter(table, filter), update_document(update)
        collection, key = self._collection(table), table.primary_key
        with self._writing(table.name):
            keys = self._keys(table, document, first=not many)
            for part in _parts(keys, self._window) if changes else []:
                chosen: Document = self._among(key, part)
                refuse_unfit(collection, table, chosen, update)
                for name in nulls_in_the_way(update):
                    null = {"$and": [chosen, {name: None}, {name: {"$exists": True}}]}
                    collection.update_many(null, {"$unset": {name: ""}})
                collection.update_many(chosen, changes)
        return keys

    def replace(self, table: TableDef, filter: Filter, row: Row) -> list[Plain]:
        document, key = self._filter(table, filter), table.primary_key
        with self._writing(table.name):
            found = self._collection(table).find_one(document, {key: 1}, sort=[(key, 1)])
            if found is None:
                return []
            if row.get(key, found[key]) != found[key]:
                raise QueryError(
                    f"table {table.name!r}: the row found has {key!r} {found[key]!r}, which a replacement cannot change "
                    f"to {row[key]!r}; leave the key out, or delete and insert"
                )
            (record,) = records_of(table, [{key: found[key], **row, "_id": found["_id"]}])
            self._collection(table).replace_one({"_id": found["_id"]}, record)
            return self._plain_keys(table, [found[key]])

    def delete(self, table: TableDef, filter: Filter, *, many: bool) -> list[Plain]:
        document = self._filter(table, filter)
        with self._writing(table.name):
            keys = self._keys(table, document, first=not many)
            for part in _parts(keys, self._window):
                self._collection(table).delete_many(self._among(table.primary_key, part))
        return keys

    # Anti-join

    def missing(
        self, table: TableDef, filter: Filter, outputs: TableDef, where: Filter, *, batch: int = 1000
    ) -> Iterator[list[Plain]]:
        check_filter(table, filter, schemaless=True)
        check_filter(outputs, where, schemaless=True)
        window = max(self._window, batch)
        last: Plain = None
        while True:
            # Two sorted runs of keys at a time, both bounded; cursors do not stay open while the caller computes.
            after = () if last is None else (Compare(table.primary_key, "gt", last),)
            with self._mongo.translated():
                keys = self._keys(table, self._filter(table, And((filter, *after))), limit=window)
                upto = () if len(keys) < window else (Compare(outputs.primary_key, "lte", keys[-1]),)
                after = () if last is None else (Compare(outputs.primary_key, "gt", last),)
                done = set(self._keys(outputs, self._filter(outputs, And((where, *after, *upto)))))
            found = [key for key in keys if key not in done]
            yield from _parts(found, batch)
            if len(keys) < window:
                return
            last = keys[-1]

    def _keys(self, table: TableDef, filter: Document, *, first: bool = False, limit: int = 0) -> list[Plain]:
        key = table.primary_key
        if self._mongo.in_memory:
            found = sorted(mocked.values(self._collection(table), filter, key))
            return found[:1] if first else found
        cursor = self._collection(table).find(filter, {key: 1, "_id": int(key == "_id")}).sort([(key, 1)])
        if first or 0 < limit < sys.maxsize:
            cursor = cursor.limit(1 if first else limit)
        return self._plain_keys(table, [record[key] for record in cursor])

    def _plain_keys(self, table: TableDef, keys: list[Any]) -> list[Plain]:
        # Where keys are 64-bit integers, the driver gives a class of its own.
        return [int(key) if isinstance(key, int) else key for key in keys] if self._key(table).type == "int" else keys

    def _key(self, table: TableDef) -> Column:
        return next(column for column in table.columns if column.name == table.primary_key)

    # The client's own

    def native_names(self, table: TableDef) -> frozenset[str]:
        with self._mongo.translated():
            return frozenset(name for name in dir(type(self._collection(table))) if not name.startswith("_"))

    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        with self._writing(table.name):
            try:
                return apply_steps(lambda name: self._mongo.database[name], table.name, steps)
            except TypeError as error:
                raise QueryError(f"table {table.name!r}: {error}") from error

    def close(self) -> None:
        self._mongo.close()

    def _collection(self, table: TableDef) -> Any:
        return self._mongo.database[table.name]

    def _filter(self, table: TableDef, filter: Filter) -> Document:
        check_filter(table, filter, schemaless=True)
        self._refuse_misspelt(table, (leaf.field for leaf in leaves(filter)))
        return filter_document(filter, self._among)

    def _refuse_misspelt(self, table: TableDef, names: Iterable[str]) -> None:
        with self._mongo.translated():
            refuse_misspelt(self._collection(table), table, names)

    @contextmanager
    def _writing(self, table: str) -> Iterator[None]:
        """Errors become ours; mongomock's statements, which are several, become one."""
        from bson.errors import InvalidBSON, InvalidDocument, InvalidStringData
        from pymongo.errors import DocumentTooLarge, DuplicateKeyError

        unfit = (InvalidDocument, InvalidBSON, InvalidStringData, DocumentTooLarge, OverflowError, UnicodeEncodeError)
        with self._lock if self._mongo.in_memory else _free(), self._mongo.translated():
            try:
                yield
            except unfit as error:
                raise SchemaMismatch(
                    f"table {table!r}: MongoDB cannot keep this row (at most 16 MB, integers of 64 bits): {error}; "
                    "keep large values in the artifact store, by an encodable 'artifact'"
                ) from error
            except DuplicateKeyError as error:
                raise DuplicateKey(f"table {table!r}: {error}") from error


@contextmanager
def _free() -> Iterator[None]:
    yield


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), min(size, max(len(items), 1))):
        yield items[start : start + size]
