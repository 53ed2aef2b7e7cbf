"""Values that are wrong are refused before anything is installed, in words that name the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"replicas": 2}, "additional properties 'replicas' not allowed", id="a misspelt value"),
        pytest.param({"replicaCount": "two"}, "at '/replicaCount': got string, want integer", id="a text for a number"),
        pytest.param({"replicaCount": 0}, "at '/replicaCount': minimum: got 0, want 1", id="no replica"),
        pytest.param({"image": {"pullPolicy": "always"}}, "at '/image/pullPolicy': value must be one of 'Always'", id="case"),
        pytest.param({"image": {"name": "x"}}, "at '/image': additional properties 'name'", id="a misspelt inner value"),
        pytest.param({"watchNamespaces": "a,b"}, "at '/watchNamespaces': got string, want array", id="a text for a list"),
        pytest.param({"watchNamespaces": ["A_b"]}, "at '/watchNamespaces/0': 'A_b' does not match", id="a bad namespace"),
        pytest.param({"resources": {"limits": {"memory": "lots"}}}, "'lots' does not match", id="no quantity"),
        pytest.param({"operator": {"logLevel": "debug"}}, "'/operator/logLevel': value must be one of 'DEBUG'", id="level"),
        pytest.param({"crds": {"keep": "yes please"}}, "at '/crds/keep': got string, want boolean", id="a text for a switch"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_its_name(
    refused: Callable[[dict[str, Any]], str], values: dict[str, Any], message: str
) -> None:
    assert message in refused(values)
