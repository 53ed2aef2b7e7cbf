"""What the spec of a Datalayer, and of compute anywhere, accepts and refuses; each case says why."""

from __future__ import annotations

from typing import Any

import pytest

from superduper.api.explain import checked
from superduper.api.v1alpha1 import DatalayerSpec, ModelSpec
from superduper.errors import ManifestError

CODE = {"module": "math", "callable": "sqrt"}
SQLITE = {"databackend": {"uri": "sqlite://x.db"}}
SERVERS = {"server": {"replicas": 2}}

ACCEPTED: list[tuple[str, type[Any], dict[str, Any]]] = [
    ("a URI is enough", DatalayerSpec, {"databackend": {"uri": "sqlite://x.db"}}),
    ("a URI with nothing behind the scheme is one", DatalayerSpec, {"databackend": {"uri": "sqlite://"}}),
    (
        "a Secret may hold the URI",
        DatalayerSpec,
        {"databackend": {"uriFrom": {"secretKeyRef": {"name": "db.main", "key": "uri"}}}},
    ),
    (
        "stores may be provisioned",
        DatalayerSpec,
        {
            "databackend": {"provision": {"engine": "postgres", "storage": "10Gi"}},
            "artifactStore": {"provision": {"engine": "s3"}, "hash": "sha256"},
        },
    ),
    (
        "DuckDB may be provisioned",
        DatalayerSpec,
        {"databackend": {"provision": {"engine": "duckdb"}}, "server": {"service": {"type": "NodePort"}}},
    ),
    (
        "several servers on stores that several may write",
        DatalayerSpec,
        {**SERVERS, "databackend": {"provision": {"engine": "postgres"}}, "artifactStore": {"uri": "s3://b"}},
    ),
    (
        "several servers on MongoDB, which holds files too",
        DatalayerSpec,
        {**SERVERS, "databackend": {"uri": "mongodb://h/d"}},
    ),
    ("workers of a Ray that is started", DatalayerSpec, {**SQLITE, "compute": {"engine": "ray", "workers": 2}}),
    ("a Ray that is there", DatalayerSpec, {**SQLITE, "compute": {"engine": "ray", "address": "ray:10001"}}),
    (
        "a pod of its own",
        DatalayerSpec,
        {**SQLITE, "compute": {"engine": "job", "resources": {"limits": {"cpu": 2}}}},
    ),
]

REFUSED: list[tuple[str, type[Any], dict[str, Any], str]] = [
    (
        "two connections",
        DatalayerSpec,
        {"databackend": {"uri": "sqlite://", "provision": {"engine": "sqlite"}}},
        "databackend: exactly one of uri, uriFrom and provision must be given",
    ),
    ("no connection", DatalayerSpec, {"databackend": {}}, "databackend: exactly one of uri, uriFrom"),
    ("no databackend", DatalayerSpec, {}, "databackend: required"),
    (
        "an engine that does not work yet",
        DatalayerSpec,
        {"databackend": {"provision": {"engine": "postgress"}}},
        "databackend.provision.engine: 'postgress' is not one of sqlite, postgres, duckdb; did you mean 'postgres'?",
    ),
    (
        "no URI, and its password is not shown",
        DatalayerSpec,
        {"databackend": {"uri": "//me:geheim@host"}},
        "databackend.uri: must be a URI with its scheme, as sqlite://data.db",
    ),
    (
        "snake_case in YAML",
        DatalayerSpec,
        {"databackend": {"uri": "sqlite://"}, "deletion_policy": "Delete"},
        "deletion_policy: unknown field; did you mean 'deletionPolicy'?",
    ),
    (
        "a field unlike any other",
        DatalayerSpec,
        {"databackend": {"uri": "sqlite://"}, "compute": {"gpu": 1}},
        "compute.gpu: unknown field; known here: engine, address, workers",
    ),
    (
        "a text where a truth value belongs",
        DatalayerSpec,
        {"databackend": {"uri": "sqlite://"}, "suspend": "yes"},
        "suspend: must be true or false, not 'yes'",
    ),
    (
        "several servers on SQLite",
        DatalayerSpec,
        {**SERVERS, **SQLITE, "artifactStore": {"uri": "s3://b"}},
        "server.replicas must be 1 where sqlite, duckdb or filesystem is used",
    ),
    (
        "several servers on one volume",
        DatalayerSpec,
        {
            **SERVERS,
            "databackend": {"uri": "postgresql://h/d"},
            "artifactStore": {"provision": {"engine": "filesystem"}},
        },
        "server.replicas must be 1",
    ),
    (
        "several servers where the file system is the default",
        DatalayerSpec,
        {**SERVERS, "databackend": {"uri": "postgresql://h/d"}},
        "or artifactStore is left out",
    ),
    (
        "several servers on one file of metadata",
        DatalayerSpec,
        {**SERVERS, "databackend": {"uri": "mongodb://h/d"}, "metadata": {"provision": {"engine": "sqlite"}}},
        "server.replicas must be 1",
    ),
    (
        "no quantity",
        DatalayerSpec,
        {**SQLITE, "server": {"resources": {"limits": {"memory": "2 GB"}}}},
        "server.resources.limits.memory: '2 GB' is not allowed: must be a quantity, as 500m or 10Gi",
    ),
    (
        "no image",
        ModelSpec,
        {"object": CODE, "compute": {"image": "Own image"}},
        "compute.image: 'Own image' is not allowed: must be the name of an image",
    ),
    (
        "metadata in DuckDB",
        DatalayerSpec,
        {**SQLITE, "metadata": {"uri": "duckdb:///m.duckdb"}},
        "metadata cannot be duckdb, which holds rows only",
    ),
    ("no server", DatalayerSpec, {**SQLITE, "server": {"replicas": 0}}, "server.replicas: must be greater than"),
    (
        "an address of nothing",
        DatalayerSpec,
        {**SQLITE, "compute": {"engine": "job", "address": "h:1"}},
        "compute: address goes with engine ray and engine dask only",
    ),
    (
        "workers of a Ray that is there",
        DatalayerSpec,
        {**SQLITE, "compute": {"engine": "ray", "address": "h:1", "workers": 1}},
        "compute: workers goes with engine ray or auto, and not with address",
    ),
    (
        "resources of no pod",
        ModelSpec,
        {"object": CODE, "compute": {"engine": "local", "image": "own:1"}},
        "compute: resources and image do not go with engine local",
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


@pytest.mark.parametrize(
    ("compute", "uri"),
    [
        ({}, None),
        ({"engine": "local"}, "local"),
        ({"engine": "job"}, "local"),
        ({"engine": "ray", "workers": 3}, "ray"),
        ({"engine": "ray", "address": "head:10001"}, "ray://head:10001"),
        ({"engine": "dask", "address": "scheduler:8786"}, "dask://scheduler:8786"),
    ],
)
def test_compute_has_the_name_that_python_gives_it(compute: dict[str, Any], uri: str | None) -> None:
    assert checked(DatalayerSpec, {**SQLITE, "compute": compute}).compute.uri == uri
