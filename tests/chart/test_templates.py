"""Each template of the chart: what it makes by default, and what its values change."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from superduper_operator.core.resources import RESOURCES
from superduper_operator.settings import Settings

from .conftest import CHART, Render

One = Callable[..., dict[str, Any]]
RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def kinds(objects: list[dict[str, Any]]) -> list[str]:
    return [found["kind"] for found in objects]


def rules(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [rule for found in objects if found["kind"] == kind for rule in found["rules"]]


def allowed(rules: list[dict[str, Any]], group: str, resource: str) -> set[str]:
    return {verb for r in rules if group in r["apiGroups"] and resource in r["resources"] for verb in r["verbs"]}


def test_helm_lint_finds_nothing_even_when_strict(helm: str) -> None:
    subprocess.run([helm, "lint", "--strict", str(CHART)], check=True, capture_output=True, timeout=60)


def test_every_pod_of_the_chart_is_restricted(render: Render) -> None:
    pods = [
        found["spec"]["template"]["spec"] if "template" in found["spec"] else found["spec"]
        for found in render()
        if found["kind"] in ("Deployment", "Job", "Pod")
    ]
    assert len(pods) == 3
    for pod in pods:
        assert RESTRICTED_POD.items() <= pod["securityContext"].items()
        assert not pod["enableServiceLinks"]
        for container in pod["containers"]:
            assert container["securityContext"] == RESTRICTED_CONTAINER
            assert container["resources"]["limits"]["memory"]


def test_every_object_is_in_the_releases_namespace_or_in_none(render: Render) -> None:
    cluster = {
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    for found in render():
        assert found["metadata"].get("namespace") == (None if found["kind"] in cluster else "superduper-system")


# Deployment


def test_two_replicas_run_on_different_nodes_where_there_are_several(one: One) -> None:
    spec = one({}, "deployment.yaml")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == spec["selector"]
    probes = {name: spec["template"]["spec"]["containers"][0][f"{name}Probe"] for name in ("liveness", "readiness")}
    assert probes["liveness"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert probes["readiness"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_the_environment_is_what_the_operators_settings_read(one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "watchNamespaces": ["a", "b"],
        "operator": {"workers": 4},
        "datalayers": {
            "images": {"runtime": {"repository": "r.example/runtime", "tag": "1"}, "pullSecrets": ["x"]},
            "podLabels": {"team": "it's"},
            "jobResources": {"limits": {"memory": "8Gi"}},
            "networkPolicies": False,
        },
    }
    (container,) = one(values, "deployment.yaml")["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "from-the-pod"))
    settings = Settings()
    assert (settings.namespaces, settings.workers, settings.namespace) == (("a", "b"), 4, "from-the-pod")
    assert settings.runtime_image == "r.example/runtime:1"
    assert settings.runtime_ray_image == "ghcr.io/superduper-on-kubernetes/runtime-ray:0.1.0"
    assert settings.image_pull_secrets == ("x",)
    assert settings.pod_labels == {"team": "it's"}
    assert settings.job_resources == {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}}
    assert not settings.network_policies


def test_the_charts_defaults_are_the_operators(one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Settings(namespace="n", pod_name="p")
    (container,) = one({}, "deployment.yaml")["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    assert Settings(namespace="n", pod_name="p") == plain


def test_where_the_operator_runs_is_the_users_choice(one: One) -> None:
    placed = {
        "nodeSelector": {"pool": "infra"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "imagePullSecrets": [{"name": "registry"}],
    }
    pod = one(placed, "deployment.yaml")["spec"]["template"]["spec"]
    assert {key: pod[key] for key in placed} == placed


def test_an_upgrade_of_the_chart_alone_restarts_no_pod(one: One) -> None:
    labels = one({}, "deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys()


# Rights


def test_the_operator_may_touch_what_it_makes_and_never_reads_a_secret(render: Render) -> None:
    found = rules(render({}, "rbac.yaml"), "ClusterRole")
    for resource in RESOURCES.values():
        group = resource.api_version.rpartition("/")[0]
        given = allowed(found, group, resource.plural)
        if resource.ours:
            assert given == {"get", "list", "watch", "patch"}
            assert allowed(found, group, f"{resource.plural}/status") == {"patch"}
            assert allowed(found, group, f"{resource.plural}/finalizers") == {"update"}
        elif resource.kind not in ("Pod", "Secret", "ConfigMap", "Event", "Lease"):
            assert given == {"get", "list", "watch", "create", "patch", "delete"}, resource.kind
    assert allowed(found, "", "secrets") == {"create"}
    assert allowed(found, "", "configmaps") == {"get"}
    assert allowed(found, "", "pods") == {"get", "list", "watch"}
    assert allowed(found, "", "events") == {"create", "patch"}
    assert not any("*" in word for rule in found for part in ("apiGroups", "resources", "verbs") for word in rule[part])
    assert not allowed(found, "rbac.authorization.k8s.io", "roles")


def test_its_own_namespace_holds_the_one_secret_that_it_reads(render: Render) -> None:
    own = rules(render({}, "rbac.yaml"), "Role")
    reads = [rule for rule in own if "secrets" in rule["resources"] and "get" in rule["verbs"]]
    assert [rule["resourceNames"] for rule in reads] == [["superduper-operator-key"]]
    assert allowed([r for r in own if "resourceNames" not in r], "coordination.k8s.io", "leases") == {"create"}


def test_named_namespaces_get_a_role_each_and_no_cluster_role_is_made(render: Render) -> None:
    objects = render({"watchNamespaces": ["a", "b"]}, "rbac.yaml")
    assert "ClusterRole" not in kinds(objects)
    shared = [found for found in objects if not found["metadata"]["name"].endswith("-own")]
    places = sorted((found["metadata"]["namespace"], found["kind"]) for found in shared)
    assert places == [("a", "Role"), ("a", "RoleBinding"), ("b", "Role"), ("b", "RoleBinding")]
    everywhere = rules(render({}, "rbac.yaml"), "ClusterRole")
    assert shared[0]["rules"] == everywhere
    subjects = [found["subjects"] for found in objects if found["kind"] == "RoleBinding"]
    account = [{"kind": "ServiceAccount", "name": "superduper", "namespace": "superduper-system"}]
    assert subjects == [account] * 3


def test_users_of_the_clusters_own_roles_may_use_the_kinds(render: Render) -> None:
    view, edit = render({}, "roles-for-users.yaml")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert not {"create", "update", "patch", "delete"} & set(view["rules"][0]["verbs"])


# What may be left out


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"podDisruptionBudget": {"enabled": False}}, {"PodDisruptionBudget"}),
        ({"networkPolicy": {"enabled": False}}, {"NetworkPolicy"}),
        ({"crds": {"install": False}}, {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}),
        ({"rbac": {"create": False, "aggregate": False}}, {"ClusterRole", "ClusterRoleBinding"}),
        ({"uninstall": {"removeFinalizers": False}}, {"Job"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_part_may_be_left_out(render: Render, values: dict[str, Any], gone: set[str]) -> None:
    assert set(kinds(render())) - set(kinds(render(values))) == gone


def test_monitoring_is_made_only_where_it_is_asked_for(render: Render) -> None:
    assert not {"ServiceMonitor", "PrometheusRule"} & set(kinds(render()))
    values = {
        "metrics": {
            "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True},
        }
    }
    found = {made["kind"]: made for made in render(values)}
    monitor, service = found["ServiceMonitor"], found["Service"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "10s"}]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


def test_alerts_ask_for_metrics_that_the_operator_has(one: One) -> None:
    from superduper_operator.core.metrics import Metrics

    metrics = Metrics()
    metrics.reconciled("Model", "ok", 1)
    metrics.read_objects = lambda: {("Model", "False"): 1}
    page = metrics.page().decode()
    (group,) = one({"metrics": {"prometheusRule": {"enabled": True}}}, "prometheusrule.yaml")["spec"]["groups"]
    words = {
        word.rpartition("(")[2]
        for rule in group["rules"]
        for word in rule["expr"].replace("{", " ").split()
        if "superduper_operator_" in word
    }
    assert len(words) == 3
    for word in words:
        assert f"\n{word}" in page, word


# Network


def test_metrics_may_be_kept_for_some_peers(one: One) -> None:
    assert "from" not in one({}, "networkpolicy.yaml")["spec"]["ingress"][0]
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    spec = one({"networkPolicy": {"metricsFrom": peers, "apiServerPorts": [16443]}}, "networkpolicy.yaml")["spec"]
    assert spec["ingress"][0]["from"][:1] == peers
    assert {"port": 16443, "protocol": "TCP"} in spec["egress"][1]["ports"]


# CRDs, hooks, names, notes


def test_definitions_stay_when_the_release_goes_unless_told_otherwise(render: Render) -> None:
    for keep, expected in ((True, {"keep"}), (False, {None})):
        objects = [found for found in render({"crds": {"keep": keep}}) if "superduper.io" in found["metadata"]["name"]]
        assert len(objects) == 6
        policies = {found["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for found in objects}
        assert policies == expected


def test_the_uninstall_job_is_given_what_to_stop_and_where_to_look(one: One) -> None:
    job = one({"watchNamespaces": ["a", "b"]}, "uninstall.yaml")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    script, *arguments = container["args"]
    assert script.strip() == (CHART / "files" / "uninstall.py").read_text().strip()
    selector = "app.kubernetes.io/name=superduper,app.kubernetes.io/instance=superduper"
    assert arguments == ["superduper-system", "superduper", selector, "a", "b"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    # Its own pod is none of those that it waits for.
    assert labels["app.kubernetes.io/name"] != "superduper"


def test_the_tests_pod_may_ask_for_a_datalayer_and_nothing_else(render: Render) -> None:
    objects = render({}, "tests/check.yaml")
    assert kinds(objects) == ["ServiceAccount", "Role", "RoleBinding", "Pod"]
    assert rules(objects, "Role") == [
        {"apiGroups": ["superduper.io"], "resources": ["datalayers"], "verbs": ["create"]}
    ]
    assert all(found["metadata"]["annotations"]["helm.sh/hook"] == "test" for found in objects)


@pytest.mark.parametrize(
    ("values", "name"),
    [({}, "superduper"), ({"fullnameOverride": "sd"}, "sd"), ({"fullnameOverride": "n" * 60}, "n" * 45)],
)
def test_names_follow_the_release_and_are_never_too_long(one: One, values: dict[str, Any], name: str) -> None:
    assert one(values, "deployment.yaml")["metadata"]["name"] == name


def test_every_value_has_a_comment_and_a_place_in_the_schema() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def check(values: dict[str, Any], properties: dict[str, Any]) -> None:
        for key, value in values.items():
            part = properties[key]
            part = schema["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            if isinstance(value, dict) and "properties" in part and key not in ("resources", *RESOURCE_MAPS):
                check(value, part["properties"])

    check(yaml.safe_load("\n".join(lines)), schema["properties"])
    for number, line in enumerate(lines):
        is_value = ":" in line and not line.lstrip().startswith("#") and line.split(":", 1)[1].strip()
        assert not is_value or lines[number - 1].lstrip().startswith("# --"), line


RESOURCE_MAPS = ("serverResources", "storeResources", "jobResources")
