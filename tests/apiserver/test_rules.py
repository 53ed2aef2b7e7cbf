"""Every rule of the specs, as the API server keeps it: what passes, what is refused, and in which words."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from scripts import generate
from superduper.api.explain import checked
from superduper.api.v1alpha1 import KINDS, Rule
from superduper.errors import ManifestError
from tests.apiserver.client import Client, manifest, message

Spec = dict[str, Any]

REF = {"datalayerRef": {"name": "d"}}
CODE = {"module": "math", "callable": "sqrt"}
PREDICT = {"table": "t", "inputs": ["x"]}
SQLITE = {"databackend": {"uri": "sqlite://x.db"}}
POSTGRES = {"databackend": {"provision": {"engine": "postgres"}}}
S3 = {"artifactStore": {"uri": "s3://b"}}
TWO = {"server": {"replicas": 2}}
VALIDATION = {"table": "t", "target": "y", "inputs": ["x"], "metrics": ["f1"]}
SECRET = {"secretKeyRef": {"name": "db.main", "key": "uri"}}


class Case(NamedTuple):
    """Specs that differ in what the rule asks for. ``name``: of the object."""

    rule: str
    kind: str
    accepted: Spec
    refused: Spec
    name: str = "it"


def model(**spec: Any) -> Spec:
    return {**REF, "object": CODE, **spec}


def table(**spec: Any) -> Spec:
    return {**REF, **spec}


CASES = (
    Case(
        "exactly_one_of_uri_uri_from_provision",
        "Datalayer",
        {"databackend": {"uriFrom": SECRET}},
        {"databackend": {"uri": "sqlite://", "provision": {"engine": "sqlite"}}},
    ),
    Case(
        "exactly_one_of_uri_uri_from_provision",
        "Datalayer",
        {**SQLITE, "metadata": {"provision": {"engine": "sqlite"}}},
        {**SQLITE, "metadata": {}},
    ),
    Case(
        "exactly_one_of_uri_uri_from_provision",
        "Datalayer",
        {**SQLITE, "artifactStore": {"provision": {"engine": "s3"}}},
        {**SQLITE, "artifactStore": {"uri": "s3://b", "uriFrom": SECRET}},
    ),
    Case("single_writer", "Datalayer", {**POSTGRES, **S3, **TWO}, {**SQLITE, **S3, **TWO}),
    Case("single_writer", "Datalayer", {**SQLITE, "server": {"replicas": 1}}, {**SQLITE, **TWO}),
    Case("single_writer", "Datalayer", {**TWO, "databackend": {"uri": "mongodb://h/d"}}, {**POSTGRES, **TWO}),
    Case(
        "single_writer",
        "Datalayer",
        {**S3, **TWO, "databackend": {"uriFrom": SECRET}},
        {**TWO, "databackend": {"uriFrom": SECRET}},
    ),
    Case(
        "single_writer",
        "Datalayer",
        {**S3, **TWO, "databackend": {"uri": "postgresql+psycopg://h/d"}},
        {**S3, **TWO, "databackend": {"provision": {"engine": "duckdb"}}},
    ),
    Case(
        "single_writer",
        "Datalayer",
        {**POSTGRES, **TWO, "artifactStore": {"provision": {"engine": "s3"}}},
        {**POSTGRES, **TWO, "artifactStore": {"provision": {"engine": "filesystem"}}},
    ),
    Case(
        "single_writer",
        "Datalayer",
        {**POSTGRES, **S3, **TWO, "metadata": {"provision": {"engine": "postgres"}}},
        {**POSTGRES, **S3, **TWO, "metadata": {"uri": "sqlite+pysqlite:///m.db"}},
    ),
    Case(
        "metadata_is_no_duckdb",
        "Datalayer",
        {"databackend": {"provision": {"engine": "duckdb"}}, "metadata": {"provision": {"engine": "sqlite"}}},
        {"databackend": {"provision": {"engine": "duckdb"}}, "metadata": {"provision": {"engine": "duckdb"}}},
    ),
    Case(
        "metadata_is_no_duckdb",
        "Datalayer",
        {**SQLITE, "metadata": {"uri": "sqlite://m.db"}},
        {**SQLITE, "metadata": {"uri": "duckdb:///m.duckdb"}},
    ),
    Case(
        "address_needs_engine_ray_or_dask",
        "Datalayer",
        {**SQLITE, "compute": {"engine": "ray", "address": "h:10001"}},
        {**SQLITE, "compute": {"address": "h:10001"}},
    ),
    Case(
        "workers_need_a_cluster_that_is_started",
        "Model",
        model(compute={"workers": 2}),
        model(compute={"engine": "job", "workers": 2}),
    ),
    Case(
        "workers_need_a_cluster_that_is_started",
        "Model",
        model(compute={"engine": "ray", "workers": 0}),
        model(compute={"engine": "ray", "address": "h:1", "workers": 0}),
    ),
    Case(
        "local_has_no_pods",
        "Model",
        model(compute={"engine": "job", "image": "own:1"}),
        model(compute={"engine": "local", "image": "own:1"}),
    ),
    Case("datalayer_is_named", "DataType", {**REF, "codec": "json"}, {"codec": "json"}),
    Case("name_is_an_identifier", "Table", table(identifier="first"), table(), name="1st"),
    Case(
        "exactly_one_of_codec_or_coder", "DataType", {**REF, "encoder": CODE}, {**REF, "encoder": CODE, "codec": "json"}
    ),
    Case("exactly_one_of_codec_or_coder", "DataType", {**REF, "decoder": CODE}, REF),
    Case(
        "file_codec_with_file_encodable",
        "DataType",
        {**REF, "codec": "file"},
        {**REF, "codec": "file", "encodable": "native"},
    ),
    Case(
        "file_codec_with_file_encodable",
        "DataType",
        {**REF, "codec": "file", "encodable": "lazy_file"},
        {**REF, "encoder": CODE, "encodable": "lazy_file"},
    ),
    Case(
        "exactly_one_of_module_source_pickle",
        "Model",
        {**REF, "object": {"source": "def f(x): return x", "callable": "f"}},
        {**REF, "object": {"source": "def f(x): return x", "module": "m", "callable": "f"}},
    ),
    Case(
        "callable_named_unless_pickled",
        "Model",
        {**REF, "object": {"pickle": "0" * 40}},
        {**REF, "object": {"module": "m"}},
    ),
    Case(
        "callable_named_unless_pickled",
        "Model",
        model(validation={**VALIDATION, "metrics": [{"name": "own", "object": CODE}]}),
        model(validation={**VALIDATION, "metrics": [{"name": "own", "object": {"module": "m"}}]}),
    ),
    Case(
        "exactly_one_of_module_source_pickle",
        "Model",
        model(validation={**VALIDATION, "metrics": ["f1", {"name": "own", "object": {"pickle": "0" * 40}}]}),
        model(validation={**VALIDATION, "metrics": ["f1", {"name": "own", "object": {**CODE, "source": "x"}}]}),
    ),
    Case("exactly_one_of_type_or_data_type", "Table", table(fields={"x": {"type": "int"}}), table(fields={"x": {}})),
    Case(
        "exactly_one_of_type_or_data_type",
        "Model",
        model(predict={**PREDICT, "output": {"dataType": "png"}}),
        model(predict={**PREDICT, "output": {"dataType": "png", "type": "int"}}),
    ),
    Case(
        "no_reserved_field",
        "Table",
        table(fields={"_folder": {"type": "str"}}),
        table(fields={"_fold": {"type": "str"}}),
    ),
    Case(
        "primary_key_is_str_or_int",
        "Table",
        table(primaryKey="n", fields={"n": {"type": "int"}}),
        table(primaryKey="n", fields={"n": {"dataType": "n"}}),
    ),
    Case(
        "primary_key_is_str_or_int",
        "Table",
        table(fields={"n": {"type": "float"}}),
        table(fields={"id": {"type": "float"}}),
    ),
    Case("primary_key_not_reserved", "Table", table(primaryKey="key"), table(primaryKey="_id")),
    Case(
        "exactly_one_of_uri_or_rows",
        "Table",
        table(source={"rows": CODE}),
        table(source={"rows": CODE, "uri": "file://x", "format": "csv"}),
    ),
    Case(
        "format_with_uri",
        "Table",
        table(source={"uri": "file://x", "format": "csv"}),
        table(source={"uri": "file://x"}),
    ),
    Case(
        "at_least_one_of_object_artifact_training",
        "Model",
        {**REF, "training": {**PREDICT, "object": CODE}},
        REF,
    ),
    Case(
        "not_both_artifact_and_training",
        "Model",
        {**REF, "artifact": {"uri": "file://m"}},
        {**REF, "artifact": {"uri": "file://m"}, "training": {**PREDICT, "object": CODE}},
    ),
    Case(
        "positions_without_gap",
        "Model",
        model(predict={"table": "t", "inputs": {"1": "x", "0": "y", "name": "z"}}),
        model(predict={"table": "t", "inputs": {"0": "x", "2": "y", "name": "z"}}),
    ),
    Case(
        "positions_without_gap",
        "Model",
        model(validation={**VALIDATION, "inputs": {"name": "z"}}),
        model(validation={**VALIDATION, "inputs": {"1": "z"}}),
    ),
    Case(
        "metrics_differ",
        "Model",
        model(validation={**VALIDATION, "metrics": ["f1", "r2", {"name": "own", "object": CODE}]}),
        model(validation={**VALIDATION, "metrics": ["f1", "r2", {"name": "f1", "object": CODE}]}),
    ),
    Case(
        "validation_knows_its_inputs",
        "Model",
        model(predict=PREDICT, validation={"table": "t", "target": "y", "metrics": ["f1"]}),
        model(validation={"table": "t", "target": "y", "metrics": ["f1"]}),
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for model in generate.models(*KINDS.values()) for rule in model.RULES}


def test_every_rule_has_a_case() -> None:
    assert set(RULES) - {case.rule for case in CASES} == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.kind}")
def test_the_api_server_keeps_the_rule_in_the_words_of_the_runtime(checking: Client, case: Case) -> None:
    passed = checking.create(manifest(case.kind, case.accepted, case.name))
    assert passed.accepted, message(passed)
    refused = checking.create(manifest(case.kind, case.refused, case.name))
    assert refused.code == 422, message(refused)
    assert RULES[case.rule].text in refused.message
    # One fault is one message: no other rule takes it for its own.
    assert [name for name, rule in RULES.items() if rule.text in refused.message] == [case.rule]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.kind}")
def test_the_runtime_keeps_it_too(case: Case) -> None:
    checked(KINDS[case.kind], manifest(case.kind, case.accepted, case.name))
    with pytest.raises(ManifestError) as caught:
        checked(KINDS[case.kind], manifest(case.kind, case.refused, case.name))
    assert RULES[case.rule].text in str(caught.value)
