"""Conditions as kstatus reads them: ``Ready``, and ``Reconciling`` or ``Stalled`` while they hold."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from superduper.api.v1alpha1.common import Count, Spec

ConditionType = Literal["Ready", "Reconciling", "Stalled"]


class Reason(StrEnum):
    """Why a condition is as it is: one enum for all kinds."""

    AVAILABLE = "Available"
    """All that the spec asks for is there."""
    PARTIAL = "Partial"
    """It works, but some rows failed: `superduper errors` lists them."""
    APPLYING = "Applying"
    """The spec is being brought into the datalayer."""
    INGESTING = "Ingesting"
    """Rows are being brought in from the table's source."""
    TRAINING = "Training"
    """The model is being trained."""
    PREDICTING = "Predicting"
    """Missing predictions are being computed."""
    VALIDATING = "Validating"
    """Metrics are being computed."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true: nothing is run."""
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    """An object that it refers to is missing or not ready."""
    INVALID = "Invalid"
    """The spec is refused by the datalayer."""
    UNREACHABLE = "Unreachable"
    """A database or store does not answer."""
    ACCESS_DENIED = "AccessDenied"
    """A database or store refuses the credentials."""
    STORE_FAILED = "StoreFailed"
    """A store refused a write: full disk, read-only, quota."""
    SCHEMA_MISMATCH = "SchemaMismatch"
    """The existing table contradicts the fields."""
    CODE_FAILED = "CodeFailed"
    """User code cannot be loaded, or raised."""
    SOURCE_FAILED = "SourceFailed"
    """The table's source cannot be read."""
    TRAINING_FAILED = "TrainingFailed"
    """Training ended with an error."""
    PREDICTION_FAILED = "PredictionFailed"
    """No prediction could be computed."""
    VALIDATION_FAILED = "ValidationFailed"
    """A metric could not be computed."""
    IN_USE = "InUse"
    """It cannot be removed: others depend on it."""
    PROVISIONING = "Provisioning"
    """A store or the server is being started for it."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The image of a pod cannot be pulled: wrong name, no access, or an unreachable registry."""
    UNSCHEDULABLE = "Unschedulable"
    """No node has room for a pod, or none fits what it asks for."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A pod was killed for using more memory than its limit."""
    CRASHING = "Crashing"
    """A pod ends again and again soon after its start."""
    SECRET_MISSING = "SecretMissing"  # noqa: S105
    """A Secret that it names, or a key in it, does not exist."""
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    """A ConfigMap that it names, or a key in it, does not exist."""
    COMPUTE_MISSING = "ComputeMissing"
    """The compute that it asks for is not installed in the cluster."""
    CONFLICT = "Conflict"
    """Another object has what it asks for: the same identifier, or a child of the same name."""
    PAUSED = "Paused"
    """The annotation superduper.io/paused is "true": the operator leaves it alone."""
    DELETING = "Deleting"
    """It is being removed."""
    JOB_FAILED = "JobFailed"
    """The RayJob or Job that worked for it failed."""
    SERVER_UNAVAILABLE = "ServerUnavailable"
    """The datalayer's server is not running, or does not answer."""
    OPERATOR_FAILED = "OperatorFailed"
    """The operator itself failed on it, and tries again: its message is for a bug report."""


class Condition(Spec):
    """One observation about an object."""

    type: ConditionType
    """What is observed."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Reason
    """Why, as one word for programs."""
    message: Annotated[str, StringConstraints(max_length=32768)] = ""
    """Why, as a sentence for people."""
    observed_generation: Count = 0
    """Generation of the spec that was observed."""
    last_transition_time: datetime
    """When the status last changed."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=8)]


class Status(Spec):
    """What every status begins with."""

    observed_generation: Count = 0
    """Generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Ready always; Reconciling or Stalled while they hold."""

    def condition(self, type: ConditionType) -> Condition | None:
        """The condition of that type, if it is there."""
        return next((c for c in self.conditions if c.type == type), None)

    @property
    def ready(self) -> bool:
        """Whether the object is as its spec asks."""
        condition = self.condition("Ready")
        return condition is not None and condition.status == "True"


def conditions(
    state: Literal["Ready", "Reconciling", "Stalled"],
    reason: Reason,
    message: str = "",
    *,
    generation: int,
    previous: Iterable[Condition] = (),
    now: datetime | None = None,
) -> tuple[Condition, ...]:
    """The conditions of an object in that state.

    ``Ready`` is true in the state Ready alone; in the others it is false and the state's own condition is true.
    The time of a condition whose status did not change is kept from ``previous``.
    """
    now = now or datetime.now(UTC).replace(microsecond=0)
    before = {c.type: c for c in previous}

    def observed(type: ConditionType, status: Literal["True", "False"]) -> Condition:
        old = before.get(type)
        since = old.last_transition_time if old and old.status == status else now
        return Condition(
            type=type,
            status=status,
            reason=reason,
            message=message[:32768],
            observed_generation=generation,
            last_transition_time=since,
        )

    if state == "Ready":
        return (observed("Ready", "True"),)
    return (observed("Ready", "False"), observed(state, "True"))
