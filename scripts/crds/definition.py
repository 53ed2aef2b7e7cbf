"""One CustomResourceDefinition: its names, its columns, its schema with all rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from scripts.crds.admission import TWINS
from scripts.crds.afterwards import TRANSITIONS, Transition
from scripts.crds.structural import Converter, NotStructural, Schema, cel_text
from superduper.api.v1alpha1.common import IN_WORDS, NAME_PATTERN, Rule, Spec

GROUP, VERSION = "superduper.io", "v1alpha1"
SHORT_NAMES = {"Datalayer": "dl", "DataType": "dt", "Table": "tbl", "Model": "mdl"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; a wide one is shown with ``-o wide`` only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a CRD has it."""
        found: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return {**found, "priority": 1} if self.wide else found


def _condition(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


READY = (Column("Ready", _condition("status")), Column("Reason", _condition("reason")))
LAST = (Column("Message", _condition("message"), wide=True), Column("Age", ".metadata.creationTimestamp", "date"))
IN_DATALAYER = Column("Datalayer", ".spec.datalayerRef.name")
IDENTIFIER = Column("Identifier", ".spec.identifier", wide=True)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "Datalayer": (
        *READY,
        Column("Databackend", ".status.databackend"),
        Column("Endpoint", ".status.endpoint"),
        Column("Artifacts", ".status.artifactStore", wide=True),
        Column("Compute", ".status.compute", wide=True),
        Column("Version", ".status.serverVersion", wide=True),
        *LAST,
    ),
    "DataType": (
        IN_DATALAYER,
        *READY,
        Column("Codec", ".spec.codec"),
        Column("Encodable", ".spec.encodable"),
        IDENTIFIER,
        Column("Version", ".status.version", "integer", wide=True),
        *LAST,
    ),
    "Table": (
        IN_DATALAYER,
        *READY,
        Column("Rows", ".status.rows", "integer"),
        IDENTIFIER,
        Column("Version", ".status.version", "integer", wide=True),
        Column("Synced", ".status.syncedAt", "date", wide=True),
        *LAST,
    ),
    "Model": (
        IN_DATALAYER,
        *READY,
        Column("Coverage", ".status.coverage"),
        Column("Version", ".status.version", "integer"),
        Column("Job", ".status.job"),
        IDENTIFIER,
        Column("Failed", ".status.failed", "integer", wide=True),
        Column("Pending since", ".status.pendingSince", "date", wide=True),
        *LAST,
    ),
}


def definition(kind: type[Spec], models: Iterable[type[Spec]]) -> dict[str, Any]:
    """The CRD of a kind. ``models``: the kind and all that is in it. Raises NotStructural."""
    name = kind.__name__
    plural = f"{name.lower()}s"
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(kind, models)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_dict() for column in COLUMNS[name]],
    }
    if name != "Datalayer":
        version["selectableFields"] = [{"jsonPath": ".spec.datalayerRef.name"}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": plural,
                "singular": name.lower(),
                "shortNames": [SHORT_NAMES[name]],
                "categories": ["superduper"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def schema(kind: type[Spec], models: Iterable[type[Spec]]) -> Schema:
    """The structural schema of a kind. Raises NotStructural, also where a rule has no twin."""
    known = {model.__name__: model for model in models}
    _all_have_twins(rule for model in known.values() for rule in model.RULES)
    spec, status = (_part(kind, part, known) for part in ("spec", "status"))
    root: Schema = {
        "description": " ".join((kind.__doc__ or "").split()),
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63}}},
            "spec": {"description": "What is wanted.", **spec},
            "status": {"description": "What was observed; written by the operator.", **status},
        },
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": f"self.metadata.name.matches({cel_text(NAME_PATTERN)})",
                "message": f"metadata.name must be {IN_WORDS[NAME_PATTERN]}",
                "fieldPath": ".metadata.name",
            },
            *(_at_root(rule) for rule in kind.RULES if rule.cel is not None),
        ],
    }
    for transition in TRANSITIONS[kind.__name__]:
        _add(root, transition)
    return root


def _at_root(rule: Rule) -> dict[str, str]:
    """The field that the rule's text begins with is the one that is named as wrong: of the root there is no name."""
    assert rule.cel is not None
    return {"rule": rule.cel, "message": rule.text, "fieldPath": f".{rule.text.split()[0]}"}


def _part(kind: type[Spec], part: str, known: dict[str, type[Spec]]) -> Schema:
    annotation = kind.model_fields[part].annotation
    arms = getattr(annotation, "__args__", (annotation,))
    model = next(arm for arm in arms if isinstance(arm, type) and issubclass(arm, Spec))
    found = Converter(model, known, defaults=part == "spec").convert()
    return {key: value for key, value in found.items() if key != "description"}


def _all_have_twins(rules: Iterator[Rule]) -> None:
    without = sorted({rule.name for rule in rules if rule.cel is None and rule.name not in TWINS})
    if without:
        raise NotStructural(f"no CEL, neither in the rule nor in scripts/crds/admission.py: {', '.join(without)}")


def _add(root: Schema, transition: Transition) -> None:
    place = root
    for name in transition.path:
        place = place["properties"][name]
    rule = {"rule": transition.cel, "message": transition.text}
    if transition.at:
        rule["fieldPath"] = transition.at
    place.setdefault("x-kubernetes-validations", []).append(rule)
