"""A tiny kind of operator: each Datalayer gets a Service and a Deployment, and annotations make it fail."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from superduper.api.v1alpha1 import Reason
from superduper.api.v1alpha1.conditions import conditions
from superduper_operator.core.context import Context
from superduper_operator.core.reconciler import Key, Result

Manifest = dict[str, Any]
FAIL = "test/fail"


def labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": "superduper-operator", "superduper.io/datalayer": name}


def service(namespace: str, name: str, port: int = 8000) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{name}-server", "namespace": namespace, "labels": labels(name)},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": "http"}]},
    }


def deployment(namespace: str, name: str, **container: Any) -> Manifest:
    one = {
        "name": "server",
        "image": "localhost/none:1",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        **container,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-server", "namespace": namespace, "labels": labels(name)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "enableServiceLinks": False,
                    "containers": [one],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1024Mi"}}],
                },
            },
        },
    }


def datalayer(namespace: str, name: str, fail: str = "") -> Manifest:
    return {
        "apiVersion": "superduper.io/v1alpha1",
        "kind": "Datalayer",
        "metadata": {"name": name, "namespace": namespace, "annotations": {FAIL: fail} if fail else {}},
        "spec": {"databackend": {"uri": "sqlite://x.db"}},
    }


class Mirror:
    """The reconciler. ``runs`` is what it was called with; ``reasonable`` ends what cannot be ended otherwise."""

    kind = "Datalayer"

    def __init__(self) -> None:
        self.runs: list[Key] = []
        self.kuberay: list[bool] = []
        self.reasonable = False

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        self.runs.append(key)
        self.kuberay.append(ctx.kuberay)
        obj = ctx.cache.get(key.kind, key.namespace, key.name)
        if obj is None:
            return Result()
        match (obj["metadata"].get("annotations") or {}).get(FAIL):
            case "raise":
                raise KeyError("no such thing")
            case "hang":
                await asyncio.sleep(3600)
            case "stubborn":
                end = time.monotonic() + 60
                while time.monotonic() < end and not self.reasonable:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.1)
            case "taken":
                await ctx.apply(service(key.namespace, "other"))
        await ctx.create_secret(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{key.name}-token", "namespace": key.namespace, "labels": labels(key.name)},
                "stringData": {"token": ctx.keys.token(key.namespace, key.name)},
            }
        )
        await ctx.apply(service(key.namespace, key.name))
        await ctx.apply(deployment(key.namespace, key.name))
        found = conditions("Ready", Reason.AVAILABLE, "it is there", generation=obj["metadata"]["generation"])
        await ctx.write_status(obj, {"conditions": [c.model_dump(mode="json", by_alias=True) for c in found]})
        return Result()


class ModelMirror:
    """Notes whether KubeRay was there when a Model was reconciled."""

    kind = "Model"

    def __init__(self) -> None:
        self.kuberay: list[bool] = []

    async def reconcile(self, key: Key, ctx: Context) -> Result:
        self.kuberay.append(ctx.kuberay)
        return Result()
