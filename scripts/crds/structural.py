"""A pydantic model's JSON Schema as Kubernetes takes it: structural, bounded, with each rule as CEL.

What a structural schema cannot say is refused here, when it is generated, and not by the API server: recursion, and unions
other than those in `_union`. The rules are those of k8s.io/apiextensions-apiserver, pkg/apiserver/schema/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from superduper.api.v1alpha1.common import IN_WORDS, Rule, Spec

Schema: TypeAlias = dict[str, Any]

KEPT = ("type", "enum", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum")
LIST_MAPS = {"Condition": ["type"]}
"""Models whose lists are maps, by the fields that tell entries apart: each writer owns its own entries."""
REASON_PATTERN = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
TIME_LENGTH = 64


class NotStructural(Exception):
    """A model has what a CRD cannot say; the message names the place."""


class Converter:
    """Converts the schema of one kind. ``defaults``: whether the API server fills defaults in."""

    def __init__(self, model: type[Spec], models: Mapping[str, type[Spec]], *, defaults: bool) -> None:
        self._models, self._defaults = models, defaults
        self._document = model.model_json_schema(by_alias=True)
        self._parts = {model.__name__: self._document, **self._document.get("$defs", {})}
        self._inside: list[str] = []
        self._root = model.__name__

    def convert(self) -> Schema:
        """The structural schema of the model."""
        return self._named(self._root)

    def _named(self, name: str) -> Schema:
        if name in self._inside:
            raise NotStructural(f"{' > '.join(self._inside)} > {name}: a CRD cannot be recursive")
        self._inside.append(name)
        try:
            part = self._parts[name]
            if name == "JsonValue":
                return _any()
            if name == "Reason":
                # No enum: an operator may be newer than the CRD.
                return {"type": "string", "minLength": 1, "maxLength": 63, "pattern": REASON_PATTERN}
            model = self._models[name]
            return self._object(part, [rule for rule in model.RULES if rule.cel is not None])
        finally:
            self._inside.pop()

    def _object(self, part: Schema, rules: list[Rule]) -> Schema:
        found: Schema = {"type": "object", "properties": {}}
        for name, field in part["properties"].items():
            found["properties"][name] = self._field(name, field)
        if part.get("required"):
            found["required"] = part["required"]
        if rules:
            found["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.text} for rule in rules]
        return _described(found, part)

    def _field(self, name: str, part: Schema) -> Schema:
        self._inside.append(name)
        try:
            found = self._part(part)
        finally:
            self._inside.pop()
        default = part.get("default")
        if self._defaults and default not in (None, [], {}, ""):
            # What is inside has its own defaults, which the API server fills in after this one.
            found["default"] = {} if isinstance(default, dict) else default
        return _described(found, part)

    def _part(self, part: Schema) -> Schema:
        if "$ref" in part:
            return self._named(part["$ref"].rpartition("/")[2])
        arms = [arm for arm in part.get("anyOf") or part.get("oneOf") or () if arm.get("type") != "null"]
        if len(arms) == 1:
            return self._part(arms[0])
        if arms:
            return self._union([self._part(arm) for arm in arms])
        if not part.get("type"):
            return _any()
        if part["type"] == "object":
            return self._map(part)
        return self._plain(part)

    def _plain(self, part: Schema) -> Schema:
        found: Schema = {key: part[key] for key in KEPT if key in part}
        if "const" in part:
            found["enum"] = [part["const"]]
        for bound in ("Minimum", "Maximum"):
            if f"exclusive{bound}" in part:
                found |= {bound.lower(): part[f"exclusive{bound}"], f"exclusive{bound}": True}
        if part["type"] == "array":
            found["items"] = self._part(part["items"])
            keys = LIST_MAPS.get(part["items"].get("$ref", "").rpartition("/")[2])
            found["x-kubernetes-list-type"] = "map" if keys else "atomic"
            if keys:
                found["x-kubernetes-list-map-keys"] = keys
        if part["type"] == "integer":
            found["format"] = "int64"
        if part["type"] == "string" and "format" in part:
            found["maxLength"] = TIME_LENGTH
        return found

    def _map(self, part: Schema) -> Schema:
        """Keys are checked by CEL: a CRD has neither patternProperties nor propertyNames."""
        patterns = part.get("patternProperties", {})
        values: Schema = next(iter(patterns.values()), part.get("additionalProperties", {}))
        found: Schema = {"type": "object", "additionalProperties": self._part(values)}
        found |= {key: part[key] for key in ("minProperties", "maxProperties") if key in part}
        names = part.get("propertyNames", {})
        if "x-kubernetes-preserve-unknown-fields" not in found["additionalProperties"]:
            found["x-kubernetes-validations"] = key_rules(names.get("maxLength", 63), *patterns)
        return found

    def _union(self, arms: list[Schema]) -> Schema:
        """A number or a text is int-or-string. Of other unions the API server sees no type, so that CEL sees nothing
        of them; what each arm asks for holds where the value has that form. Which forms there are is for admission."""
        types = {arm.get("type") for arm in arms}
        merged: Schema = {}
        for arm in arms:
            merged |= {key: value for key, value in arm.items() if key not in ("type", "x-kubernetes-validations")}
        if types == {"string", "integer"}:
            merged.pop("format", None)
            words = merged.pop("enum", None)
            if words:
                merged["pattern"] = f"^({'|'.join(words)})$"
            return {"x-kubernetes-int-or-string": True, **merged}
        if types not in ({"array", "object"}, {"string", "object"}):
            raise NotStructural(f"{' > '.join(self._inside)}: no form for a union of {types}")
        merged.pop("x-kubernetes-list-type", None)
        merged.pop("description", None)
        return {"x-kubernetes-preserve-unknown-fields": True, **_without_rules(merged)}


def key_rules(longest: int, pattern: str | None = None) -> list[Schema]:
    """The rules for the keys of a map; the message names the first key that breaks them."""
    asked = [(f"name.size() <= {longest}", f"must have at most {longest} characters")]
    if pattern is not None:
        asked.append((f"name.matches({cel_text(pattern)})", f"must be {IN_WORDS[pattern]}"))
    return [
        {
            "rule": f"self.all(name, {holds})",
            "message": f"a name in here {text}",
            "messageExpression": f"self.filter(name, !({holds}))[0] + {cel_text(f' is not allowed: the name {text}')}",
        }
        for holds, text in asked
    ]


def cel_text(text: str) -> str:
    """The text as a literal of CEL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _any() -> Schema:
    return {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}


def _without_rules(part: Any) -> Any:
    """CEL cannot be asked below what has no type."""
    if isinstance(part, dict):
        return {key: _without_rules(value) for key, value in part.items() if key != "x-kubernetes-validations"}
    return part


def _described(found: Schema, part: Schema) -> Schema:
    text = part.get("description")
    if text:
        found = {"description": " ".join(text.split()), **{k: v for k, v in found.items() if k != "description"}}
    return found
