"""Datalayers and Models whose desired objects are kept as golden files."""

from __future__ import annotations

from typing import Any

from superduper.api.explain import checked
from superduper.api.v1alpha1 import Datalayer, Model
from superduper_operator.stores.base import Defaults, Place

DEFAULTS = Defaults(
    runtime="example.org/runtime:1",
    runtime_ray="example.org/runtime-ray:1",
    postgres="docker.io/library/postgres:17",
    s3="docker.io/versity/versitygw:v1",
    ray_version="2.54.0",
    server_resources={"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
    store_resources={"requests": {"cpu": "100m", "memory": "128Mi"}},
    job_resources={"requests": {"cpu": "500m", "memory": "1Gi"}},
)


def place(name: str = "digits", *, retain: bool = True, defaults: Defaults = DEFAULTS) -> Place:
    return Place(
        datalayer=name, namespace="shop", uid="0000-1111", retain=retain, defaults=defaults,
        derive=lambda purpose: f"derived-{purpose}",
    )  # fmt: skip


def datalayer(name: str = "digits", **spec: Any) -> Datalayer:
    base = {
        "databackend": {"provision": {"engine": "sqlite"}},
        "artifactStore": {"provision": {"engine": "filesystem"}},
    }
    manifest = {
        "apiVersion": "superduper.io/v1alpha1", "kind": "Datalayer", "metadata": {"name": name, "uid": "0000-1111"},
        "spec": {**base, **spec},
    }  # fmt: skip
    return checked(Datalayer, manifest)


def model(name: str = "classifier", **spec: Any) -> Model:
    base = {
        "datalayerRef": {"name": "digits"},
        "object": {"callable": "run", "source": "def run(n):\n    return n\n"},
        "predict": {"table": "digits", "inputs": ["n"]},
    }
    manifest = {
        "apiVersion": "superduper.io/v1alpha1", "kind": "Model", "metadata": {"name": name, "uid": "2222-3333"},
        "spec": {**base, **spec},
    }  # fmt: skip
    return checked(Model, manifest)


POSTGRES = {"provision": {"engine": "postgres", "storage": "20Gi"}}
S3 = {"provision": {"engine": "s3", "storage": "100Gi"}}
SECRET = {"uriFrom": {"secretKeyRef": {"name": "warehouse-app", "key": "uri"}}}

CASES: dict[str, dict[str, Any]] = {
    "sqlite-filesystem": {},
    "duckdb": {
        "databackend": {"provision": {"engine": "duckdb", "storage": "5Gi"}},
        "artifactStore": {"provision": {"engine": "filesystem", "storage": "20Gi"}},
    },
    "postgres-s3": {"databackend": POSTGRES, "artifactStore": S3, "deletionPolicy": "Delete"},
    "postgres-twice": {
        "databackend": {
            "provision": {
                "engine": "postgres", "version": "16.4",
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "4Gi"}},
            }
        },
        "metadata": {"provision": {"engine": "postgres"}}, "artifactStore": S3,
    },
    "outside-by-secret": {
        "databackend": SECRET,
        "artifactStore": {"uri": "s3://bucket/prefix?region=eu-west-1", "credentialsFrom": {"secretRef": {"name": "aws"}}},
        "server": {
            "replicas": 3, "tls": {"secretRef": {"name": "digits-tls"}},
            "service": {"type": "LoadBalancer", "annotations": {"example.org/internal": "true"}},
            "resources": {"requests": {"cpu": "2"}},
            "podTemplate": {
                "metadata": {"annotations": {"example.org/scrape": "true"}},
                "spec": {
                    "nodeSelector": {"disk": "fast"}, "terminationGracePeriodSeconds": 120,
                    "containers": [{"name": "server", "env": [{"name": "SUPERDUPER_LOG_LEVEL", "value": "DEBUG"}]}],
                },
            },
        },
    },
    "outside-without-artifact-store": {"databackend": SECRET, "artifactStore": None},
}  # fmt: skip
