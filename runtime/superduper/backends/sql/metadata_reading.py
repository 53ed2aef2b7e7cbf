"""What the metadata store asks of its tables, by names and versions of components."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
)

from superduper.backends.sql.metadata_tables import artifacts, components, meta, relations

BATCH = 1000
"""Rows of a page."""
Word = str | BindParameter[str]
"""Given at once, or when the statement is run."""
VALUE = select(meta.c.value).where(meta.c.name == bindparam("name"))
"""What is kept under ``name``."""
_NAMED: tuple[BindParameter[str], BindParameter[str]] = (bindparam("type_id"), bindparam("identifier"))
PARENT = (relations.c.parent_type, relations.c.parent_identifier, relations.c.parent_version)
CHILD = (relations.c.child_type, relations.c.child_identifier, relations.c.child_version)


@cache
def recorded(exact: bool) -> Select[Any]:
    """One version, or the newest, with its artifacts: a row for each, or one. Every new handle asks it, so it is kept."""
    newest = components.alias()
    wanted = (
        bindparam("version")
        if exact
        else select(func.max(newest.c.version)).where(named(newest, *_NAMED)).scalar_subquery()
    )
    theirs = and_(*(artifacts.c[name] == components.c[name] for name in ("type_id", "identifier", "version")))
    found = select(components, artifacts.c.artifact).select_from(components.outerjoin(artifacts, theirs))
    return found.where(named(components, *_NAMED), components.c.version == wanted).order_by(artifacts.c.position)


def matches(
    columns: Sequence[ColumnElement[Any]], type_id: Word, identifier: Word, version: int | None = None
) -> ColumnElement[bool]:
    """Whether the columns hold that component, in that version or any."""
    found = and_(columns[0] == type_id, columns[1] == identifier)
    return found if version is None else and_(found, columns[2] == version)


def named(table: FromClause, type_id: Word, identifier: Word, version: int | None = None) -> ColumnElement[bool]:
    """The same, for a table with columns of these names."""
    columns = [table.c[name] for name in ("type_id", "identifier", "version") if name in table.c]
    return matches(columns, type_id, identifier, version)


def artifacts_after(connection: Connection, after: tuple[Any, ...]) -> Sequence[Row[Any]]:
    """A page of artifacts by key, from the one after that key."""
    columns = [artifacts.c[name] for name in ("type_id", "identifier", "version", "position")]
    # (a, b) > (x, y) spelt out: SQL Server has no row values, and MySQL does not use the index for them.
    later = or_(
        *(and_(*(columns[j] == after[j] for j in range(i)), columns[i] > after[i]) for i in range(len(columns)))
    )
    return connection.execute(select(artifacts).where(later).order_by(*columns).limit(BATCH)).all()
