"""The settings, as the chart sets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from superduper_operator.settings import Settings

ROOT = Path(__file__).parents[3]
PREFIX = "SUPERDUPER_OPERATOR_"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("namespaces", "a, b,", ("a", "b")),
        ("namespaces", "", ()),
        ("image_pull_secrets", "one", ("one",)),
        ("server_resources", '{"limits": {"memory": "1Gi"}}', {"limits": {"memory": "1Gi"}}),
        ("network_policies", "false", False),
        ("resync", "30", 30.0),
    ],
)
def test_a_setting_is_read_from_the_environment(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", text)
    assert getattr(Settings(), name) == value


def test_all_namespaces_are_served_unless_some_are_named() -> None:
    assert Settings().clusterwide
    assert not Settings(namespaces=("a",)).clusterwide


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("WORKERS", "0", "greater than or equal to 1"),
        ("LOG_FORMAT", "xml", "'json' or 'text'"),
        ("RESYNC", "soon", "number"),
    ],
)
def test_a_wrong_setting_ends_the_process_at_once_and_is_named(name: str, text: str, words: str) -> None:
    environment = {**os.environ, f"{PREFIX}{name}": text}
    command = [sys.executable, "-m", "superduper_operator"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{PREFIX}{name}: ")
    assert words in done.stderr


def test_every_setting_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "operator.md").read_text()
    assert [name for name in Settings.model_fields if f"`{name}`" not in page] == []


def test_the_chart_sets_nothing_that_the_operator_does_not_know() -> None:
    template = (ROOT / "helm" / "superduper" / "templates" / "deployment.yaml").read_text()
    named = {part.split(",")[0].split("}")[0].lower() for part in template.split(PREFIX)[1:]}
    assert named
    assert named - Settings.model_fields.keys() == set()
