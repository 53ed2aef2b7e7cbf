"""What of an object cannot be changed afterwards, and what can."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from scripts.crds.afterwards import TRANSITIONS
from tests.apiserver.client import Client, manifest, message

Spec = dict[str, Any]

REF = {"datalayerRef": {"name": "d"}}
POSTGRES = {"provision": {"engine": "postgres", "storage": "1Gi"}}
SQLITE = {"databackend": {"uri": "sqlite://x.db"}}
SECRET = {"uriFrom": {"secretKeyRef": {"name": "db", "key": "uri"}}}


class Case(NamedTuple):
    """``refused`` breaks the rule against ``before``, ``accepted`` does not. ``at``: the field that is named."""

    rule: str
    kind: str
    before: Spec
    accepted: Spec
    refused: Spec
    at: str


def store(field: str, value: Spec) -> Spec:
    return {**SQLITE, field: value}


def of_stores() -> list[Case]:
    found = []
    for name, field, engine, other in (
        ("databackend", "databackend", "postgres", "sqlite"),
        ("metadata", "metadata", "postgres", "sqlite"),
        ("artifact_store", "artifactStore", "s3", "filesystem"),
    ):
        before = store(field, {"provision": {"engine": engine, "storage": "1Gi"}})
        larger = store(field, {"provision": {"engine": engine, "storage": "1500Mi"}})
        found += [
            Case(
                f"{name}_stays_provisioned",
                "Datalayer",
                store(field, {"uri": "s3://b" if engine == "s3" else "postgresql://h/d"}),
                store(field, SECRET),
                before,
                f"spec.{field}",
            ),
            Case(
                f"{name}_engine_stays",
                "Datalayer",
                before,
                larger,
                store(field, {"provision": {"engine": other, "storage": "1Gi"}}),
                f"spec.{field}.provision.engine",
            ),
            Case(
                f"{name}_storage_grows",
                "Datalayer",
                before,
                larger,
                store(field, {"provision": {"engine": engine, "storage": "900Mi"}}),
                f"spec.{field}.provision.storage",
            ),
        ]
    return found


CASES = (
    *of_stores(),
    Case(
        "metadata_stays_given",
        "Datalayer",
        SQLITE,
        {**SQLITE, "deletionPolicy": "Delete"},
        {**SQLITE, "metadata": POSTGRES},
        "spec.metadata",
    ),
    Case(
        "artifact_store_stays_given",
        "Datalayer",
        store("artifactStore", {"uri": "s3://b"}),
        store("artifactStore", {"uri": "s3://b", "hash": "sha256"}),
        SQLITE,
        "spec.artifactStore",
    ),
    *(
        Case(
            "datalayer_stays",
            kind,
            {**REF, **spec},
            {**REF, **spec, **other},
            {**spec, "datalayerRef": {"name": "e"}},
            "spec.datalayerRef",
        )
        for kind, spec, other in (
            ("DataType", {"codec": "json"}, {"mediaType": "application/json"}),
            ("Table", {}, {"fields": {"x": {"type": "int"}}}),
            ("Model", {"object": {"module": "m", "callable": "f"}}, {"suspend": True}),
        )
    ),
    Case(
        "identifier_stays",
        "Table",
        REF,
        {**REF, "identifier": "it"},
        {**REF, "identifier": "other"},
        "spec.identifier",
    ),
    Case(
        "identifier_stays",
        "DataType",
        {**REF, "codec": "json", "identifier": "a_b"},
        {**REF, "codec": "text", "identifier": "a_b"},
        {**REF, "codec": "json"},
        "spec.identifier",
    ),
    Case(
        "primary_key_stays",
        "Table",
        {**REF, "primaryKey": "key"},
        {**REF, "primaryKey": "key", "fields": {"key": {"type": "int"}}},
        REF,
        "spec.primaryKey",
    ),
)

TEXTS = {transition.name: transition.text for found in TRANSITIONS.values() for transition in found}


def test_every_such_rule_has_a_case() -> None:
    assert set(TEXTS) - {case.rule for case in CASES} == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.kind}")
def test_what_was_stored_is_not_lost_sight_of_by_a_change(client: Client, case: Case) -> None:
    made = client.create(manifest(case.kind, case.before), dry=False)
    assert made.accepted, message(made)
    metadata = {"name": "it", "resourceVersion": made.object["metadata"]["resourceVersion"]}
    passed = client.replace({**manifest(case.kind, case.accepted), "metadata": metadata})
    assert passed.accepted, message(passed)
    refused = client.replace({**manifest(case.kind, case.refused), "metadata": metadata})
    assert refused.code == 422, message(refused)
    assert f"{case.at}: Invalid value" in refused.message
    assert TEXTS[case.rule] in refused.message
