"""The seam to a database: plain rows in and out, by the portable query.

Rows at this seam hold plain values only (see ``query.ast.Plain``); schemas, encoders and artifacts
are the business of the datalayer above. Values come back equal to what went in, of the same type:
datetimes in UTC with a zone, floats as floats, booleans as booleans.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from superduper.query.ast import Filter, Plain, Select, Update
from superduper.query.native import Step
from superduper.query.tables import TableDef

Row = dict[str, Plain]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a databackend declares that it can. The conformance suite holds it to this."""

    native: Literal["pymongo", "ibis"] | None
    """Which library's own expressions may be used on a table beside the portable query."""
    schemaless: bool = False
    """Rows may hold fields that the table does not declare."""
    envelope: bool = False
    """Records carry ``_schema``, ``_builds``, ``_files`` and ``_blobs``."""
    upsert: bool = True
    update: bool = True
    delete: bool = True
    transactions: bool = True
    binary: bool = True
    json: bool = True
    nan: bool = True
    infinity: bool = True
    datetime_digits: int = 6
    """Digits of a second that a datetime keeps: 6 microseconds, 3 milliseconds."""
    case: bool = True
    """Tables whose names differ by case only are two tables."""
    key_length: int | None = None
    """Most characters of a text that is a primary key; None where there is no bound."""
    persistent: bool = True
    """False where the data lives in this process alone."""


class DataBackend(ABC):
    """A connection to one database. Safe to use from several threads; reopens itself after a fork."""

    abilities: Abilities
    uri: str
    """As given, with the password replaced by ``***``."""

    @property
    @abstractmethod
    def conn(self) -> Any:
        """The client of the database itself: a ``pymongo.MongoClient``, a ``sqlalchemy.Engine``."""

    @abstractmethod
    def create_table(self, table: TableDef) -> None:
        """Make the table if it is not there; add columns that are new.

        Raises SchemaMismatch where an existing column has another type or the key differs, or where the database cannot
        tell the name from that of another table (see ``Abilities.case``).
        """

    @abstractmethod
    def drop_table(self, name: str) -> None:
        """Remove the table with its rows; nothing happens where there is none."""

    @abstractmethod
    def list_tables(self) -> list[str]:
        """Names of all tables, sorted."""

    @abstractmethod
    def check(self, table: TableDef, rows: Sequence[Row]) -> None:
        """Raises what ``insert`` would raise for these rows, whatever the table holds: it need not be there yet."""

    @abstractmethod
    def insert(self, table: TableDef, rows: Sequence[Row]) -> None:
        """Add all rows or none. Raises DuplicateKey, naming the keys."""

    @abstractmethod
    def upsert(self, table: TableDef, rows: Sequence[Row]) -> None:
        """Add the rows, replacing those whose primary key exists; all or none."""

    @abstractmethod
    def select(self, table: TableDef, query: Select, *, batch: int = 1000) -> Iterator[list[Row]]:
        """The rows, in lists of at most ``batch``, never the whole result at once.

        Every declared column that was asked for is in each row, null where it was never set.
        ``query.outputs`` is resolved by the datalayer and empty here.
        """

    @abstractmethod
    def count(self, table: TableDef, filter: Filter) -> int:
        """How many rows pass the filter."""

    @abstractmethod
    def distinct(self, table: TableDef, field: str, filter: Filter) -> list[Plain]:
        """The different values of one field, nulls left out, in ascending order."""

    @abstractmethod
    def update(self, table: TableDef, filter: Filter, update: Update, *, many: bool) -> list[Plain]:
        """Change the rows that pass (the first by key, or all) and return their primary keys."""

    @abstractmethod
    def replace(self, table: TableDef, filter: Filter, row: Row) -> list[Plain]:
        """Put ``row`` in the place of the first that passes; its primary key stays. Returns [key] or []."""

    @abstractmethod
    def delete(self, table: TableDef, filter: Filter, *, many: bool) -> list[Plain]:
        """Remove the rows that pass (the first by key, or all) and return their primary keys."""

    @abstractmethod
    def missing(
        self, table: TableDef, filter: Filter, outputs: TableDef, where: Filter, *, batch: int = 1000
    ) -> Iterator[list[Plain]]:
        """Anti-join: keys of ``table`` that pass ``filter`` and have no row in ``outputs`` passing ``where``.

        ``outputs`` has as primary key the key of ``table``. Keys ascend; memory does not grow with the tables.
        The caller may write to ``outputs`` between two batches.
        """

    def settle(self, tables: Sequence[str]) -> None:  # noqa: B027 - most databases need nothing
        """Afterwards, what a killed process was writing to these tables is there, or never will be.

        A commit may still take effect after its process is gone. Where a statement ends with its process, there is
        nothing to wait for.
        """

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that this thread does within is kept together or not at all.

        Where ``abilities.transactions`` is false, each call counts for itself.
        """
        yield

    @abstractmethod
    def native_names(self, table: TableDef) -> frozenset[str]:
        """What the client's own table or collection object offers: its methods, and columns where it has them."""

    @abstractmethod
    def native(self, table: TableDef, steps: Sequence[Step]) -> Any:
        """Apply recorded steps to the client's own table or collection object and run what they make.

        Rows of an SQL system are dictionaries; a MongoDB client's results are as it gives them.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections. Using it afterwards is an error."""
