"""From what happened to conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from superduper.api.v1alpha1 import Reason, conditions
from superduper.embedded.state import Record

State = Literal["Ready", "Reconciling", "Stalled"]


def observe(record: Record, state: State, why: Reason, message: str = "", **fields: Any) -> Record:
    """The record with these conditions and further fields of its status."""
    found = conditions(state, why, message, generation=record.generation, previous=record.status.conditions)
    changes: Mapping[str, Any] = {**fields, "conditions": found, "observed_generation": record.generation}
    return replace(record, status=record.status.model_copy(update=changes))
