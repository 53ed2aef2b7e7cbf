"""What a Datalayer becomes in a cluster. Pure: spec and surroundings to objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from superduper.api.v1alpha1 import Datalayer
from superduper_operator import labels
from superduper_operator.environment import to_env, to_env_from
from superduper_operator.kinds.datalayer.merge import merged
from superduper_operator.podspec import (
    INSIDE,
    PLAIN,
    Manifest,
    container,
    empty_dir,
    http_probe,
    resources,
)
from superduper_operator.quantity import parse, total
from superduper_operator.stores import base
from superduper_operator.stores.base import DATA, Place
from superduper_operator.stores.connections import HOME, Connections, resolve

SERVER, JOB = "server", "job"
KUBERAY = (
    {labels.NAME: "kuberay-operator"},
    {labels.NAME: "kuberay", labels.COMPONENT: "kuberay-operator"},
)
"""Labels of KubeRay's operator: by its chart, and by its kustomization, whose name every Ray cluster's pods carry too."""
DASHBOARD = 8265
"""Port at which KubeRay asks Ray's head how a job is, and hands it in."""
GRACE_SECONDS = 60
"""A server finishes what it has begun, or refuses it, within this time."""


@dataclass(frozen=True, slots=True)
class Desired:
    """All that a Datalayer needs."""

    connections: Connections
    secrets: tuple[Manifest, ...]
    """Made once; never read, never changed."""
    objects: tuple[Manifest, ...]
    """Applied, in this order, and kept as they are."""
    claims: tuple[str, ...]
    """Volume claims that hold data."""


def desired(
    datalayer: Datalayer,
    place: Place,
    *,
    operator_namespace: str,
    annotations: Mapping[str, str] | None = None,
    sources: Sequence[str] = (),
) -> Desired:
    """``annotations`` are laid on the server's pods; a changed one starts them anew. ``sources``: Secrets with the
    credentials of tables' sources, which the server reads.
    """
    connections = resolve(datalayer, place)
    name = place.name(SERVER)
    template = _template(datalayer, place, connections, annotations or {}, sources)
    objects = [each for store in connections.stores for each in store.objects]
    claims = [each for store in connections.stores for each in store.claims]
    if connections.volume:
        objects.append(_claim(datalayer, place))
        claims.append(place.name("data"))
    objects += [
        _service(datalayer, place, name),
        _deployment(datalayer, place, name, template, volume=connections.volume),
        _network_policy(place, name, operator_namespace),
        _job_policy(place),
    ]
    if not place.defaults.network_policies:
        objects = [each for each in objects if each["kind"] != "NetworkPolicy"]
    if datalayer.spec.server.replicas > 1:
        objects.append(_disruption_budget(place, name))
    token = base.secret(place, place.name("token"), SERVER, {"token": place.derive("token")}, owned=True)
    secrets = [token, *(each for store in connections.stores for each in store.secrets)]
    return Desired(connections, tuple(secrets), tuple(objects), tuple(claims))


def _claim(datalayer: Datalayer, place: Place) -> Manifest:
    spec = datalayer.spec
    parts = (spec.databackend, spec.metadata, spec.artifact_store)
    given = [part.provision.storage for part in parts if part is not None and part.provision is not None
             and part.provision.engine in ("sqlite", "duckdb", "filesystem") and part.provision.storage is not None]  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        # Without an owner it stays when the Datalayer goes.
        "metadata": place.meta(place.name("data"), SERVER, owned=not place.retain),
        "spec": place.claim(total(given)),
    }


def _service(datalayer: Datalayer, place: Place, name: str) -> Manifest:
    given = datalayer.spec.server.service
    meta = place.meta(name, SERVER)
    if given.annotations:
        meta["annotations"] = dict(given.annotations)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "type": given.type,
            "selector": place.labels(SERVER),
            "ports": [{"name": "http", "port": PLAIN, "targetPort": PLAIN, "protocol": "TCP"}],
        },
    }


def _deployment(datalayer: Datalayer, place: Place, name: str, template: Manifest, *, volume: bool) -> Manifest:
    # Two servers on one volume, even for a moment, would be two writers.
    rolling: Manifest = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": place.meta(name, SERVER),
        "spec": {
            "replicas": datalayer.spec.server.replicas,
            "revisionHistoryLimit": 2,
            "strategy": {"type": "Recreate"} if volume else rolling,
            "selector": {"matchLabels": place.labels(SERVER)},
            "template": template,
        },
    }


