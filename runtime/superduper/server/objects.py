"""The objects of a datalayer, as the operator gives them: brought in, told, removed; long work is left to others."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from superduper import code
from superduper.api import references
from superduper.api import v1alpha1 as api
from superduper.api.explain import dotted, explain
from superduper.api.v1alpha1 import Reason
from superduper.embedded.apply import with_known_fields
from superduper.embedded.observed import observe
from superduper.embedded.state import Record
from superduper.errors import CodeError, InUse, ManifestError, NotFound, SuperduperError, Unreachable, nearest
from superduper.fingerprint import sha1
from superduper.reasons import reason
from superduper.server import assess, work
from superduper.server.assess import Work
from superduper.server.records import SERVED, Records, applied

if TYPE_CHECKING:
    from superduper.datalayer import Datalayer
    from superduper.server.state import State

log = logging.getLogger("superduper.server")

CANCEL_SECONDS = 8.0
"""An object that is removed waits so long for the work on it to stop; the operator waits ten."""


@dataclass(frozen=True, slots=True)
class Told:
    """How an object is, as it is answered."""

    record: Record
    work: Work | None
    revision: str

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        return {"status": status(self.record), "work": dumped(self.work), "revision": self.revision}


def status(record: Record) -> dict[str, Any]:
    """The status as the API has it."""
    return record.status.model_dump(mode="json", by_alias=True, exclude_none=True)


def dumped(found: Work | None) -> dict[str, Any] | None:
    """Work as it is answered."""
    return None if found is None else found.model_dump()


class Objects:
    """The objects of one datalayer."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._records: Records | None = None
        self._locks: dict[tuple[str, str], threading.RLock] = {}
        self._runs: dict[str, tuple[str, str]] = {}
        """Models that are being run, by identifier."""
        self._told: dict[str, str] = {}

    def records(self, db: Datalayer) -> Records:
        """Where they are kept."""
        if self._records is None or self._records.metadata is not db.metadata:
            self._records = Records(db.metadata)
        return self._records

    def _lock(self, kind: str, name: str) -> threading.RLock:
        return self._locks.setdefault((kind, name), threading.RLock())

    # Asked from outside

    def put(self, db: Datalayer, kind: str, name: str, body: Any) -> Told:
        """Bring the object in. The same again does nothing; one that failed is tried again. Raises ManifestError."""
        found = parsed(kind, name, body)
        records = self.records(db)
        with self._lock(kind, name):
            previous = records.find(kind, name)
            self._refuse_moved(records, found, previous)
            record = applied(previous, found)
            digest = sha1(json.dumps(found.spec.model_dump(mode="json"), sort_keys=True).encode())
            if previous is None or previous.memo.get("applied") != digest:
                record = self._apply(db, record, digest)
                self.state.background.forgive((kind, name))
            told = self._tell(db, record)
            if previous is None or told.record != previous:
                records.put(told.record)
        self.state.background.kick()
        return told

    def get(self, db: Datalayer, kind: str, name: str) -> Told:
        """How it is at the moment. Raises NotFound."""
        check_kind(kind)
        return self._refresh(db, kind, name)

    def all(self, db: Datalayer, kind: str | None) -> dict[str, Told]:
        """All of them, or those of a kind, by ``Kind/name``."""
        if kind is not None:
            check_kind(kind)
        found = [r for r in self.records(db).all() if kind in (None, r.kind)]
        return {f"{r.kind}/{r.name}": self._refresh(db, r.kind, r.name) for r in found}

    def revisions(self, db: Datalayer) -> dict[str, str]:
        """Revision by ``Kind/name``, as the look-out saw them last."""
        known = self.records(db).names()
        for kind, name in known:
            if f"{kind}/{name}" not in self._told:
                with suppress(NotFound):
                    self._refresh(db, kind, name)
        return {key: self._told[key] for key in ("/".join(pair) for pair in known) if key in self._told}

    def delete(self, db: Datalayer, kind: str, name: str, policy: str | None) -> None:
        """Remove it; ``policy`` says what becomes of its data, else its spec does. Raises NotFound, InUse."""
        check_kind(kind)
        records = self.records(db)
        record = records.get(kind, name)
        self._refuse_needed(records, record)
        with self.state.background.kept_from((kind, name), CANCEL_SECONDS) as ended:
            if not ended:
                raise InUse(f"{kind} {name!r}: work on it is under way and comes to a stop; try again in a moment")
            with self._lock(kind, name):
                self._forget(db, record, policy)

    def _forget(self, db: Datalayer, record: Record, policy: str | None) -> None:
        type_id = record.kind.lower()
        if db.metadata.versions(type_id, record.identifier):
            schema = db.load("table", record.identifier).schema.identifier if record.kind == "Table" else None
            self._with_policy(db, record, policy)
            db.remove(type_id, record.identifier)
            if schema is not None:
                # The table's own schema; one that others share stays.
                with suppress(InUse, NotFound):
                    db.remove("schema", schema)
        self.records(db).remove(record.kind, record.name)
        self._told.pop(f"{record.kind}/{record.name}", None)
        if record.kind == "Model":
            with suppress(KeyError):
                self.state.metrics.pending.remove(record.identifier)

    def rerun(self, db: Datalayer, name: str, *, retry: bool, full: bool) -> Told:
        """Have the model's missing outputs computed, whatever its trigger; ``retry``: failed rows too; ``full``: look
        for rows that were written past superduper. Raises NotFound.
        """
        records = self.records(db)
        with self._lock("Model", name):
            record = records.get("Model", name)
            model = db.load("model", record.identifier)
            if retry and model.predict_spec is not None:
                listener = db.listener(record.identifier)
                ledger = db.upkeep.ledger(listener)
                if ledger is not None:
                    ledger.retry_failed(db.upkeep.key(listener))
            attempt = record.memo.get("attempt", 0) + 1
            memo = {**record.memo, "asked": True, "attempt": attempt, "since": datetime.now(UTC).isoformat()}
            told = self._tell(db, replace(record, memo=memo))
            records.observe(told.record)
        if full and model.predict_spec is not None:
            self.state.background.submit(("Model", name), partial(self._look_past, db, record), again=True)
        elif told.work is not None and told.work.by == "server":
            self._submit_model(db, record, told.work, again=True)
        self.state.background.kick()
        return told

    def _look_past(self, db: Datalayer, record: Record) -> None:
        """Mark results of rows that were written past superduper; they are computed as all that is missing."""
        db.upkeep.refresh(db.listener(record.identifier))
        self.change(db, record, lambda r: replace(r, memo={**r.memo, "asked": True}))

    # Asked from the background

    def look(self, db: Datalayer) -> None:
        """Go over all objects: keep their statuses true, and have done what is to be done."""
        for record in self.records(db).all():
            self.state.background.check(("", ""))
            try:
                self._look_at(db, record)
            except NotFound:
                # It was removed meanwhile.
                continue
            except Unreachable:
                raise
            except SuperduperError as error:
                # The others are looked at all the same.
                log.warning("%s/%s: %s: %s", record.kind.lower(), record.name, type(error).__name__, error)

    def _look_at(self, db: Datalayer, record: Record) -> None:
        key = record.kind, record.name
        told = self._refresh(db, *key)
        if record.kind == "Table" and work.is_due(told.record):
            check = partial(self.state.background.check, key)
            self.state.background.submit(key, lambda: work.ingest(self, db, record.name, check))
        pending = getattr(told.record.status, "pending", None)
        if record.kind == "Model":
            self.state.metrics.pending.labels(record.identifier).set(pending or 0)
        if told.work is None or told.work.by != "server":
            return
        if told.record.status.condition("Stalled") is None:
            self._submit_model(db, told.record, told.work)
        elif told.record.memo.get("failedRows") not in (None, getattr(told.record.status, "rows", None)):
            # Other rows than when it failed: it may succeed with these.
            since = datetime.now(UTC).isoformat()
            self.change(db, record, lambda r: replace(r, memo={**r.memo, "since": since, "failedRows": None}))

    def _submit_model(self, db: Datalayer, record: Record, found: Work, *, again: bool = False) -> None:
        key = "Model", record.name
        self._runs[record.identifier] = key
        db.upkeep.progress = self._progress
        self.state.background.submit(key, lambda: work.run(self, db, record.name, found), again=again)

    def _progress(self, listener: str, done: int, failed: int, total: int) -> None:
        """Told after each batch of any model, by the name of its listener, which is the model's identifier."""
        self.state.background.check(self._runs.get(listener, ("", "")))

    def change(self, db: Datalayer, record: Record, how: Callable[[Record], Record]) -> None:
        """Observe something of an object, as long as its spec is the one that it was observed of."""
        with self._lock(record.kind, record.name):
            found = self.records(db).find(record.kind, record.name)
            if found is None or found.object.spec != record.object.spec:
                return
            changed = how(found)
            if changed != found:
                self.records(db).observe(changed)

    def written(self, db: Datalayer, table: str) -> None:
        """Rows of the table were changed: what was measured on it is outdated, also where their number is the same."""
        for record in self.records(db).all():
            validation = getattr(record.object.spec, "validation", None)
            if validation is not None and validation.table == table and validation.dataset is None:
                said = db.metadata.status("model", record.identifier)
                if "validation" in said:
                    said = {**said, "validation": {**said["validation"], "measured": ""}}
                    db.metadata.set_status("model", record.identifier, said)
        self.state.background.kick()

    # Within

    def _refresh(self, db: Datalayer, kind: str, name: str) -> Told:
        with self._lock(kind, name):
            record = self.records(db).get(kind, name)
            if record.memo.get("applied") is None:
                # What kept it from being brought in may be gone.
                digest = sha1(json.dumps(record.object.spec.model_dump(mode="json"), sort_keys=True).encode())
                told = self._tell(db, self._apply(db, record, digest))
            else:
                told = self._tell(db, record)
            if told.record != record:
                self.records(db).observe(told.record)
            return told

    def _tell(self, db: Datalayer, record: Record) -> Told:
        found: Work | None = None
        if record.memo.get("applied") is not None:
            try:
                if record.kind == "Table":
                    record = assess.table(db, record)
                elif record.kind == "Model":
                    record, found = assess.model(db, record, self.state.compute)
            except work.PASSING:
                raise
            except SuperduperError as error:
                record = observe(record, "Stalled", reason(error, Reason.APPLYING), str(error))
        shown = json.dumps([status(record), dumped(found)], sort_keys=True)
        revision = hashlib.sha256(shown.encode()).hexdigest()[:16]
        self._told[f"{record.kind}/{record.name}"] = revision
        return Told(record, found, revision)

    def _apply(self, db: Datalayer, record: Record, digest: str) -> Record:
        """The record after its object was brought in, or of why that failed."""
        found: Any = record.object
        memo = {k: v for k, v in record.memo.items() if k != "applied"}
        try:
            for path, given in references.codes(found):
                if given.source is not None:
                    with _placed(path):
                        code.check_syntax(given.source)
            made: Any = db.from_object(found)
            if record.kind == "Table":
                is_new = not db.metadata.versions("table", record.identifier)
                made = with_known_fields(db, made, is_new=is_new)
            db.apply(made, run=False)
        except work.PASSING:
            raise
        except SuperduperError as error:
            return observe(replace(record, memo=memo), "Stalled", reason(error, Reason.APPLYING), str(error))
        memo["applied"] = digest
        if record.kind == "Table" and found.spec.source is not None:
            memo.pop("read", None)
            return observe(replace(record, memo=memo), "Reconciling", Reason.INGESTING)
        if record.kind == "Model":
            memo["since"] = datetime.now(UTC).isoformat()
        return observe(replace(record, memo=memo), "Ready", Reason.AVAILABLE, version=made.version)

    def _refuse_moved(self, records: Records, found: Any, previous: Record | None) -> None:
        if previous is not None and previous.identifier != found.identifier:
            raise ManifestError(
                f"spec.identifier: {found.kind} {previous.name!r} is {previous.identifier!r} in the datalayer and cannot be "
                "renamed; remove it first"
            )
        other = records.holder(found.kind, found.identifier)
        if other not in (None, found.metadata.name):
            raise ManifestError(f"spec.identifier: {found.identifier!r} is that of {found.kind} {other!r} already")

    def _refuse_needed(self, records: Records, record: Record) -> None:
        names = [
            f"{other.kind} {other.name!r}"
            for other in records.all()
            if any(
                ref.kind == record.kind and ref.name == record.identifier for ref in references.references(other.object)
            )
            and (other.kind, other.name) != (record.kind, record.name)
        ]
        if names:
            raise InUse(f"{', '.join(names)} {'depends' if len(names) == 1 else 'depend'} on it; remove that first")

    def _with_policy(self, db: Datalayer, record: Record, policy: str | None) -> None:
        """Say of the component what is to become of its data, where that is another than it says itself."""
        spec: Any = record.object.spec
        if policy is None or record.kind == "DataType" or spec.deletion_policy == policy:
            return
        other = record.object.model_copy(update={"spec": spec.model_copy(update={"deletion_policy": policy})})
        made: Any = db.from_object(other)
        if record.kind == "Table":
            made = with_known_fields(db, made, is_new=False)
        db.apply(made, run=False)


