"""The metadata store in an SQL database, by SQLAlchemy Core: one code for SQLite, PostgreSQL, MySQL and MariaDB."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    and_,
    delete,
    insert,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from superduper.backends.base.metadata import (
    SCHEMA_VERSION,
    ComponentKey,
    ComponentRecord,
    JobRecord,
    Json,
    MetaDataStore,
    check_names,
    check_schema_version,
    no_such_component,
    no_such_version,
    pause,
    still_needed,
    storable,
)
from superduper.backends.sql.engine import errors_of, without_password
from superduper.backends.sql.metadata_reading import (
    BATCH,
    CHILD,
    PARENT,
    VALUE,
    artifacts_after,
    matches,
    named,
    recorded,
)
from superduper.backends.sql.metadata_tables import (
    artifacts,
    components,
    create_statements,
    drop_statements,
    jobs,
    locks,
    meta,
    relations,
    statuses,
)

T = TypeVar("T")
_TRIES = 500
# What a database says when it chose this transaction to give way to another: PostgreSQL's states, MySQL's numbers.
# So does making one table twice at once.
_GAVE_WAY = frozenset({"40001", "40P01", "42P07", "XX000", 1050, 1205, 1213})


class SQLMetaDataStore(MetaDataStore):
    """Components, jobs, statuses and locks in tables that start with ``_superduper_``."""

    clock: ClassVar[ColumnElement[float]]
    """The database's own clock in seconds since 1970: the one clock that all owners of a lock share."""

    def __init__(self, uri: str, engine: Engine) -> None:
        self.uri = without_password(uri)
        self._engine = engine
        self._writer = engine.execution_options(write=True)
        try:
            self.prepare()
        except Exception:
            self.close()
            raise

    # ---------------------------------------------------------------------------------------------- components

    def add_component(
        self,
        type_id: str,
        identifier: str,
        *,
        digest: str,
        spec: Mapping[str, Json],
        artifacts: Sequence[str] = (),
        children: Sequence[ComponentKey] = (),
    ) -> tuple[ComponentRecord, bool]:
        check_names(type_id, identifier)
        document = json.dumps(spec, separators=(",", ":"))

        def add(connection: Connection) -> tuple[ComponentRecord, bool]:
            newest = self._find(connection, type_id, identifier)
            if newest is not None and newest.digest == digest:
                return newest, False
            for child in children:
                self._check_present(connection, child)
            record = ComponentRecord(
                type_id,
                identifier,
                0 if newest is None else newest.version + 1,
                digest,
                json.loads(document),
                tuple(artifacts),
                datetime.now(UTC),
            )
            self._insert(connection, record, document, children)
            self._changed(connection)
            return record, True

        return self._write(add)

    def _insert(
        self, connection: Connection, record: ComponentRecord, document: str, children: Sequence[ComponentKey]
    ) -> None:
        key = {"type_id": record.type_id, "identifier": record.identifier, "version": record.version}
        row = {**key, "digest": record.digest, "spec": document, "created": _stamp(record.created)}
        connection.execute(insert(components), row)
        if record.artifacts:
            rows = [{**key, "position": n, "artifact": id} for n, id in enumerate(record.artifacts)]
            connection.execute(insert(artifacts), rows)
        if children:
            names = [column.name for column in (*PARENT, *CHILD)]
            pairs = [dict(zip(names, (*record.key, *child), strict=True)) for child in sorted(set(children))]
            connection.execute(insert(relations), pairs)

    def _check_present(self, connection: Connection, key: ComponentKey) -> None:
        """Hold the child against a removal that runs at the same time, until this transaction ends."""
        held = select(components.c.version).where(named(components, *key)).with_for_update(read=True)
        if connection.scalar(held) is None:
            raise self._missing(connection, *key)

    def state(self) -> Hashable:
        return self._read(lambda connection: connection.scalar(VALUE, {"name": "state"}))

    def component(self, type_id: str, identifier: str, version: int | None = None) -> ComponentRecord:
        def read(connection: Connection) -> ComponentRecord:
            record = self._find(connection, type_id, identifier, version)
            if record is None:
                raise self._missing(connection, type_id, identifier, version)
            return record

        return self._read(read)

    def components(self, type_id: str | None = None) -> list[tuple[str, str]]:
        return self._read(lambda connection: self._known(connection, type_id))

    def versions(self, type_id: str, identifier: str) -> list[int]:
        return self._read(lambda connection: self._versions(connection, type_id, identifier))

    def remove_component(self, type_id: str, identifier: str, version: int | None = None) -> None:
        def remove(connection: Connection) -> None:
            held = select(components.c.version).where(named(components, type_id, identifier, version))
            if not connection.scalars(held.with_for_update()).all():
                raise self._missing(connection, type_id, identifier, version)
            parents = [
                key
                for key in self._parents(connection, type_id, identifier, version)
                if (key.type_id, key.identifier) != (type_id, identifier)
            ]
            if parents:
                raise still_needed(type_id, identifier, parents)
            connection.execute(delete(components).where(named(components, type_id, identifier, version)))
            connection.execute(delete(artifacts).where(named(artifacts, type_id, identifier, version)))
            connection.execute(delete(relations).where(matches(PARENT, type_id, identifier, version)))
            if not self._versions(connection, type_id, identifier):
                connection.execute(delete(statuses).where(named(statuses, type_id, identifier)))
            self._changed(connection)

        self._write(remove)

    def children(self, key: ComponentKey) -> list[ComponentKey]:
        query = select(*CHILD).where(matches(PARENT, *key)).order_by(*CHILD)
        return self._read(lambda connection: [ComponentKey(*row) for row in connection.execute(query)])

    def parents(self, type_id: str, identifier: str, version: int | None = None) -> list[ComponentKey]:
        return self._read(lambda connection: self._parents(connection, type_id, identifier, version))

    def artifacts(self) -> Iterator[str]:
        # In pages by key, so that no cursor or transaction stays open while the caller works.
        after: tuple[Any, ...] = ("", "", -1, -1)
        while True:
            page = self._read(lambda connection, after=after: artifacts_after(connection, after))  # type: ignore[misc]
            yield from (row.artifact for row in page)
            if len(page) < BATCH:
                return
            last = page[-1]
            after = (last.type_id, last.identifier, last.version, last.position)

    # ----------------------------------------------------------------------------------- statuses, jobs and locks

    def status(self, type_id: str, identifier: str) -> dict[str, Json]:
        query = select(statuses.c.status).where(named(statuses, type_id, identifier))
        found = self._read(lambda connection: connection.scalar(query))
        return json.loads(found) if found else {}

    def set_status(self, type_id: str, identifier: str, status: Mapping[str, Json]) -> None:
        check_names(type_id, identifier)
        key = {"type_id": type_id, "identifier": identifier}
        self._put(statuses, key, {"status": json.dumps(status, separators=(",", ":"))})

    def put_job(self, job: JobRecord) -> None:
        values = {
            "kind": job.kind,
            "model": job.model,
            "version": job.version,
            "phase": job.phase,
            "started": _stamp(job.started),
            "finished": None if job.finished is None else _stamp(job.finished),
            "rows": job.rows,
            "failed": job.failed,
            "message": storable(job.message),
        }
        self._put(jobs, {"id": job.id}, values)

    def jobs(self, model: str | None = None, *, limit: int = 100) -> list[JobRecord]:
        query = select(jobs).order_by(jobs.c.started.desc(), jobs.c.id.desc()).limit(limit)
        if model is not None:
            query = query.where(jobs.c.model == model)
        return self._read(lambda connection: [_job(row) for row in connection.execute(query)])

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        until = self.clock + seconds
        take = update(locks).values(owner=owner, expires=until)
        take = take.where(locks.c.name == name, or_(locks.c.owner == owner, locks.c.expires <= self.clock))
        present = select(locks.c.name).where(locks.c.name == name)

        def compare_and_set(connection: Connection) -> bool:
            if connection.execute(take).rowcount:
                return True
            if connection.scalar(present) is not None:
                return False
            connection.execute(insert(locks).values(name=name, owner=owner, expires=until))
            return True

        return self._write(compare_and_set)

    def holder(self, name: str) -> str | None:
        query = select(locks.c.owner).where(locks.c.name == name)
        return self._read(lambda connection: connection.scalar(query))

    def release(self, name: str, owner: str) -> None:
        gone = delete(locks).where(locks.c.name == name, locks.c.owner == owner)
        self._write(lambda connection: connection.execute(gone))

    # ----------------------------------------------------------------------------------------------- the whole

    def drop(self) -> None:
        def drop_all(connection: Connection) -> None:
            for statement in drop_statements(type(connection.dialect)):
                connection.exec_driver_sql(statement)

        self._write(drop_all)

    def close(self) -> None:
        self._engine.dispose()

    def prepare(self) -> None:
        """Check the layout's version with one select; make the tables only where there are none."""
        name = {"name": "schema_version"}

        def create(connection: Connection) -> str:
            for statement in create_statements(type(connection.dialect)):
                connection.exec_driver_sql(statement)
            found = connection.scalar(VALUE, name)
            if found is None:
                found = str(SCHEMA_VERSION)
                connection.execute(insert(meta).values(**name, value=found))
            return found

        with errors_of(self.uri), self._engine.connect() as connection:
            try:
                found = connection.scalar(VALUE, name)
            except DBAPIError:
                connection.rollback()
                if inspect(connection).has_table(meta.name):
                    raise
                found = None
        check_schema_version(self.uri, int(found or self._write(create)))

    def _read(self, action: Callable[[Connection], T]) -> T:
        with errors_of(self.uri), self._engine.connect() as connection:
            return action(connection)

    def _write(self, action: Callable[[Connection], T]) -> T:
        """Run it in one transaction, again where another process wrote the same at the same time."""
        with errors_of(self.uri):
            for attempt in count():
                try:
                    with self._writer.begin() as connection:
                        return action(connection)
                except DBAPIError as error:
                    if attempt == _TRIES or not _lost_a_race(error):
                        raise
                pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _put(self, table: Table, key: Mapping[str, object], values: Mapping[str, object]) -> None:
        """Replace the row of that key, or add it."""
        present = and_(*(table.c[name] == value for name, value in key.items()))

        def put(connection: Connection) -> None:
            if not connection.execute(update(table).where(present).values(**values)).rowcount:
                connection.execute(insert(table).values(**key, **values))

        self._write(put)

    # ------------------------------------------------------------------------------- parts of one transaction

    def _changed(self, connection: Connection) -> None:
        # Last in its transaction, so that the row is held for the commit alone.
        token = uuid4().hex
        if not connection.execute(update(meta).where(meta.c.name == "state").values(value=token)).rowcount:
            connection.execute(insert(meta).values(name="state", value=token))

    def _find(
        self, connection: Connection, type_id: str, identifier: str, version: int | None = None
    ) -> ComponentRecord | None:
        asked = {"type_id": type_id, "identifier": identifier} | ({} if version is None else {"version": version})
        rows = connection.execute(recorded(version is not None), asked).all()
        if not rows:
            return None
        row = rows[0]
        key = (row.type_id, row.identifier, row.version)
        created = datetime.fromisoformat(row.created)
        ids = tuple(each.artifact for each in rows if each.artifact is not None)
        return ComponentRecord(*key, row.digest, json.loads(row.spec), ids, created)

    def _known(self, connection: Connection, type_id: str | None = None) -> list[tuple[str, str]]:
        query = select(components.c.type_id, components.c.identifier).distinct()
        if type_id is not None:
            query = query.where(components.c.type_id == type_id)
        return sorted((row.type_id, row.identifier) for row in connection.execute(query))

    def _versions(self, connection: Connection, type_id: str, identifier: str) -> list[int]:
        query = select(components.c.version).where(named(components, type_id, identifier))
        return list(connection.scalars(query.order_by(components.c.version)))

    def _parents(
        self, connection: Connection, type_id: str, identifier: str, version: int | None
    ) -> list[ComponentKey]:
        query = select(*PARENT).distinct().where(matches(CHILD, type_id, identifier, version))
        return sorted(ComponentKey(*row) for row in connection.execute(query))

    def _missing(self, connection: Connection, type_id: str, identifier: str, version: int | None = None) -> Exception:
        versions = self._versions(connection, type_id, identifier)
        if version is not None and versions:
            return no_such_version(type_id, identifier, version, versions)
        return no_such_component(type_id, identifier, self._known(connection))


def _stamp(moment: datetime) -> str:
    """UTC, always of the same length, so that texts sort as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _job(row: Row[Any]) -> JobRecord:
    values = dict(row._mapping)
    values["started"] = datetime.fromisoformat(values["started"])
    values["finished"] = values["finished"] and datetime.fromisoformat(values["finished"])
    return JobRecord(**values)


def _lost_a_race(error: DBAPIError) -> bool:
    if isinstance(error, IntegrityError):
        return True
    first = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return getattr(error.orig, "sqlstate", None) in _GAVE_WAY or first in _GAVE_WAY
