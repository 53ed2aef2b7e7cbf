"""What specs accept and refuse; each case says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from superduper.api.explain import checked
from superduper.api.v1alpha1 import (
    Code,
    Datalayer,
    DatasetSpec,
    DataType,
    DataTypeSpec,
    ListenerSpec,
    Model,
    ModelSpec,
    Reason,
    SchemaSpec,
    Table,
    TableSpec,
    conditions,
    parse_inputs,
)
from superduper.errors import ManifestError

CODE = {"module": "math", "callable": "sqrt"}
SHA1 = "866cf8526595d3620d6045172fb16d1efefac4b1"
PREDICT = {"table": "t", "inputs": ["x"]}

ACCEPTED: list[tuple[str, type[Any], dict[str, Any]]] = [
    ("a codec alone", DataTypeSpec, {"codec": "image", "info": {"format": "PNG"}}),
    ("an encoder without a decoder", DataTypeSpec, {"encoder": CODE}),
    ("a decoder without an encoder", DataTypeSpec, {"decoder": CODE, "encodable": "lazy_artifact"}),
    ("lazy files", DataTypeSpec, {"codec": "file", "encodable": "lazy_file"}),
    ("no fields: they are inferred", TableSpec, {}),
    ("unicode in the name of a field", TableSpec, {"fields": {"größe": {"type": "int"}}}),
    ("an int as primary key", TableSpec, {"primaryKey": "n", "fields": {"n": {"type": "int"}}}),
    ("files as source", TableSpec, {"source": {"uri": "file://./d", "format": "files", "every": "15m"}}),
    ("code as source", TableSpec, {"source": {"rows": CODE}}),
    ("pickled code", ModelSpec, {"object": {"pickle": SHA1}}),
    ("an empty list of args still calls", ModelSpec, {"object": {**CODE, "args": []}}),
    ("an object that works on the fitted model", ModelSpec, {"object": CODE, "training": {"object": CODE, **PREDICT}}),
    ("outputs of another model as table", ModelSpec, {"object": CODE, "predict": {**PREDICT, "table": "_outputs__m"}}),
    ("positions and arguments as inputs", ModelSpec, {"object": CODE, "predict": {**PREDICT, "inputs": {"0": "x"}}}),
    (
        "metrics by name and of one's own",
        ModelSpec,
        {
            "object": CODE,
            "predict": PREDICT,
            "validation": {"table": "t", "target": "y", "metrics": ["f1", {"name": "own", "object": CODE}]},
        },
    ),
    ("a schema of its own", SchemaSpec, {"identifier": "s", "fields": {"x": {"type": "json"}}}),
    ("a listener", ListenerSpec, {"identifier": "l", "model": "m", "predict": PREDICT}),
    ("a snapshot", DatasetSpec, {"identifier": "d", "table": "t", "snapshot": SHA1}),
]

REFUSED: list[tuple[str, type[Any], dict[str, Any], str]] = [
    ("codec and encoder", DataTypeSpec, {"codec": "json", "encoder": CODE}, "either codec or encoder and/or decoder"),
    ("neither codec nor coder", DataTypeSpec, {}, "either codec or encoder and/or decoder"),
    (
        "an image kept as a file",
        DataTypeSpec,
        {"codec": "image", "encodable": "file"},
        "encodable file and lazy_file go with codec file",
    ),
    ("a file kept in the row", DataTypeSpec, {"codec": "file", "encodable": "native"}, "codec file with these only"),
    ("a negative shape", DataTypeSpec, {"codec": "numpy", "shape": [-1]}, "shape[0]: must be greater than"),
    (
        "a digit first",
        DataTypeSpec,
        {"codec": "json", "identifier": "1st"},
        "identifier: '1st' is not allowed: must be letters, digits, _ and -, starting with a letter or _",
    ),
    (
        "a long identifier",
        DataTypeSpec,
        {"codec": "json", "identifier": "x" * 64},
        "identifier: is longer than 63 characters",
    ),
    (
        "a newline after an identifier",
        DataTypeSpec,
        {"codec": "json", "identifier": "x\n"},
        "identifier: 'x\\n' is not",
    ),
    ("a reserved field", TableSpec, {"fields": {"_fold": {"type": "str"}}}, "no field may be named _fold, _schema"),
    (
        "a dot in a field",
        TableSpec,
        {"fields": {"a.b": {"type": "str"}}},
        "fields.a.b: 'a.b' is not allowed: must be without '.'",
    ),
    ("an operator as field", TableSpec, {"fields": {"$set": {"type": "str"}}}, "fields.$set: '$set' is not allowed"),
    (
        "type and dataType",
        TableSpec,
        {"fields": {"x": {"type": "str", "dataType": "image"}}},
        "fields.x: exactly one of type and dataType must be given",
    ),
    (
        "a field named as a key of its type",
        TableSpec,
        {"fields": {"type": {"typ": "str"}}},
        "fields.type.typ: unknown field; did you mean 'type'?",
    ),
    (
        "a float as primary key",
        TableSpec,
        {"fields": {"id": {"type": "float"}}},
        "the primary key's field must have type str or int",
    ),
    ("a reserved primary key", TableSpec, {"primaryKey": "_fold"}, "primaryKey must not be _fold"),
    (
        "two sources",
        TableSpec,
        {"source": {"uri": "file://x", "format": "csv", "rows": CODE}},
        "source: exactly one of uri and rows must be given",
    ),
    ("a URI without format", TableSpec, {"source": {"uri": "file://x"}}, "source: format is required with uri"),
    (
        "a duration without unit",
        TableSpec,
        {"source": {"rows": CODE, "every": "15"}},
        "source.every: '15' is not allowed: must be a number and one of s, m, h and d, as 15m",
    ),
    ("no way to predict", ModelSpec, {}, "at least one of object, artifact and training must be given"),
    (
        "two fitted models",
        ModelSpec,
        {"artifact": {"uri": "file://m"}, "training": {"object": CODE, **PREDICT}},
        "artifact and training cannot be given together",
    ),
    ("two places of code", ModelSpec, {"object": {**CODE, "source": "x"}}, "object: exactly one of module, source"),
    ("code without name", ModelSpec, {"object": {"module": "math"}}, "object: callable is required with module"),
    ("a pickle with name", ModelSpec, {"object": {"pickle": SHA1, "callable": "f"}}, "not allowed with pickle"),
    (
        "a forged id",
        ModelSpec,
        {"object": {"pickle": "../x"}},
        "object.pickle: '../x' is not allowed: must be 40 or 64",
    ),
    ("code in a module's name", ModelSpec, {"object": {"module": "os; x", "callable": "f"}}, "must be a Python name"),
    ("no inputs", ModelSpec, {"object": CODE, "predict": {"table": "t", "inputs": []}}, "inputs: needs at least 1"),
    (
        "a gap in positions",
        ModelSpec,
        {"object": CODE, "predict": {"table": "t", "inputs": {"0": "x", "2": "y"}}},
        "predict: positions in inputs must run from 0 without a gap",
    ),
    (
        "one text as inputs",
        ModelSpec,
        {"object": CODE, "predict": {"table": "t", "inputs": "x"}},
        "predict.inputs: must be a list, not 'x'",
    ),
    (
        "a trigger that does not work yet",
        ModelSpec,
        {"object": CODE, "predict": {**PREDICT, "trigger": "Schedule"}},
        "predict.trigger: 'Schedule' is not one of OnChange, Manual",
    ),
    (
        "a batch of a text",
        ModelSpec,
        {"object": CODE, "predict": {**PREDICT, "batchSize": "32"}},
        "predict.batchSize: '32' is not one of auto",
    ),
    (
        "a batch of none",
        ModelSpec,
        {"object": CODE, "predict": {**PREDICT, "batchSize": 0}},
        "batchSize: must be greater",
    ),
    (
        "validation without inputs",
        ModelSpec,
        {"object": CODE, "validation": {"table": "t", "target": "y", "metrics": ["f1"]}},
        "validation.inputs is required where there is neither predict nor training",
    ),
    (
        "a metric twice",
        ModelSpec,
        {"object": CODE, "predict": PREDICT, "validation": {"table": "t", "target": "y", "metrics": ["f1", "f1"]}},
        "validation: each metric must have its own name",
    ),
]


@pytest.mark.parametrize(("model", "data"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_accepts(model: type[Any], data: dict[str, Any]) -> None:
    spec = checked(model, data)
    assert checked(model, spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("model", "data", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refuses(model: type[Any], data: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        checked(model, data)
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_every_problem_of_a_spec_is_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        checked(DataTypeSpec, {"codec": "imag", "shape": "x"}, where="dt.yaml")
    assert str(caught.value).splitlines() == [
        "dt.yaml: codec: 'imag' is not one of pickle, json, text, bytes, numpy, image, file; did you mean 'image'?",
        "dt.yaml: shape: must be a list, not 'x'",
    ]


def test_python_names_attributes_in_snake_case_and_yaml_in_camel_case() -> None:
    spec = DataTypeSpec(identifier="x", codec="json", media_type="application/json", bytes_encoding="Str")
    assert spec.to_dict() == {
        "identifier": "x",
        "codec": "json",
        "mediaType": "application/json",
        "bytesEncoding": "Str",
    }


def test_specs_cannot_be_changed() -> None:
    spec = DataTypeSpec(codec="json")
    with pytest.raises(ValidationError):
        spec.codec = "text"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("codec", "stored"),
    [("pickle", "artifact"), ("numpy", "artifact"), ("json", "native"), ("text", "native"), ("file", "file")],
)
def test_a_codec_says_where_data_is_kept_unless_encodable_does(codec: Any, stored: str) -> None:
    assert DataTypeSpec(codec=codec).stored_as == stored


def test_inputs_have_one_form_whichever_way_they_are_written() -> None:
    assert parse_inputs(("x", "y")) == (("x", "y"), {})
    assert parse_inputs({"img": "x"}) == ((), {"img": "x"})
    mixed = parse_inputs({"y": "b", "1": "x", "0": "a"})
    assert mixed == (("a", "x"), {"y": "b"})
    assert parse_inputs(mixed.to_spec()) == mixed
    assert parse_inputs(("x", "x")).fields == ("x",)


def test_the_identifier_is_the_name_unless_it_is_said() -> None:
    meta = {"name": "my-type"}
    ref = {"name": "d"}
    plain = DataType.model_validate({"metadata": meta, "spec": {"datalayerRef": ref, "codec": "json"}})
    named = DataType.model_validate(
        {"metadata": meta, "spec": {"datalayerRef": ref, "codec": "json", "identifier": "my_type"}}
    )
    assert (plain.identifier, named.identifier) == ("my-type", "my_type")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"metadata": {"name": "t"}, "spec": {}}, "spec.datalayerRef is required"),
        ({"metadata": {"name": "1t"}, "spec": {"datalayerRef": {"name": "d"}}}, "spec.identifier is required"),
        ({"metadata": {"name": "My_T"}, "spec": {}}, "metadata.name: 'My_T' is not allowed"),
        ({"metadata": {"nam": "t"}, "spec": {}}, "metadata.name: required\nmetadata.nam: unknown field"),
    ],
)
def test_objects_are_named_and_belong_to_a_datalayer(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        checked(Table, data)
    assert message in str(caught.value)


def test_a_model_tells_the_tables_that_it_reads() -> None:
    spec = ModelSpec.model_validate(
        {"training": {"object": CODE, **PREDICT}, "predict": {**PREDICT, "table": "_outputs__m"}}
    )
    assert spec.tables == ("t", "_outputs__m")


def test_args_or_kwargs_mean_that_the_callable_is_called() -> None:
    assert not Code(module="m", callable="f").is_called
    assert Code(module="m", callable="f", args=()).is_called
    assert Code(module="m", callable="f", kwargs={}).is_called


def test_objects_begin_with_version_and_kind() -> None:
    meta, spec = {"name": "d"}, {"databackend": {"uri": "sqlite://"}}
    assert list(Datalayer.model_validate({"metadata": meta, "spec": spec}).to_dict()) == [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ]
    with pytest.raises(ValidationError):
        Model.model_validate({"kind": "Table", "metadata": meta, "spec": spec})


def test_conditions_keep_their_time_while_their_status_stays() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    later = start + timedelta(minutes=1)
    first = conditions("Reconciling", Reason.PREDICTING, "1 of 2", generation=1, now=start)
    assert [(c.type, c.status) for c in first] == [("Ready", "False"), ("Reconciling", "True")]
    second = conditions("Stalled", Reason.CODE_FAILED, "boom", generation=1, previous=first, now=later)
    assert [(c.type, c.status, c.last_transition_time) for c in second] == [
        ("Ready", "False", start),
        ("Stalled", "True", later),
    ]
    third = conditions("Ready", Reason.AVAILABLE, generation=2, previous=second, now=later)
    assert [(c.type, c.status, c.last_transition_time) for c in third] == [("Ready", "True", later)]
