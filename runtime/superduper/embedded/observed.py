"""From what happened to conditions: one reason for each kind of error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from superduper.api.v1alpha1 import Reason, conditions
from superduper.embedded.state import Record
from superduper.errors import (
    AccessDenied,
    CodeError,
    DecodeError,
    EncodeError,
    InUse,
    MissingExtra,
    ModelError,
    NotFound,
    SchemaMismatch,
    StoreError,
    SuperduperError,
    Unreachable,
)

State = Literal["Ready", "Reconciling", "Stalled"]

_REASONS: tuple[tuple[type[SuperduperError], Reason], ...] = (
    (Unreachable, Reason.UNREACHABLE),
    (AccessDenied, Reason.ACCESS_DENIED),
    (StoreError, Reason.STORE_FAILED),
    (InUse, Reason.IN_USE),
)
_BY_CODE = (CodeError, EncodeError, DecodeError)
_PHASES = {
    Reason.INGESTING: Reason.SOURCE_FAILED,
    Reason.TRAINING: Reason.TRAINING_FAILED,
    Reason.PREDICTING: Reason.PREDICTION_FAILED,
    Reason.VALIDATING: Reason.VALIDATION_FAILED,
}


def reason(error: SuperduperError, phase: Reason) -> Reason:
    """Why an object is stalled, by the error and by what was being done."""
    for kind, found in _REASONS:
        if isinstance(error, kind):
            return found
    if isinstance(error, SchemaMismatch) and phase is not Reason.INGESTING:
        return Reason.SCHEMA_MISMATCH
    if isinstance(error, _BY_CODE) and phase is not Reason.INGESTING:
        return Reason.CODE_FAILED
    if isinstance(error, NotFound) and phase is Reason.APPLYING:
        return Reason.DEPENDENCY_NOT_READY
    if isinstance(error, (ModelError, MissingExtra)) or phase is Reason.INGESTING:
        return _PHASES.get(phase, Reason.INVALID)
    return Reason.INVALID


def observe(record: Record, state: State, why: Reason, message: str = "", **fields: Any) -> Record:
    """The record with these conditions and further fields of its status."""
    found = conditions(state, why, message, generation=record.generation, previous=record.status.conditions)
    changes: Mapping[str, Any] = {**fields, "conditions": found, "observed_generation": record.generation}
    return replace(record, status=record.status.model_copy(update=changes))
