"""Statuses: what differs from the one that is there, and the conditions of an object whose reconcile failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from superduper.api.v1alpha1.conditions import Condition, Reason, conditions
from superduper_operator.core.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Immutable,
    Invalid,
    Taken,
    Unavailable,
)
from superduper_operator.core.manifest import Manifest

TRANSITION: Final = "lastTransitionTime"
LONGEST_MESSAGE: Final = 4096
"""Characters of a message: an answer of the API server may quote a whole object."""


def status_patch(live: Manifest, status: Manifest) -> Manifest | None:
    """The merge patch that turns one status into the other, or None where they differ in times of transition alone.

    Fields that are no longer there are set to null, so that none goes stale. Conditions keep the time since when their
    status has been as it is.
    """
    wanted = dict(status)
    if "conditions" in wanted:
        wanted["conditions"] = _since(live.get("conditions") or [], wanted["conditions"])
    patch = _merge(live, wanted)
    return patch if _timeless(_merged(live, patch)) != _timeless(live) else None


def failed_status(obj: Manifest, reason: Reason, message: str, now: datetime | None = None) -> Manifest:
    """The object's status with the conditions ``Ready=False`` and ``Stalled=True``, and all else as it was."""
    status = dict(obj.get("status") or {})
    generation = int(obj["metadata"].get("generation", 0))
    found = conditions(
        "Stalled",
        reason,
        message[:LONGEST_MESSAGE],
        generation=generation,
        previous=known(status),
        now=now or datetime.now(UTC).replace(microsecond=0),
    )
    status["conditions"] = [condition.model_dump(mode="json", by_alias=True) for condition in found]
    status["observedGeneration"] = generation
    return status


def explain(error: BaseException) -> tuple[Reason, str]:
    """Why a reconcile failed, as a condition says it."""
    match error:
        case Taken() | Conflict():
            return Reason.CONFLICT, str(error)
        case Immutable():
            return (
                Reason.INVALID,
                f"{error}. The field cannot be changed in place: delete that object, or undo the change",
            )
        case Invalid():
            return Reason.INVALID, str(error)
        case Forbidden():
            return Reason.ACCESS_DENIED, f"{error}. Give the operator's role that right (helm upgrade does)"
        case Unavailable():
            return Reason.UNREACHABLE, str(error)
        case ApiError():
            return Reason.INVALID, str(error)
        case TimeoutError():
            return Reason.UNREACHABLE, str(error) or "it took too long"
        case _ if isinstance(reason := getattr(error, "reason", None), Reason):
            return reason, str(error)
        case _:
            return Reason.OPERATOR_FAILED, f"the operator failed ({type(error).__name__}: {error}); it tries again"


def known(status: Mapping[str, Any]) -> list[Condition]:
    """The conditions of a status that can be read; an older or a newer operator may have written others."""
    found: list[Condition] = []
    for condition in status.get("conditions") or ():
        try:
            found.append(Condition.model_validate(condition))
        except ValidationError:
            continue
    return found


def _since(had: list[Manifest], wanted: list[Manifest]) -> list[Manifest]:
    old = {condition.get("type"): condition for condition in had}
    kept: list[Manifest] = []
    for condition in wanted:
        before = old.get(condition["type"])
        if before is not None and before.get("status") == condition["status"] and TRANSITION in before:
            condition = {**condition, TRANSITION: before[TRANSITION]}
        kept.append(condition)
    return kept


def _merge(live: Manifest, wanted: Manifest) -> Manifest:
    """A JSON merge patch (RFC 7386) from one map to the other."""
    patch: Manifest = {}
    for key in live.keys() - wanted.keys():
        patch[key] = None
    for key, value in wanted.items():
        if value is None:
            if key in live:
                patch[key] = None
        elif isinstance(value, dict) and isinstance(live.get(key), dict):
            inner = _merge(live[key], value)
            if inner:
                patch[key] = inner
        elif key not in live or live[key] != value:
            patch[key] = value
    return patch


def _merged(live: Manifest, patch: Manifest) -> Manifest:
    found = dict(live)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            inner = found.get(key)
            found[key] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            found[key] = value
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key != TRANSITION}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value
