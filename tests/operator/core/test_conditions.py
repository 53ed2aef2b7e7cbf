"""Statuses: what is written, and what a failure says."""

from __future__ import annotations

from typing import Any

import pytest

from superduper.api.v1alpha1 import Reason
from superduper_operator.core.conditions import explain, failed_status, status_patch
from superduper_operator.core.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Immutable,
    Invalid,
    Taken,
    Unavailable,
)

Manifest = dict[str, Any]


def condition(status: str, when: str, message: str = "") -> Manifest:
    return {"type": "Ready", "status": status, "reason": "Available", "message": message, "lastTransitionTime": when}


@pytest.mark.parametrize(
    ("live", "wanted", "patch"),
    [
        ({}, {"rows": 1}, {"rows": 1}),
        ({"rows": 1}, {"rows": 1}, None),
        ({"rows": 1, "job": "x"}, {"rows": 1}, {"job": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}}, {"a": {"c": None, "d": 3}}),
        ({"list": [1, 2]}, {"list": [2]}, {"list": [2]}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": None}, None),
        ({"conditions": [condition("True", "1")]}, {"conditions": [condition("True", "2")]}, None),
        (
            {"conditions": [condition("True", "1", "old")]},
            {"conditions": [condition("True", "2", "new")]},
            {"conditions": [condition("True", "1", "new")]},
        ),
        (
            {"conditions": [condition("True", "1")]},
            {"conditions": [condition("False", "2")]},
            {"conditions": [condition("False", "2")]},
        ),
    ],
    ids=[
        "a new field",
        "nothing changed",
        "a field that is no longer there is nulled",
        "also further in",
        "a list is one value",
        "None takes away",
        "None where there is nothing",
        "times alone are no change",
        "a new message keeps the time",
        "a new state has its own time",
    ],
)
def test_only_what_changed_is_written(live: Manifest, wanted: Manifest, patch: Manifest | None) -> None:
    assert status_patch(live, wanted) == patch


def test_a_failure_keeps_what_the_status_said_beside_it() -> None:
    obj = {
        "metadata": {"generation": 3},
        "status": {"rows": 7, "conditions": [condition("True", "2026-01-01T00:00:00Z")]},
    }
    status = failed_status(obj, Reason.CONFLICT, "taken")
    assert status["rows"] == 7
    assert status["observedGeneration"] == 3
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in status["conditions"]] == [
        ("Ready", "False", "Conflict", "taken"),
        ("Stalled", "True", "Conflict", "taken"),
    ]


def test_conditions_of_a_newer_operator_do_not_stop_an_older_one() -> None:
    obj = {"metadata": {"generation": 1}, "status": {"conditions": [{"type": "New", "status": "Odd"}]}}
    assert len(failed_status(obj, Reason.CONFLICT, "taken")["conditions"]) == 2


class ServerSays(Exception):
    reason = Reason.SCHEMA_MISMATCH


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (Taken("Service x exists"), Reason.CONFLICT, "Service x exists"),
        (Conflict("changed"), Reason.CONFLICT, "changed"),
        (Immutable("spec: field is immutable"), Reason.INVALID, "delete that object, or undo the change"),
        (Invalid("spec.replicas: must be positive"), Reason.INVALID, "must be positive"),
        (Forbidden("lacks the right to list pods"), Reason.ACCESS_DENIED, "Give the operator's role that right"),
        (Unavailable("the API server does not answer"), Reason.UNREACHABLE, "does not answer"),
        (ApiError("odd"), Reason.INVALID, "odd"),
        (TimeoutError("it was not done within 60 s"), Reason.UNREACHABLE, "not done within 60 s"),
        (ServerSays("column x is a text"), Reason.SCHEMA_MISMATCH, "column x is a text"),
        (KeyError("x"), Reason.OPERATOR_FAILED, "KeyError: 'x'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_says_what_to_do(error: Exception, reason: Reason, words: str) -> None:
    found, message = explain(error)
    assert found is reason
    assert words in message
