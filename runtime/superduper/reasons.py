"""From errors to reasons of conditions: one reason for each kind of error."""

from __future__ import annotations

from superduper.api.v1alpha1 import Reason
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
MENDED_OUTSIDE = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.ACCESS_DENIED,
        Reason.STORE_FAILED,
        Reason.IN_USE,
        Reason.DEPENDENCY_NOT_READY,
    }
)
"""What may be gone the next time although nobody changed the object."""


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


def recorded(message: str, phase: Reason) -> Reason:
    """The same of what a job's record says of its error: ``CodeError: text``, as it was described there."""
    name = message.partition(":")[0]
    found = {kind.__name__: why for kind, why in _REASONS} | {kind.__name__: Reason.CODE_FAILED for kind in _BY_CODE}
    return found.get(name, _PHASES[phase])
