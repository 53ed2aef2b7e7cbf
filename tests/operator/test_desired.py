"""What Datalayers and jobs become in a cluster: golden files, and what every pod of ours has in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from superduper_operator.compute import KINDS
from superduper_operator.compute.base import KubeRay, Order, effective
from superduper_operator.compute.kuberay import NEWEST
from superduper_operator.kinds.datalayer.desired import Desired, desired, kept_sizes
from superduper_operator.kinds.datalayer.merge import merged
from superduper_operator.settings import Settings
from tests.operator.desired_cases import CASES, datalayer, model, place
from tests.operator.golden import compare

Manifest = dict[str, Any]


def built(name: str) -> Desired:
    found = datalayer(**CASES[name])
    here = place(retain=found.spec.deletion_policy == "Retain")
    return desired(found, here, operator_namespace="superduper-system")


def order(
    compute: Manifest | None = None, kuberay: KubeRay = NEWEST, layer: str = "postgres-s3", **given: Any
) -> Order:
    found = datalayer(**CASES[layer])
    asked = model(compute=compute)
    return Order(
        model=asked, compute=effective(asked.spec.compute, found.spec.compute), place=place(),
        connections=desired(found, place(), operator_namespace="superduper-system").connections,
        key="0123456789abcdef", kuberay=kuberay, **given,
    )  # fmt: skip


JOBS = {
    "job": ("Job", order({"engine": "job"}, layer="sqlite-filesystem")),
    "job-direct": (
        "Job",
        order({"engine": "job", "image": "example.org/own:2", "resources": {"limits": {"memory": "8Gi"}}}),
    ),
    "job-tls": ("Job", order({"engine": "job"}, layer="outside-by-secret", through_server=True)),
    "rayjob-sidecar": ("RayJob", order({"engine": "ray", "workers": 2})),
    "rayjob-old-kuberay": ("RayJob", order(None, KubeRay())),
}


@pytest.mark.parametrize("name", CASES)
def test_a_datalayer_becomes(name: str) -> None:
    found = built(name)
    compare(f"datalayer-{name}", [*found.secrets, *found.objects])


@pytest.mark.parametrize("name", JOBS)
def test_a_models_work_becomes(name: str) -> None:
    kind, given = JOBS[name]
    compare(name, [KINDS[kind].desired(given)])


def pods(manifest: Manifest) -> Iterator[Manifest]:
    """The specs of all pods in an object."""
    if isinstance(manifest, dict):
        if "containers" in manifest:
            yield manifest
        for value in manifest.values():
            yield from pods(value)
    elif isinstance(manifest, list):
        for value in manifest:
            yield from pods(value)


ALL = [each for name in CASES for each in built(name).objects] + [KINDS[k].desired(o) for k, o in JOBS.values()]


@pytest.mark.parametrize("pod", [pod for each in ALL for pod in pods(each)])
def test_every_pod_is_restricted_and_has_no_access_to_the_api(pod: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
    for volume in pod["volumes"]:
        assert "hostPath" not in volume
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("name", JOBS)
def test_every_pod_of_a_job_is_closed_to_all_but_its_own_and_kuberay(name: str) -> None:
    """The whole of a Ray cluster can be used by whoever reaches it, where it has no token."""
    kind, given = JOBS[name]
    policies = [each for each in built("postgres-s3").objects if each["kind"] == "NetworkPolicy"]
    [policy] = [each for each in policies if each["metadata"]["name"] == "digits-job"]
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    templates = list(pod_templates(KINDS[kind].desired(given)))
    assert templates
    assert all(selected <= each["metadata"]["labels"].items() for each in templates)
    own, kuberay = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": dict(selected)}}]}
    assert [each["port"] for each in kuberay["ports"]] == [8265]
    # KubeRay gives the pods of every Ray cluster, anybody's, the name `kuberay`.
    anybodys = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator"}.items()
    assert not any(each["podSelector"]["matchLabels"].items() <= anybodys for each in kuberay["from"])
    assert "egress" not in policy["spec"]


def pod_templates(manifest: Any) -> Iterator[Manifest]:
    """All that pods are made from."""
    if isinstance(manifest, dict):
        if "containers" in manifest.get("spec", {}):
            yield manifest
        for value in manifest.values():
            yield from pod_templates(value)
    elif isinstance(manifest, list):
        for value in manifest:
            yield from pod_templates(value)


@pytest.mark.parametrize("name", CASES)
def test_no_object_that_is_applied_holds_a_derived_secret(name: str) -> None:
    assert "derived-" not in str(built(name).objects)


@pytest.mark.parametrize("name", CASES)
def test_what_is_desired_is_the_same_each_time(name: str) -> None:
    assert built(name) == built(name)


def test_the_name_of_a_job_tells_apart_work_runs_and_templates() -> None:
    def name(given: Order) -> str:
        found: str = KINDS["Job"].desired(given)["metadata"]["name"]
        return found

    names = [name(order()), name(order(run=1)), name(order({"image": "example.org/own:3"}))]
    assert len(set(names)) == 3
    assert name(order()) == names[0]
    assert all(len(each) <= 47 and each.startswith("classifier-") for each in names)


def test_a_volume_never_shrinks_and_a_statefulsets_claim_never_changes() -> None:
    small = datalayer(databackend={"provision": {"engine": "postgres", "storage": "1Gi"}}, artifactStore=None)
    large = datalayer(
        databackend={"provision": {"engine": "postgres", "storage": "5Gi"}},
        artifactStore={"provision": {"engine": "filesystem", "storage": "9Gi"}},
    )
    live = {
        (each["kind"], each["metadata"]["name"]): each
        for each in desired(large, place(), operator_namespace="x").objects
    }
    kept = list(kept_sizes(desired(small, place(), operator_namespace="x").objects, live))
    claim = next(each for each in kept if each["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    stateful = next(each for each in kept if each["kind"] == "StatefulSet")
    [template] = stateful["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "5Gi"


CONTAINERS = {
    "containers": [{"name": "server", "image": "a", "env": [{"name": "X", "value": "1"}], "args": ["p", "q"]}]
}


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        pytest.param({}, CONTAINERS, id="nothing given leaves ours"),
        pytest.param(
            {"nodeSelector": {"disk": "fast"}}, {**CONTAINERS, "nodeSelector": {"disk": "fast"}}, id="a new field is added"
        ),
        pytest.param(
            {"containers": [{"name": "server", "image": "b"}]},
            {"containers": [{**CONTAINERS["containers"][0], "image": "b"}]}, id="a container is merged by its name",
        ),
        pytest.param(
            {"containers": [{"name": "proxy", "image": "c"}]},
            {"containers": [*CONTAINERS["containers"], {"name": "proxy", "image": "c"}]}, id="a new container comes after ours",
        ),
        pytest.param(
            {"containers": [{"name": "server", "env": [{"name": "X", "valueFrom": {"fieldRef": {}}}]}]},
            {"containers": [{**CONTAINERS["containers"][0], "env": [{"name": "X", "valueFrom": {"fieldRef": {}}}]}]},
            id="a variable with another source takes the place of ours",
        ),
        pytest.param(
            {"containers": [{"name": "server", "args": ["r"]}]},
            {"containers": [{**CONTAINERS["containers"][0], "args": ["r"]}]}, id="a list of values is replaced",
        ),
        pytest.param({"containers": None}, {}, id="null takes a field away"),
    ],
)  # fmt: skip
def test_a_pod_template_is_laid_over_ours(theirs: Manifest, expected: Manifest) -> None:
    assert merged(CONTAINERS, theirs) == expected


@pytest.mark.parametrize(
    ("version", "token"),
    [("2.60.0", True), ("2.52.0", True), ("2.51.1", False), ("", False)],
    ids=["today's", "the first", "older", "not told"],
)
def test_rays_token_is_asked_of_versions_that_have_it(version: str, *, token: bool) -> None:
    """KubeRay refuses it for others, and where it is told no version."""
    _, given = JOBS["rayjob-sidecar"]
    defaults = replace(given.place.defaults, ray_version=version)
    job = KINDS["RayJob"].desired(replace(given, place=replace(given.place, defaults=defaults)))
    cluster = job["spec"]["rayClusterSpec"]
    assert ("authOptions" in cluster) is token
    assert cluster.get("rayVersion", "") == version


def test_the_version_of_ray_that_is_told_is_that_of_the_images() -> None:
    lock = (Path(__file__).parents[2] / "requirements" / "image-runtime-ray.txt").read_text()
    assert f"\nray=={Settings(namespace='x').ray_version} " in lock
