"""The chart rendered by helm itself. Where there is no helm, the tests say so and fail."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import deploy

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm" / "superduper"
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session", autouse=True)
def helm() -> str:
    program = deploy.helm()
    assert program, "these tests take helm 3.15 or later on the PATH, or the one that scripts/setup cluster builds"
    return program


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Objects of the chart with values, optionally of one template; its refusal is a CalledProcessError."""

    def rendered(values: dict[str, Any] | None = None, template: str = "", *arguments: str) -> list[dict[str, Any]]:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values or {}))
        only = ["-s", f"templates/{template}"] if template else []
        return deploy.render(CHART, "-f", str(file), *only, *arguments)

    return rendered


@pytest.fixture
def one(render: Render) -> Callable[..., dict[str, Any]]:
    def rendered(values: dict[str, Any], template: str) -> dict[str, Any]:
        (found,) = render(values, template)
        return found

    return rendered


@pytest.fixture
def refused(render: Render) -> Callable[[dict[str, Any]], str]:
    """What helm says about values that it does not take."""

    def refusal(values: dict[str, Any]) -> str:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            render(values)
        return str(caught.value.stderr)

    return refusal