def _template(
    datalayer: Datalayer,
    place: Place,
    connections: Connections,
    annotations: Mapping[str, str],
    sources: Sequence[str],
) -> Manifest:
    spec, secure = datalayer.spec.server, datalayer.spec.server.tls
    environment = connections.server_environment()
    mounts = {"home": HOME, "tmp": "/tmp"}  # noqa: S108
    volumes = [empty_dir("home", "2Gi"), empty_dir("tmp", "2Gi")]
    command = ["superduper", "serve"]
    further: Manifest = {}
    if connections.volume:
        mounts["data"] = DATA
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": place.name("data")}})
        # A relative URI, as sqlite://my.db, is one on the volume.
        further["workingDir"] = DATA
    if secure is not None:
        mounts["tls"] = "/tls"
        volumes.append({"name": "tls", "secret": {"secretName": secure.secret_ref.name, "defaultMode": 0o440}})
        command += ["--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key"]
    server = container(
        SERVER,
        place.defaults.runtime,
        command=command,
        env=to_env(environment),
        env_from=[*_optional(sources), *to_env_from(connections.environment_from)],
        mounts=mounts,
        resources=resources(None if spec.resources is None else spec.resources.model_dump(), place.defaults.server_resources),
        ports=[{"name": "http", "containerPort": PLAIN, "protocol": "TCP"},
               {"name": "inside", "containerPort": INSIDE, "protocol": "TCP"}],
        startupProbe=http_probe("/healthz", "inside", periodSeconds=1, timeoutSeconds=5, failureThreshold=120),
        livenessProbe=http_probe("/healthz", "inside", periodSeconds=10, timeoutSeconds=5, failureThreshold=6),
        readinessProbe=http_probe("/readyz", "inside", periodSeconds=2, timeoutSeconds=5, failureThreshold=3),
        **further,
    )  # fmt: skip
    pod = place.pod([server], volumes, grace=GRACE_SECONDS)
    if spec.replicas > 1:
        spread = {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
        pod["topologySpreadConstraints"] = [{**spread, "labelSelector": {"matchLabels": place.labels(SERVER)}}]
    ours: Manifest = {"metadata": {"labels": place.pod_labels(SERVER)}, "spec": pod}
    template = merged(ours, spec.pod_template or {})
    # The selector and the policies depend on our labels, so nobody takes them away.
    meta = template.get("metadata") or {}
    template["metadata"] = {
        **meta,
        "labels": {**(meta.get("labels") or {}), **place.labels(SERVER)},
        "annotations": {
            **(meta.get("annotations") or {}),
            **annotations,
            labels.CONFIGURATION: _digest({"pod": template["spec"], "annotations": dict(annotations)}),
        },
    }
    return template


def _optional(secrets: Sequence[str]) -> list[Manifest]:
    """One that is missing keeps a table from its source, not everybody from the server."""
    return [{"secretRef": {"name": name, "optional": True}} for name in sorted(set(secrets))]


def _network_policy(place: Place, name: str, operator_namespace: str) -> Manifest:
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place.meta(name, SERVER),
        "spec": {
            "podSelector": {"matchLabels": place.labels(SERVER)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [{"port": PLAIN, "protocol": "TCP"}]},
                {"from": [operator], "ports": [{"port": INSIDE, "protocol": "TCP"}]},
            ],
        },
    }


def _job_policy(place: Place) -> Manifest:
    """Whoever reaches the head of a Ray cluster without a token runs code on it, and older KubeRays give it none."""
    jobs = {"podSelector": {"matchLabels": place.labels(JOB)}}
    kuberay = [{"namespaceSelector": {}, "podSelector": {"matchLabels": dict(each)}} for each in KUBERAY]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place.meta(place.name(JOB), JOB),
        "spec": {
            "podSelector": {"matchLabels": place.labels(JOB)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [jobs]},
                {"from": kuberay, "ports": [{"port": DASHBOARD, "protocol": "TCP"}]},
            ],
        },
    }


def _disruption_budget(place: Place, name: str) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": place.meta(name, SERVER),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": place.labels(SERVER)}},
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept_sizes(objects: Sequence[Manifest], live: Mapping[tuple[str, str], Manifest]) -> Iterator[Manifest]:
    """The objects with the sizes of volumes that exist: a volume never shrinks, and a StatefulSet's never changes.

    ``live`` is by kind and name.
    """
    for each in objects:
        found = live.get((each["kind"], each["metadata"]["name"]))
        if found is None:
            yield each
        elif each["kind"] == "StatefulSet":
            # Nothing in it may be changed after creation, its default values included.
            kept = {"volumeClaimTemplates": [_essence(claim) for claim in found["spec"]["volumeClaimTemplates"]]}
            yield {**each, "spec": {**each["spec"], **kept}}
        elif each["kind"] == "PersistentVolumeClaim" and _size(found) > _size(each):
            yield {**each, "spec": {**each["spec"], "resources": found["spec"]["resources"]}}
        else:
            yield each


def _essence(claim: Manifest) -> Manifest:
    """A claim's template without what the API server adds."""
    spec = {
        key: value for key, value in claim["spec"].items() if key in ("accessModes", "resources", "storageClassName")
    }
    meta = {key: value for key, value in claim["metadata"].items() if key in ("name", "labels")}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def _size(claim: Manifest) -> int:
    return parse(claim["spec"]["resources"]["requests"]["storage"])
