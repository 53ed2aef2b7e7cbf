"""What is generated from the API types: complete, current, and true for the examples."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from superduper.api.v1alpha1 import KINDS, Reason
from superduper.manifests import dump, load

ROOT = Path(__file__).resolve().parents[3]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scripts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = _generator()
MODELS = GENERATE.models(*KINDS.values(), *GENERATE.COMPONENTS)


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((ROOT / "docs" / "schema" / f"{kind.lower()}.json").read_text("utf-8"))
    return schema


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_drifted_file_fails_the_check_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "helm", tmp_path / "helm")  # what deploy/ is rendered from
    monkeypatch.setattr(GENERATE, "ROOT", tmp_path)
    assert GENERATE.main([]) == 0
    assert GENERATE.main(["--check"]) == 0
    (tmp_path / "docs" / "schema" / "table.json").write_text("{}")
    capsys.readouterr()
    assert GENERATE.main(["--check"]) == 1
    assert "differs: docs/schema/table.json" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: Any) -> None:
    assert model.__doc__
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_text_list_and_map_is_bounded(kind: str) -> None:
    """So that CRDs, whose rules cost by the greatest possible size, can be made of them."""
    unbounded: list[str] = []

    def visit(part: Any, path: str) -> None:
        if isinstance(part, list):
            for position, inner in enumerate(part):
                visit(inner, f"{path}[{position}]")
        if not isinstance(part, dict):
            return
        bounds = {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}
        kind = part.get("type")
        needs = bounds.get(kind) if isinstance(kind, str) else None
        closed = {"enum", "const", "format", "properties"} & set(part)
        if needs and needs not in part and not closed:
            unbounded.append(path)
        for key, inner in part.items():
            visit(inner, f"{path}.{key}")

    visit(schema_of(kind), kind)
    assert unbounded == []


def test_every_rule_and_reason_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    names = [rule.name for model in MODELS for rule in model.RULES] + [reason.value for reason in Reason]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_examples_of_the_docs_load_and_fit_the_schemas() -> None:
    text = "---\n".join(GENERATE.EXAMPLES.values())
    found = load(["-"], stdin=io.StringIO(text))
    assert [manifest.object.kind for manifest in found] == list(KINDS)
    for manifest in found:
        schema = schema_of(manifest.object.kind)
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(yaml.safe_load(manifest.text), schema)
        jsonschema.validate(yaml.safe_load(dump(manifest.object)), schema)


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("an unknown type", {"x": {"type": "stri"}}),
        ("an unknown key", {"x": {"typ": "str"}}),
        ("a dot in a name", {"a.b": {"type": "str"}}),
    ],
)
def test_the_schemas_refuse_what_loading_refuses(reason: str, fields: dict[str, Any]) -> None:
    table = yaml.safe_load(GENERATE.EXAMPLES["Table"])
    table["spec"]["fields"] = fields
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(table, schema_of("Table"))
