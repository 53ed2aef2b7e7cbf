"""The generated CRDs: structural, bounded, small, with every rule. tests/apiserver asks a real API server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from scripts import crds, generate
from scripts.crds.admission import TWINS
from scripts.crds.afterwards import TRANSITIONS
from scripts.crds.definition import COLUMNS, schema
from scripts.crds.structural import Converter, NotStructural
from superduper.api.v1alpha1 import KINDS, Reason, Rule, Spec

ROOT = Path(__file__).resolve().parents[3]
FORBIDDEN = {
    "$ref", "$defs", "definitions", "title", "const", "discriminator", "prefixItems", "patternProperties",
    "propertyNames", "writeOnly", "readOnly", "uniqueItems", "id", "deprecated", "examples", "additionalItems",
}  # fmt: skip
JUNCTORS = ("allOf", "anyOf", "oneOf", "not")
UNTYPED = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")


def document(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "crds" / f"{kind.lower()}s.yaml").read_text("utf-8"))
    return found


def version_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = document(kind)["spec"]["versions"][0]
    return found


def nodes(part: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema within a schema, with its place."""
    yield path or ".", part
    for name, inner in part.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if isinstance(part.get("items"), dict):
        yield from nodes(part["items"], f"{path}[]")
    if isinstance(part.get("additionalProperties"), dict):
        yield from nodes(part["additionalProperties"], f"{path}.*")


def schema_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = version_of(kind)["schema"]["openAPIV3Schema"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_structural(kind: str) -> None:
    for path, part in nodes(schema_of(kind)):
        assert not FORBIDDEN & set(part), path
        assert not set(JUNCTORS) & set(part), f"{path}: nothing here needs one"
        assert "type" in part or any(part.get(name) for name in UNTYPED), f"{path}: without a type"
        assert "default" not in part or part["default"] is not None, path
        assert not ("properties" in part and "additionalProperties" in part) or "type" not in part, path
        assert part.get("additionalProperties") is not False, path
        assert not isinstance(part.get("exclusiveMinimum", True), int) or part.get("exclusiveMinimum", True) is True, (
            path
        )
        if part.get("type") == "array":
            assert part["x-kubernetes-list-type"] in ("atomic", "map", "set"), path
        if "type" not in part:
            assert not [inner for place, inner in nodes(part) if "x-kubernetes-validations" in inner], path
    metadata = schema_of(kind)["properties"]["metadata"]
    assert set(metadata["properties"]) <= {"name", "generateName"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_list_and_map_is_bounded(kind: str) -> None:
    bounds = {"string": ("maxLength", "enum"), "array": ("maxItems",), "object": ("maxProperties", "properties")}
    unbounded = [
        path
        for path, part in nodes(schema_of(kind))
        if path not in (".apiVersion", ".kind")
        and not any(name in part for name in bounds.get(part.get("type", ""), part))
    ]
    assert unbounded == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_crd_has_room_to_grow(kind: str) -> None:
    assert (ROOT / "crds" / f"{kind.lower()}s.yaml").stat().st_size < crds.LARGEST


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_stands_where_its_fields_are_in_the_same_words(kind: str) -> None:
    rules = {rule.text: rule.cel for model in generate.models(KINDS[kind]) for rule in model.RULES}
    found = {
        rule["message"]: rule["rule"]
        for _, part in nodes(schema_of(kind))
        for rule in part.get("x-kubernetes-validations", ())
    }
    policy = next(yaml.safe_load_all((ROOT / "crds" / "admission.yaml").read_text("utf-8")))
    admitted = {rule["message"] for rule in policy["spec"]["validations"]}
    for text, cel in rules.items():
        assert found.get(text) == cel if cel is not None else text in admitted, text
    assert {transition.text for transition in TRANSITIONS[kind]} <= set(found)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_show_fields_that_exist(kind: str) -> None:
    fields = {path for path, _ in nodes(schema_of(kind))}
    for column in COLUMNS[kind]:
        plain = re.sub(r"\[\?.*?\]", "[]", column.path)
        assert plain in fields or plain == ".metadata.creationTimestamp", column.name
    names = [column["name"] for column in version_of(kind)["additionalPrinterColumns"]]
    assert {"Ready", "Reason", "Age"} <= set(names)
    assert len(set(names)) == len(names)


def test_reasons_fit_the_pattern_of_conditions() -> None:
    pattern = schema_of("Model")["properties"]["status"]["properties"]["conditions"]["items"]["properties"]["reason"]
    assert all(re.fullmatch(pattern["pattern"], reason.value) for reason in Reason)


def test_the_chart_has_the_same_and_leaves_it_out_or_keeps_it_as_its_values_say() -> None:
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        text = (ROOT / "helm" / "superduper" / "templates" / "crds" / path.name).read_text("utf-8")
        lines = text.splitlines()
        assert lines[1] == "{{- if .Values.crds.install }}"
        assert lines[-1] == "{{- end }}"
        kept = "\n".join(line for line in lines if "{{" not in line)
        documents = list(yaml.safe_load_all(kept))
        for found in documents:
            assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert documents == list(yaml.safe_load_all(path.read_text("utf-8")))


class _Plain(Spec):
    """A spec."""

    RULES: ClassVar[tuple[Rule, ...]] = (Rule("nowhere", "nothing holds", lambda _: False, cel=None),)


class _Odd(Spec):
    """A spec."""

    either: int | bool
    """What a CRD has no form for."""


class _Endless(Spec):
    """A spec."""

    inner: _Endless | None = None
    """Again."""


def test_a_rule_without_a_twin_fails_the_generator_and_is_named() -> None:
    with pytest.raises(NotStructural, match="nowhere"):
        schema(KINDS["Table"], [*generate.models(KINDS["Table"]), _Plain])
    assert set(TWINS) == {
        rule.name for model in generate.models(*KINDS.values()) for rule in model.RULES if rule.cel is None
    }


@pytest.mark.parametrize(("model", "text"), [(_Odd, "no form for a union"), (_Endless, "cannot be recursive")])
def test_what_a_crd_cannot_say_fails_the_generator(model: type[Spec], text: str) -> None:
    with pytest.raises(NotStructural, match=text):
        Converter(model, {model.__name__: model}, defaults=True).convert()
