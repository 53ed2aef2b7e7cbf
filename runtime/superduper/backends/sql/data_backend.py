"""A databackend on any SQL system that SQLAlchemy Core compiles for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from superduper.backends.base.changes import changed
from superduper.backends.base.checks import (
    asked_columns,
    check_column,
    check_filter,
    check_key_length,
    check_update,
    columns_of,
    duplicates,
    given_twice,
)
from superduper.backends.base.data_backend import DataBackend, Row
from superduper.backends.sql.database import SqlDatabase
from superduper.backends.sql.ddl import create_table, list_tables
from superduper.backends.sql.dialect import Clause, SqlDialect, SqlTable, sql_table
from superduper.backends.sql.filters import Conditions
from superduper.backends.sql.reading import Reader, distinct_json, fetch_batches
from superduper.errors import DuplicateKey, QueryError, SchemaMismatch
from superduper.query.ast import Filter, In, Plain, Select, Update
from superduper.query.native import Step
from superduper.query.tables import Column, TableDef

WINDOW = 10_000
"""How many keys are looked for at a time."""


class SqlDataBackend(DataBackend):
    """Rows in tables of an SQL database."""

    def __init__(self, database: SqlDatabase, dialect: SqlDialect) -> None:
        self.database, self._dialect = database, dialect
        self.uri = database.uri

    @property
    def conn(self) -> sa.Engine:
        return self.database.engine

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.database.write():
            yield

    def create_table(self, table: TableDef) -> None:
        with self.database.write() as connection:
            create_table(connection, sql_table(table, self._dialect), self._dialect)

    def drop_table(self, name: str) -> None:
        with self.database.write() as connection:
            sa.Table(name, sa.MetaData()).drop(connection, checkfirst=True)

    def list_tables(self) -> list[str]:
        with self.database.read() as connection:
            return list_tables(connection)

    # Writing rows

    def check(self, table: TableDef, rows: Sequence[Row]) -> None:
        if rows:
            self._driver_rows(table, rows)
            if twice := given_twice(table, rows):
                raise duplicates(table, sorted(twice))  # type: ignore[type-var]

    def insert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not rows:
            return
        values = self._driver_rows(table, rows)
        try:
            with self.database.write() as connection:
                self.insert_values(connection, table, values)
        except DuplicateKey as error:
            raise duplicates(table, self._duplicates(table, rows)) from error

    def upsert(self, table: TableDef, rows: Sequence[Row]) -> None:
        if not rows:
            return
        values = self._driver_rows(table, rows)
        with self.database.write() as connection:
            _executemany(connection, self._upsert_text(table), values)

    def insert_values(self, connection: sa.Connection, table: TableDef, values: list[tuple[Any, ...]]) -> None:
        """Hand checked rows of driver's values to the driver, as fast as it can."""
        _executemany(connection, self._insert_text(table), values)

    def _driver_rows(self, table: TableDef, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        columns = columns_of(table, rows, **self._floats)
        check_key_length(table, [row[table.primary_key] for row in rows], self.abilities.key_length)
        converted: list[Sequence[Any]] = []
        for column, values in zip(table.columns, columns, strict=True):
            try:
                converted.append(self._dialect.to_column(column.type, values))
            except SchemaMismatch as error:
                raise SchemaMismatch(f"table {table.name!r}, field {column.name!r}: {error}") from error
        return list(zip(*converted, strict=True))

    @property
    def _floats(self) -> dict[str, bool]:
        return {"nan": self.abilities.nan, "infinity": self.abilities.infinity}

    def _insert_text(self, table: TableDef) -> str:
        quote = self.conn.dialect.identifier_preparer.quote
        names = ", ".join(quote(column.name) for column in table.columns)
        marks = ", ".join([self.mark] * len(table.columns))
        return f"INSERT INTO {quote(table.name)} ({names}) VALUES ({marks})"

    def _upsert_text(self, table: TableDef) -> str:
        quote = self.conn.dialect.identifier_preparer.quote
        sets = [f"{quote(c.name)} = excluded.{quote(c.name)}" for c in table.columns if c.name != table.primary_key]
        action = f"UPDATE SET {', '.join(sets)}" if sets else "NOTHING"
        return f"{self._insert_text(table)} ON CONFLICT ({quote(table.primary_key)}) DO {action}"

    @property
    @abstractmethod
    def mark(self) -> str:
        """The driver's place holder in a statement."""

    def _duplicates(self, table: TableDef, rows: Sequence[Row]) -> list[Plain]:
        keys, twice = [row[table.primary_key] for row in rows], given_twice(table, rows)
        unique, existing = list(dict.fromkeys(keys)), set[Plain]()
        with self.database.read() as connection:
            for start in range(0, len(unique), WINDOW):
                part = In(table.primary_key, tuple(unique[start : start + WINDOW]))
                existing.update(self._keys(connection, table, part))
        return [key for key in dict.fromkeys(keys) if key in twice or key in existing]

    # Reading

    def select(self, table: TableDef, query: Select, *, batch: int = 1000) -> Iterator[list[Row]]:
        columns = asked_columns(table, query)
        check_filter(table, query.filter)
        made, conditions = self._made(table)
        asked = [made.column(column.name) for column in columns] or [sa.literal_column("1")]
        statement = sa.select(*asked).select_from(made.core)
        statement = statement.where(conditions.where(query.filter))
        if query.sort:
            statement = statement.order_by(*self._order(table, conditions, query))
        if query.limit is not None:
            statement = statement.limit(query.limit)
        if query.skip:
            statement = statement.offset(query.skip)
        reader = Reader(columns, self._dialect)
        stream = query.limit is None or query.limit > batch
        return fetch_batches(self.database, statement, reader, batch, stream=stream)

    def _order(self, table: TableDef, conditions: Conditions, query: Select) -> list[Clause]:
        # The key last, so that pages by skip and limit neither repeat nor lose rows of equal rank.
        sort = (
            query.sort
            if any(name == table.primary_key for name, _ in query.sort)
            else (*query.sort, (table.primary_key, 1))
        )
        return [term for name, way in sort for term in conditions.order(name, way)]

    def count(self, table: TableDef, filter: Filter) -> int:
        check_filter(table, filter)
        made, conditions = self._made(table)
        statement = sa.select(sa.func.count()).select_from(made.core).where(conditions.where(filter))
        with self.database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def distinct(self, table: TableDef, field: str, filter: Filter) -> list[Plain]:
        check_filter(table, filter)
        (column,) = asked_columns(table, Select(table.name, fields=(field.partition(".")[0],)))
        made, conditions = self._made(table)
        clause = made.column(column.name)
        where = sa.and_(conditions.where(filter), sa.not_(conditions.null(field)))
        with self.database.read() as connection:
            if column.type == "json":
                path = field.split(".")[1:]
                texts = connection.execute(sa.select(self._dialect.json_value(clause, path)).where(where).distinct())
                return distinct_json(table.name, field, [text for (text,) in texts])
            found = connection.execute(sa.select(clause).where(where).distinct().order_by(clause))
            return Reader([column], self._dialect).values([value for (value,) in found])

    def _keys(
        self, connection: sa.Connection, table: TableDef, filter: Filter, *, first: bool = False, lock: bool = False
    ) -> list[Plain]:
        made, conditions = self._made(table)
        statement = sa.select(made.key).where(conditions.where(filter)).order_by(made.key)
        if first:
            statement = statement.limit(1)
        if lock and self._dialect.row_locks:
            statement = statement.with_for_update()
        return self._read_keys(table, connection.execute(statement).scalars().all())

    def _read_keys(self, table: TableDef, keys: Sequence[Any]) -> list[Plain]:
        return Reader([_key_column(table)], self._dialect).values(list(keys))

    # Changing rows

    def update(self, table: TableDef, filter: Filter, update: Update, *, many: bool) -> list[Plain]:
        check_filter(table, filter)
        check_update(table, update, **self._floats)
        in_place = (
            not update.push and not update.inc and all(table.column(name) for name in (*update.set, *update.unset))
        )
        with self.database.write() as connection:
            if not in_place:
                return self._update_by_rows(connection, table, filter, update, many=many)
            made, _ = self._made(table)
            values = {made.column(name): self._literal(table, name, value) for name, value in update.set.items()}
            values |= {made.column(name): sa.null() for name in update.unset}
            where = self._target(connection, table, filter, many=many)
            if where is None:
                return []
            if not values:
                return self._keys(connection, table, filter, first=not many)
            return self._change(connection, table, where, sa.update(made.core).values(values))

    def _target(self, connection: sa.Connection, table: TableDef, filter: Filter, *, many: bool) -> Filter | None:
        """The filter itself, or one for its first row; None where there is no such row."""
        if many:
            return filter
        keys = self._keys(connection, table, filter, first=True, lock=True)
        return In(table.primary_key, tuple(keys)) if keys else None

    def _update_by_rows(
        self, connection: sa.Connection, table: TableDef, filter: Filter, update: Update, *, many: bool
    ) -> list[Plain]:
        """Read, change, write back, in pages by key: what SQL cannot express the same way on every system."""
        made, conditions = self._made(table)
        columns = [column for column in table.columns if column.name in update.fields]
        reader = Reader([_key_column(table), *columns], self._dialect)
        page = sa.select(made.key, *(made.column(column.name) for column in columns)).order_by(made.key)
        page = page.where(conditions.where(filter)).limit(1000 if many else 1)
        if self._dialect.row_locks:
            page = page.with_for_update()
        done: list[Plain] = []
        last: Any = None
        while True:
            found = connection.execute(page if last is None else page.where(made.key > last)).cursor.fetchall()
            rows = [changed(row, update) for row in reader.rows(found)]
            if rows:
                self._write_back(connection, table, columns, rows)
                done += [row[table.primary_key] for row in rows]
                last = sa.literal(found[-1][0], made.key.type)
            if not many or len(found) < 1000:
                return done

    def _write_back(
        self, connection: sa.Connection, table: TableDef, columns: Sequence[Column], rows: Sequence[Row]
    ) -> None:
        part = TableDef(table.name, (_key_column(table), *columns), table.primary_key)
        quote = self.conn.dialect.identifier_preparer.quote
        sets = ", ".join(f"{quote(column.name)} = {self.mark}" for column in columns)
        text = f"UPDATE {quote(table.name)} SET {sets} WHERE {quote(table.primary_key)} = {self.mark}"
        _executemany(connection, text, [(*values[1:], values[0]) for values in self._driver_rows(part, rows)])

    def replace(self, table: TableDef, filter: Filter, row: Row) -> list[Plain]:
        check_filter(table, filter)
        with self.database.write() as connection:
            keys = self._keys(connection, table, filter, first=True, lock=True)
            if not keys:
                return []
            if row.get(table.primary_key, keys[0]) != keys[0]:
                raise QueryError(
                    f"table {table.name!r}: the row found has {table.primary_key!r} {keys[0]!r}, which a replacement "
                    f"cannot change to {row[table.primary_key]!r}; leave the key out, or delete and insert"
                )
            others = [column for column in table.columns if column.name != table.primary_key]
            whole = {**row, table.primary_key: keys[0]}
            columns_of(table, [whole], **self._floats)
            self._write_back(connection, table, others, [whole])
            return keys

    def delete(self, table: TableDef, filter: Filter, *, many: bool) -> list[Plain]:
        check_filter(table, filter)
        made, _ = self._made(table)
        with self.database.write() as connection:
            where = self._target(connection, table, filter, many=many)
            if where is None:
                return []
            return self._change(connection, table, where, sa.delete(made.core))

    def _change(
        self, connection: sa.Connection, table: TableDef, filter: Filter, statement: sa.Update | sa.Delete
    ) -> list[Plain]:
        """Do it to the rows that pass, and return their keys."""
        made, conditions = self._made(table)
        if self._dialect.returning:
            found = connection.execute(statement.where(conditions.where(filter)).returning(made.key)).scalars().all()
            return sorted(self._read_keys(table, found))  # type: ignore[type-var]
        keys = self._keys(connection, table, filter, lock=True)
        for start in range(0, len(keys), 1000):
            part = In(table.primary_key, tuple(keys[start : start + 1000]))
            connection.execute(statement.where(conditions.where(part)))
        return keys

    # Anti-join

    def missing(
        self, table: TableDef, filter: Filter, outputs: TableDef, where: Filter, *, batch: int = 1000
    ) -> Iterator[list[Plain]]:
        check_filter(table, filter)
        check_filter(outputs, where)
        window = max(WINDOW, batch)
        found: list[Plain] = []
        last: Any = None
        while True:
            # A window of keys at a time: each is bounded on both sides, so that no plan of the database's
            # begins from the first row again, and between two of them anyone may write.
            with self.database.read() as connection:
                upper = self._key_after(connection, table, last, window)
                found += self._missing_between(connection, table, filter, outputs, where, (last, upper))
            whole = len(found) - len(found) % batch if upper is not None else len(found)
            for start in range(0, whole, batch):
                yield found[start : min(start + batch, whole)]
            if upper is None:
                return
            found, last = found[whole:], upper

    def _key_after(self, connection: sa.Connection, table: TableDef, last: Any, number: int) -> Any:
        made, _ = self._made(table)
        statement = sa.select(made.key).order_by(made.key).offset(number - 1).limit(1)
        if last is not None:
            statement = statement.where(made.key > sa.literal(last, made.key.type))
        return connection.execute(statement).scalar()

    def _missing_between(
        self,
        connection: sa.Connection,
        table: TableDef,
        filter: Filter,
        outputs: TableDef,
        where: Filter,
        bounds: tuple[Any, Any],
    ) -> list[Plain]:
        made, conditions = self._made(table)
        there, there_conditions = self._made(outputs)
        # Every system makes an anti-join of this; SQLite does it in less than half of NOT EXISTS' time.
        done = sa.and_(there.key == made.key, there_conditions.where(where), *_between(there.key, bounds))
        statement = sa.select(made.key).select_from(made.core.outerjoin(there.core, done))
        statement = statement.where(*_between(made.key, bounds), conditions.where(filter), there.key.is_(None))
        statement = statement.order_by(made.key)
        return self._read_keys(table, connection.execute(statement).scalars().all())

    @abstractmethod
    def native(self, table: TableDef, steps: Sequence[Step]) -> Any: ...

    def close(self) -> None:
        self.database.close()

    def _made(self, table: TableDef) -> tuple[SqlTable, Conditions]:
        made = sql_table(table, self._dialect)
        return made, Conditions(made, self._dialect)

    def _literal(self, table: TableDef, name: str, value: Plain) -> Clause:
        column = table.column(name)
        if column is None:
            raise QueryError(f"table {table.name!r} has no field {name!r}")
        (checked,) = check_column(table, column, [value], [None], **self._floats)
        return sa.literal(self._dialect.to_driver(column.type, checked), self._made(table)[0].core.c[name].type)


def _key_column(table: TableDef) -> Column:
    return next(column for column in table.columns if column.name == table.primary_key)


def _between(key: Clause, bounds: tuple[Any, Any]) -> list[Clause]:
    low, high = bounds
    return [
        *([] if low is None else [key > sa.literal(low, key.type)]),
        *([] if high is None else [key <= sa.literal(high, key.type)]),
    ]


def _executemany(connection: sa.Connection, text: str, values: list[tuple[Any, ...]]) -> None:
    connection.exec_driver_sql(text, values)
