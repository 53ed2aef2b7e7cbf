"""What CEL in a CRD cannot see, as a ValidatingAdmissionPolicy: there every value has the type that it happens to have.

Fields that are a list or a map, or a text or a map, have no type in a structural schema, and rules see nothing of them.
All of those are in Models.
"""

from __future__ import annotations

from typing import Any

from scripts.crds.structural import cel_text
from superduper.api.v1alpha1.common import ARGUMENT_PATTERN, IN_WORDS, Code

NAME = "models.superduper.io"

VARIABLES = {
    "inputs": " + ".join(
        f"(has(object.spec.{part}) && has(object.spec.{part}.inputs) ? [object.spec.{part}.inputs] : [])"
        for part in ("training", "predict", "validation")
    ),
    "metrics": "has(object.spec.validation) && has(object.spec.validation.metrics) ? object.spec.validation.metrics : []",
    "codes": "variables.metrics.filter(m, type(m) == map && has(m.object)).map(m, m.object)",
}

FORMS = (
    (
        "variables.inputs.all(i, type(i) == list ? i.all(field, type(field) == string) : type(i) == map)",
        "inputs must be a list of fields, or a map from argument (or position) to field",
    ),
    (
        (
            "variables.inputs.all(i, type(i) != map || i.all(name, name.size() <= 63 && "
            f"name.matches({cel_text(ARGUMENT_PATTERN)})))"
        ),
        f"a name in inputs must be {IN_WORDS[ARGUMENT_PATTERN]}",
    ),
    (
        "variables.metrics.all(m, type(m) == string || (type(m) == map && m.all(name, name in ['name', 'object'])))",
        "an entry of metrics must be the name of a metric, or a map with name and object",
    ),
)
"""Which forms a value without a type may have: expression and message."""

TWINS = {
    "positions_without_gap": (
        "variables.inputs.all(i, type(i) != map || i.filter(name, name.matches('^[0-9]+$')).all(name, "
        "int(name) < i.filter(other, other.matches('^[0-9]+$')).size()))"
    ),
    "metrics_differ": (
        "variables.metrics.map(m, type(m) == map ? m.name : m).all(name, "
        "variables.metrics.filter(m, (type(m) == map ? m.name : m) == name).size() == 1)"
    ),
    "validation_knows_its_inputs": (
        "!has(object.spec.validation) || has(object.spec.validation.inputs) || has(object.spec.predict) || "
        "has(object.spec.training)"
    ),
}
"""Of the rules that have no CEL of their own: the expression, by name."""


def _validations(texts: dict[str, str]) -> list[dict[str, str]]:
    found = [(expression, message) for expression, message in FORMS]
    found += [(expression, texts[name]) for name, expression in TWINS.items()]
    for rule in Code.RULES:
        assert rule.cel is not None
        found.append((f"variables.codes.all(code, {rule.cel.replace('self.', 'code.')})", rule.text))
    return [{"expression": expression, "message": message, "reason": "Invalid"} for expression, message in found]


def policy(texts: dict[str, str]) -> list[dict[str, Any]]:
    """The policy and its binding. ``texts``: the message of each rule in `TWINS`."""
    version = "admissionregistration.k8s.io/v1"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["superduper.io"],
                    "apiVersions": ["v1alpha1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["models"],
                }
            ]
        },
        # An object from before the policy can still be labelled and removed.
        "matchConditions": [
            {
                "name": "spec-is-new",
                "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
            }
        ],
        "variables": [{"name": name, "expression": expression} for name, expression in VARIABLES.items()],
        "validations": _validations(texts),
    }
    return [
        {"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": NAME}, "spec": spec},
        {
            "apiVersion": version,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": NAME},
            "spec": {"policyName": NAME, "validationActions": ["Deny"]},
        },
    ]
