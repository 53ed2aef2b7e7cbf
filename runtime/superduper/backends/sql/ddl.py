"""Making tables and finding out what is there."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from superduper.backends.sql.dialect import SqlDialect, SqlTable
from superduper.errors import SchemaMismatch
from superduper.query.tables import ColumnType


def list_tables(connection: sa.Connection) -> list[str]:
    """Names of the tables of the database's default schema, sorted."""
    return sorted(sa.inspect(connection).get_table_names())


def create_table(connection: sa.Connection, table: SqlTable, dialect: SqlDialect) -> None:
    """Make the table, or add the columns that it lacks. Raises SchemaMismatch where it contradicts."""
    name = table.definition.name
    dialect.lock_schema(connection)
    existing = dialect.columns(connection, name)
    if not existing:
        connection.execute(CreateTable(table.core))
        return
    keys = [column for column, (_, in_key) in existing.items() if in_key]
    if keys != [table.definition.primary_key]:
        raise SchemaMismatch(
            f"table {name!r} exists with the primary key {', '.join(map(repr, keys)) or 'none'}, not "
            f"{table.definition.primary_key!r}: choose another name, or drop it"
        )
    known = {declared.lower(): kind for kind, declared in dialect.declarations.items()} | dict(dialect.synonyms)
    quote = connection.dialect.identifier_preparer.quote
    for column in table.definition.columns:
        if column.name not in existing:
            added = f"{quote(column.name)} {dialect.declarations[column.type]}"
            connection.exec_driver_sql(f"ALTER TABLE {quote(name)} ADD COLUMN {added}")
            continue
        there: ColumnType | None = known.get(existing[column.name][0].lower())
        if there != column.type:
            raise SchemaMismatch(
                f"table {name!r} exists and its column {column.name!r} is {existing[column.name][0]}, not "
                f"{column.type}: change the schema, or choose another name"
            )
