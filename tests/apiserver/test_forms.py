"""What the API server makes of fields: unknown ones, values of a wrong form, defaults, columns, selectors, status."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from superduper.api.v1alpha1 import (
    KINDS,
    Datalayer,
    DatalayerStatus,
    DataTypeStatus,
    Model,
    ModelStatus,
    Reason,
    TableStatus,
    conditions,
)
from tests.apiserver.client import Client, manifest, message

ROOT = Path(__file__).resolve().parents[2]
REF = {"datalayerRef": {"name": "d"}}
CODE = {"module": "math", "callable": "sqrt"}
SQLITE = {"databackend": {"uri": "sqlite://x.db"}}
SPECS: dict[str, dict[str, Any]] = {
    "Datalayer": SQLITE,
    "DataType": {**REF, "codec": "json"},
    "Table": REF,
    "Model": {**REF, "object": CODE},
}


def predict(**changes: Any) -> dict[str, Any]:
    return {**REF, "object": CODE, "predict": {"table": "t", "inputs": ["x"], **changes}}


def validation(*metrics: Any) -> dict[str, Any]:
    return {
        **REF,
        "object": CODE,
        "validation": {"table": "t", "target": "y", "inputs": ["x"], "metrics": list(metrics)},
    }


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("an unknown field", "Datalayer", {**SQLITE, "deletion_policy": "Delete"}, 'unknown field "spec.deletion_policy"'),
    (
        "an unknown field deep inside",
        "Table",
        {**REF, "fields": {"x": {"typ": "str"}}},
        'unknown field "spec.fields.x.typ"',
    ),
    (
        "a bad enum",
        "DataType",
        {**REF, "codec": "imag"},
        'Unsupported value: "imag": supported values: "pickle", "json"',
    ),
    ("a text where a truth value belongs", "Model", {**SPECS["Model"], "suspend": "yes"}, "spec.suspend"),
    ("no databackend", "Datalayer", {}, "spec.databackend: Required value"),
    ("no URI", "Datalayer", {"databackend": {"uri": "x"}}, "spec.databackend.uri in body should match"),
    ("too many servers", "Datalayer", {**SQLITE, "server": {"replicas": 17}}, "less than or equal to 16"),
    ("a long reference", "Table", {"datalayerRef": {"name": "d" * 64}}, "spec.datalayerRef.name: Too long"),
    ("a long identifier", "Table", {**REF, "identifier": "x" * 64}, "spec.identifier: Too long"),
    (
        "a dot in a field",
        "Table",
        {**REF, "fields": {"a.b": {"type": "str"}}},
        "a.b is not allowed: the name must be without",
    ),
    (
        "a long field",
        "Table",
        {**REF, "fields": {"x" * 64: {"type": "str"}}},
        "the name must have at most 63 characters",
    ),
    ("one text as inputs", "Model", predict(inputs="x"), "inputs must be a list of fields, or a map from argument"),
    ("a number as inputs", "Model", predict(inputs=1), "inputs must be a list of fields, or a map from argument"),
    ("no inputs", "Model", predict(inputs=[]), "should have at least 1 items"),
    ("a number among inputs", "Model", predict(inputs=["x", 1]), "spec.predict.inputs[1]"),
    (
        "no name of an argument",
        "Model",
        predict(inputs={"a b": "x"}),
        "must be the name of an argument, or its position",
    ),
    ("an operator as input", "Model", predict(inputs={"a": "$x"}), "spec.predict.inputs.a"),
    ("a batch of a text", "Model", predict(batchSize="32"), "should match '^(auto)$'"),
    ("a batch of none", "Model", predict(batchSize=0), "greater than or equal to 1"),
    (
        "no quantity",
        "Datalayer",
        {**SQLITE, "server": {"resources": {"limits": {"cpu": "2 GB"}}}},
        "limits.cpu in body",
    ),
    ("a number as metric", "Model", validation(5), "must be the name of a metric, or a map with name and object"),
    ("an unknown field of a metric", "Model", validation({"name": "m", "object": CODE, "x": 1}), "a map with name and"),
    ("a metric without code", "Model", validation({"name": "m"}), "spec.validation.metrics[0].object: Required value"),
]

ACCEPTED: list[tuple[str, str, dict[str, Any]]] = [
    ("null in a filter: it finds what is missing", "Model", predict(filter={"label": None, "n": {"$gt": 1.5}})),
    ("any value in args", "Model", {**REF, "object": {**CODE, "args": [None, 1, "x", [1, {"a": None}]]}}),
    ("a number of rows per batch", "Model", predict(batchSize=32)),
    ("fields by argument", "Model", predict(inputs={"0": "x", "size": "y"})),
    (
        "a quantity without quotes",
        "Datalayer",
        {**SQLITE, "server": {"resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}},
    ),
    ("unicode in the name of a field", "Table", {**REF, "fields": {"größe": {"type": "int"}}}),
    ("many fields", "Table", {**REF, "fields": {f"field-{number:02}" * 7: {"type": "str"} for number in range(256)}}),
    ("long code", "Model", {**REF, "object": {"source": "x = 1\n" * 80_000, "callable": "x"}}),
    (
        "any pod template",
        "Datalayer",
        {
            **SQLITE,
            "server": {"podTemplate": {"spec": {"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "a"}]}}},
        },
    ),
]


@pytest.mark.parametrize(("kind", "spec", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses(checking: Client, kind: str, spec: dict[str, Any], text: str) -> None:
    answer = checking.create(manifest(kind, spec))
    assert answer.code in (400, 422), message(answer)
    assert text in answer.message


@pytest.mark.parametrize(("kind", "spec"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_keeps_what_it_accepts(checking: Client, kind: str, spec: dict[str, Any]) -> None:
    answer = checking.create(manifest(kind, spec))
    assert answer.accepted, message(answer)
    assert _within(spec, answer.object["spec"])


@pytest.mark.parametrize("name", ["My-Table", "a.b", "-a", "x" * 64])
def test_a_name_that_makes_no_label_is_refused(checking: Client, name: str) -> None:
    answer = checking.create(manifest("Table", {**REF, "identifier": "t"}, name))
    assert answer.code == 422
    assert "metadata.name" in answer.message


def test_defaults_stand_where_users_see_them_and_are_those_of_the_runtime(checking: Client) -> None:
    seen = checking.create(manifest("Datalayer", SQLITE)).object
    assert seen["spec"] == {
        **SQLITE,
        "compute": {"engine": "auto"},
        "server": {"replicas": 1, "service": {"type": "ClusterIP"}},
        "deletionPolicy": "Retain",
        "suspend": False,
    }
    assert Datalayer.model_validate({"metadata": {"name": "it"}, "spec": seen["spec"]}).to_dict()["spec"] == SQLITE
    model = checking.create(manifest("Model", predict())).object
    filled = {"trigger": "OnChange", "batchSize": "auto", "batched": False}
    assert model["spec"] == {**predict(**filled), "suspend": False, "deletionPolicy": "Retain"}
    assert Model.model_validate({"metadata": {"name": "it"}, "spec": model["spec"]}).to_dict()["spec"] == predict()


NOW = datetime(2024, 5, 1, tzinfo=UTC)
DONE = conditions("Ready", Reason.PARTIAL, "5 of 7 rows predicted", generation=1, now=NOW)
BUSY = conditions("Reconciling", Reason.SECRET_MISSING, "no Secret 'db'", generation=1, now=NOW)
STATUSES = {
    "Datalayer": DatalayerStatus(
        observed_generation=1,
        conditions=BUSY,
        databackend="postgresql://d-postgres:5432/d",
        artifact_store="s3://d",
        compute="rayjob",
        endpoint="http://d-server.n.svc:8000",
        token_secret="d-token",
        server_version="0.1.0",
    ),
    "DataType": DataTypeStatus(observed_generation=1, conditions=DONE, version=0),
    "Table": TableStatus(observed_generation=1, conditions=DONE, version=2, rows=1797, synced_at=NOW),
    "Model": ModelStatus(
        observed_generation=1,
        conditions=DONE,
        version=3,
        artifact="0" * 40,
        rows=7,
        predicted=5,
        failed=1,
        pending=1,
        pending_since=NOW,
        coverage="5/7",
        job="it-0123abcd",
        metrics={"accuracy": 0.98},
    ),
}
COLUMNS = {
    "Datalayer": (
        "NAME READY REASON DATABACKEND ENDPOINT AGE",
        "it False SecretMissing postgresql://d-postgres:5432/d",
    ),
    "DataType": ("NAME DATALAYER READY REASON CODEC ENCODABLE AGE", "it d True Partial json"),
    "Table": ("NAME DATALAYER READY REASON ROWS AGE", "it d True Partial 1797"),
    "Model": ("NAME DATALAYER READY REASON COVERAGE VERSION JOB AGE", "it d True Partial 5/7 3 it-0123abcd"),
}
WIDE = {
    "Datalayer": ("ARTIFACTS COMPUTE VERSION MESSAGE", "s3://d rayjob 0.1.0 no Secret 'db'"),
    "DataType": ("IDENTIFIER VERSION MESSAGE", "0 5 of 7 rows predicted"),
    "Table": ("IDENTIFIER VERSION SYNCED MESSAGE", "5 of 7 rows predicted"),
    "Model": ("IDENTIFIER FAILED PENDING SINCE MESSAGE", "5 of 7 rows predicted"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_status_is_kept_and_shown_in_columns(client: Client, kind: str) -> None:
    made = client.create(manifest(kind, SPECS[kind]), dry=False)
    assert made.accepted, message(made)
    status = STATUSES[kind].to_dict()
    answer = client.replace({**made.object, "status": status}, part="status", dry=False)
    assert answer.accepted, message(answer)
    assert answer.object["status"] == status
    for wide, (heads, cells) in ((False, COLUMNS[kind]), (True, WIDE[kind])):
        shown = client.server.kubectl("get", kind, "-n", client.namespace, *(["-o", "wide"] if wide else []))
        head, row = (" ".join(line.split()) for line in shown.splitlines())
        assert heads in head
        assert cells in row


def test_the_status_is_not_for_those_who_write_specs(client: Client) -> None:
    given = {**manifest("Table", REF), "status": STATUSES["Table"].to_dict()}
    made = client.create(given, dry=False)
    assert "status" not in made.object
    changed = client.replace({**made.object, "spec": {**REF, "identifier": "other"}, "status": {}}, part="status")
    assert changed.object["spec"] == made.object["spec"]
    assert changed.object["metadata"]["generation"] == 1


def test_conditions_are_told_apart_by_their_type(client: Client) -> None:
    client.create(manifest("Table", REF), dry=False)
    for manager, kind in (("one", "Ready"), ("two", "Stalled")):
        condition = {
            "type": kind,
            "status": "True",
            "reason": "Available",
            "lastTransitionTime": "2024-05-01T00:00:00Z",
        }
        applied = {**manifest("Table", REF), "status": {"conditions": [condition]}}
        client.server.kubectl(
            *("apply", "-n", client.namespace, "--server-side", "--subresource=status", f"--field-manager={manager}"),
            *("-f", "-"),
            given=yaml.safe_dump(applied),
        )
    shown = client.server.kubectl("get", "tbl/it", "-n", client.namespace, "-o", "yaml")
    assert [found["type"] for found in yaml.safe_load(shown)["status"]["conditions"]] == ["Ready", "Stalled"]


def test_objects_are_selected_by_their_datalayer(client: Client) -> None:
    for kind in ("DataType", "Table", "Model"):
        for name, datalayer in (("a", "d"), ("b", "other")):
            spec = {**SPECS[kind], "datalayerRef": {"name": datalayer}}
            assert client.create(manifest(kind, spec, name), dry=False).accepted
        assert [found["metadata"]["name"] for found in client.list(kind, "spec.datalayerRef.name=other")] == ["b"]


def test_short_names_and_one_word_for_all_kinds(client: Client) -> None:
    for kind, spec in SPECS.items():
        assert client.create(manifest(kind, spec), dry=False).accepted
    shown = client.server.kubectl("get", "superduper", "-n", client.namespace, "-o", "name").split()
    assert shown == [f"{kind.lower()}.superduper.io/it" for kind in sorted(KINDS, key=str.lower)]
    for short, kind in (("dl", "datalayer"), ("dt", "datatype"), ("tbl", "table"), ("mdl", "model")):
        assert client.server.kubectl("get", short, "-n", client.namespace, "-o", "name") == f"{kind}.superduper.io/it\n"


def test_every_field_is_explained(client: Client) -> None:
    assert "Fields that the callable is given" in client.server.kubectl("explain", "model.spec.predict.inputs")
    assert "Number of pods" in client.server.kubectl("explain", "datalayer.spec.server.replicas")


OURS = sorted(
    path for path in (ROOT / "examples").rglob("*.yaml") if "superduper.io/v1alpha1" in path.read_text("utf-8")
)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_is_accepted(checking: Client, path: Path) -> None:
    for found in yaml.safe_load_all(path.read_text("utf-8")):
        if found is not None and found["apiVersion"] == "superduper.io/v1alpha1":
            # In the namespace that is asked, whatever the example says.
            found["metadata"].pop("namespace", None)
            answer = checking.create(found)
            assert answer.accepted, message(answer)


def _within(given: Any, kept: Any) -> bool:
    """Whether all that was given is there, whatever was filled in beside it."""
    if isinstance(given, dict):
        return isinstance(kept, dict) and all(key in kept and _within(value, kept[key]) for key, value in given.items())
    return bool(given == kept)