def check_kind(kind: str) -> None:
    """Raises NotFound for what is no kind of object inside a datalayer."""
    if kind not in SERVED:
        raise NotFound(f"no kind {kind!r}{nearest(kind, SERVED)} (kinds: {', '.join(SERVED)})")


def parsed(kind: str, name: str, body: Any) -> Any:
    """The object that a request's body says. Raises ManifestError, beginning with the field."""
    check_kind(kind)
    if not isinstance(body, dict):
        raise ManifestError("the body is a manifest as a JSON object: apiVersion, kind, metadata, spec")
    if body.get("kind") != kind:
        raise ManifestError(f"kind: {body.get('kind')!r} in the body, {kind!r} in the path")
    given = {k: v for k, v in body.items() if k != "status"}
    if isinstance(given.get("metadata"), dict):
        given["metadata"] = {k: v for k, v in given["metadata"].items() if k in ("name", "namespace", "generation")}
    model = api.KINDS[kind]
    try:
        found = model.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ManifestError(
            "\n".join(f"{dotted(path)}: {text}" for path, text in explain(error, model, given))
        ) from error
    if found.metadata.name != name:
        raise ManifestError(f"metadata.name: {found.metadata.name!r} in the body, {name!r} in the path")
    for path, given_code in references.codes(found):
        if given_code.source_from is not None:
            raise ManifestError(f"{dotted(path)}.sourceFrom: the operator puts the ConfigMap's text in its place")
    return found


class _placed:  # noqa: N801 - a context, read as a word
    """Says of code's errors at which path of the manifest it stands."""

    def __init__(self, path: tuple[str | int, ...]) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CodeError) and not error.where:
            error.at(dotted(self.path))
