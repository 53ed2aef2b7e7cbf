"""The tables of the metadata store, in a database that may be the user's own: hence the prefix.

Every index is a key or a unique constraint of its table: ``CREATE TABLE IF NOT EXISTS`` then makes all of them at
once, and several processes may do so at the same time. Texts are short enough for the keys of InnoDB (3,072 bytes).
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Dialect,
    Double,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.schema import CreateTable, DropTable, SchemaItem

PREFIX = "_superduper_"
TYPE_LENGTH, IDENTIFIER_LENGTH = 64, 255

catalogue = MetaData()
_document = Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def _table(name: str, *items: SchemaItem) -> Table:
    # Identifiers differ by case on every other system, so MySQL must not fold it.
    return Table(
        PREFIX + name, catalogue, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin"
    )


meta = _table("meta", Column("name", String(64), primary_key=True), Column("value", String(255), nullable=False))

components = _table(
    "components",
    Column("type_id", String(TYPE_LENGTH), nullable=False),
    Column("identifier", String(IDENTIFIER_LENGTH), nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    Column("digest", String(128), nullable=False),
    Column("spec", _document, nullable=False),
    Column("created", String(32), nullable=False),
    PrimaryKeyConstraint("type_id", "identifier", "version"),
)

relations = _table(
    "relations",
    Column("parent_type", String(TYPE_LENGTH), nullable=False),
    Column("parent_identifier", String(IDENTIFIER_LENGTH), nullable=False),
    Column("parent_version", Integer, nullable=False, autoincrement=False),
    Column("child_type", String(TYPE_LENGTH), nullable=False),
    Column("child_identifier", String(IDENTIFIER_LENGTH), nullable=False),
    Column("child_version", Integer, nullable=False, autoincrement=False),
    PrimaryKeyConstraint(
        "parent_type", "parent_identifier", "parent_version", "child_type", "child_identifier", "child_version"
    ),
    UniqueConstraint(
        "child_type",
        "child_identifier",
        "child_version",
        "parent_type",
        "parent_identifier",
        "parent_version",
        name=PREFIX + "relations_by_child",
    ),
)

artifacts = _table(
    "artifacts",
    Column("type_id", String(TYPE_LENGTH), nullable=False),
    Column("identifier", String(IDENTIFIER_LENGTH), nullable=False),
    Column("version", Integer, nullable=False, autoincrement=False),
    Column("position", Integer, nullable=False, autoincrement=False),
    Column("artifact", String(128), nullable=False),
    PrimaryKeyConstraint("type_id", "identifier", "version", "position"),
)

statuses = _table(
    "statuses",
    Column("type_id", String(TYPE_LENGTH), nullable=False),
    Column("identifier", String(IDENTIFIER_LENGTH), nullable=False),
    Column("status", _document, nullable=False),
    PrimaryKeyConstraint("type_id", "identifier"),
)

jobs = _table(
    "jobs",
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("model", String(IDENTIFIER_LENGTH), nullable=False),
    Column("version", Integer, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("started", String(32), nullable=False),
    Column("finished", String(32)),
    Column("rows", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("message", _document, nullable=False),
    UniqueConstraint("model", "started", "id", name=PREFIX + "jobs_by_model"),
    UniqueConstraint("started", "id", name=PREFIX + "jobs_by_time"),
)

locks = _table(
    "locks",
    Column("name", String(IDENTIFIER_LENGTH), primary_key=True),
    Column("owner", String(IDENTIFIER_LENGTH), nullable=False),
    Column("expires", Double, nullable=False),
)


_compiled: dict[type[Dialect], tuple[str, ...]] = {}


def create_statements(kind: type[Dialect]) -> tuple[str, ...]:
    """The DDL in that dialect; compiled once in a process, since compiling takes longer than running it."""
    if kind not in _compiled:
        _compiled[kind] = tuple(
            str(CreateTable(table, if_not_exists=True).compile(dialect=kind())) for table in catalogue.sorted_tables
        )
    return _compiled[kind]


def drop_statements(kind: type[Dialect]) -> tuple[str, ...]:
    """The DDL that removes every table of ours, present or not."""
    return tuple(str(DropTable(table, if_exists=True).compile(dialect=kind())) for table in catalogue.sorted_tables)
