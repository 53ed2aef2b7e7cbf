"""Rows of a datalayer, by way of its server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from superduper.backends.base.data_backend import Abilities, DataBackend, Row
from superduper.backends.http.client import Server, connect
from superduper.config import Settings
from superduper.errors import StoreError, Unsupported
from superduper.query.ast import Filter, Plain, Select, Update
from superduper.query.native import Step
from superduper.query.tables import TableDef
from superduper.uris import without_password

PART = "data"


class HttpDataBackend(DataBackend):
    """``http://host:8000`` or ``https://host``: the databackend of the datalayer that is served there.

    It can what the server's own can, but for expressions of the database's client and transactions over several calls.
    """

    configured = True

    def __init__(self, uri: str, settings: Settings | None = None) -> None:
        self.uri = without_password(uri)
        self.server = connect(uri, settings)
        said = self.server.greet()["abilities"]
        known = {field.name for field in dataclasses.fields(Abilities)}
        given = {name: value for name, value in said.items() if name in known}
        self.abilities = Abilities(**given | {"native": None, "transactions": False})
        self._names: dict[TableDef, frozenset[str]] = {}
        self._closed = False

    @property
    def conn(self) -> Any:
        raise Unsupported(
            f"{self.uri}: the database's own client is with the server; connect to the database itself for it"
        )

    def _open(self) -> Server:
        if self._closed:
            raise StoreError(f"the connection to {self.uri} was closed; connect again with superduper({self.uri!r})")
        return self.server

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._open().call(PART, method, *args, **kwargs)

    def create_table(self, table: TableDef) -> None:
        self._call("create_table", table)

    def drop_table(self, name: str) -> None:
        self._call("drop_table", name)

    def list_tables(self) -> list[str]:
        return list(self._call("list_tables"))

    def check(self, table: TableDef, rows: Sequence[Row]) -> None:
        self._call("check", table, list(rows))

    def insert(self, table: TableDef, rows: Sequence[Row]) -> None:
        self._call("insert", table, list(rows))

    def upsert(self, table: TableDef, rows: Sequence[Row]) -> None:
        self._call("upsert", table, list(rows))

    def select(self, table: TableDef, query: Select, *, batch: int = 1000) -> Iterator[list[Row]]:
        with closing(self._open().stream(PART, "select", table, query, batch=batch)) as frames:  # type: ignore[type-var]
            yield from _regrouped(frames, batch)

    def count(self, table: TableDef, filter: Filter) -> int:
        return int(self._call("count", table, filter))

    def distinct(self, table: TableDef, field: str, filter: Filter) -> list[Plain]:
        return list(self._call("distinct", table, field, filter))

    def update(self, table: TableDef, filter: Filter, update: Update, *, many: bool) -> list[Plain]:
        return list(self._call("update", table, filter, update, many=many))

    def replace(self, table: TableDef, filter: Filter, row: Row) -> list[Plain]:
        return list(self._call("replace", table, filter, row))

    def delete(self, table: TableDef, filter: Filter, *, many: bool) -> list[Plain]:
        return list(self._call("delete", table, filter, many=many))

    def missing(
        self, table: TableDef, filter: Filter, outputs: TableDef, where: Filter, *, batch: int = 1000
    ) -> Iterator[list[Plain]]:
        with closing(self._open().stream(PART, "missing", table, filter, outputs, where, batch=batch)) as frames:  # type: ignore[type-var]
            yield from _regrouped(frames, batch)

    def settle(self, tables: Sequence[str]) -> None:
        self._call("settle", list(tables))

    def native_names(self, table: TableDef) -> frozenset[str]:
        """What the server's own client offers: known here to tell a typing error from what is not sent over HTTP."""
        if table not in self._names:
            self._names[table] = frozenset(self._call("native_names", table))
        return self._names[table]

    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        names = [str(args[0]) for operation, args, _ in steps if operation == "."]
        shown = f" ({'.'.join(names[:3])})" if names else ""
        raise Unsupported(
            f"table {table.name!r}: expressions of the database's own client{shown} are not sent over HTTP; use find, "
            "update_many and the other portable queries, or connect to the database itself"
        )

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.server.leave()

    def __repr__(self) -> str:
        return f"HttpDataBackend({self.uri!r})"


def _regrouped(frames: Iterable[list[Any]], size: int) -> Iterator[list[Any]]:
    """Lists of that size, whatever sizes arrive: the server keeps its own small."""
    held: list[Any] = []
    for frame in frames:
        held += frame
        while len(held) >= size:
            yield held[:size]
            del held[:size]
    if held:
        yield held
