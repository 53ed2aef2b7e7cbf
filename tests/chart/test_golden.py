"""The whole chart as it renders, for a few sets of values. UPDATE_GOLDEN=1 writes the files anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import deploy

from .conftest import REPOSITORY, Render

GOLDEN = Path(__file__).with_name("golden")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "namespaced": {"watchNamespaces": ["team-a", "team-b"], "replicaCount": 1, "rbac": {"aggregate": False}},
    "monitored": {
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True},
        },
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    },
}


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_chart_renders_as_it_did(render: Render, variant: str) -> None:
    # The definitions are generated, and held against their types elsewhere; programs stand in files/.
    objects = render(VARIANTS[variant] | {"crds": {"install": False}})
    for found in objects:
        for container in _containers(found):
            if container.get("command") == ["python", "-c"]:
                container["args"][0] = "…"
    text = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=120)
    file = GOLDEN / f"{variant}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"{file} differs; UPDATE_GOLDEN=1 writes it anew"


def _containers(found: dict[str, Any]) -> list[dict[str, Any]]:
    spec = found.get("spec", {})
    spec = spec.get("template", {}).get("spec", spec)
    return list(spec.get("containers", []))


def test_the_plain_manifests_are_the_charts() -> None:
    crds = [(path, path.read_text()) for path in sorted((REPOSITORY / "crds").glob("*.yaml"))]
    for path, text in deploy.files(REPOSITORY, crds).items():
        assert path.exists(), f"{path} is missing; run make generate"
        assert path.read_text() == text, f"{path} differs; run make generate"
