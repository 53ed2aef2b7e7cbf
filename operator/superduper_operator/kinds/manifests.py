"""Objects of the cluster as the API types have them, and their statuses as the cluster has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from superduper.api.explain import checked
from superduper.api.v1alpha1 import Reason, conditions
from superduper.api.v1alpha1.common import Resource
from superduper_operator import labels
from superduper_operator.core.conditions import known
from superduper_operator.podspec import Manifest

R = TypeVar("R", bound=Resource)
State = Literal["Ready", "Reconciling", "Stalled"]

_META = ("name", "namespace", "uid", "generation", "creationTimestamp")


def parsed(kind: type[R], live: Manifest) -> R:
    """The object, without what the cluster and others keep in its metadata. Raises ManifestError."""
    meta = {key: value for key, value in live["metadata"].items() if key in _META}
    return checked(kind, {key: live[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": meta})


def paused(live: Manifest) -> bool:
    """Whether somebody asked us to leave it alone."""
    return (live["metadata"].get("annotations") or {}).get(labels.PAUSED) == "true"


def deleting(live: Manifest) -> bool:
    """Whether it was deleted and waits for finalizers."""
    return "deletionTimestamp" in live["metadata"]


def with_condition(
    live: Manifest, state: State, reason: Reason, message: str, fields: Mapping[str, Any] | None = None
) -> Manifest:
    """The status with these conditions; ``fields`` take the place of what it says else, None keeps that.

    A condition whose status stays keeps the time since when it is so.
    """
    old = live.get("status") or {}
    generation = live["metadata"].get("generation", 0)
    found = conditions(state, reason, message, generation=generation, previous=known(old))
    kept = {key: value for key, value in old.items() if key not in ("conditions", "observedGeneration")}
    return {
        **(kept if fields is None else {key: value for key, value in fields.items() if value is not None}),
        "observedGeneration": generation,
        "conditions": [each.model_dump(mode="json", by_alias=True) for each in found],
    }


def ready(live: Manifest) -> bool:
    """Whether its condition Ready is true."""
    return condition(live.get("status") or {}).get("status") == "True"


def condition(status: Mapping[str, Any], type: str = "Ready") -> Mapping[str, Any]:
    """The condition of that type, empty where there is none."""
    return next((each for each in status.get("conditions") or () if each["type"] == type), {})
