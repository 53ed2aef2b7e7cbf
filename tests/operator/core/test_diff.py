"""Desired against live: which fields an apply would change."""

from __future__ import annotations

from typing import Any

import pytest

from superduper_operator.core.diff import differences, without_none
from superduper_operator.quantity import number, parse

Manifest = dict[str, Any]


def pod_template(**container: Any) -> Manifest:
    return {"spec": {"template": {"spec": {"containers": [{"name": "server", **container}]}}}}


def live(spec: Manifest, owned: Manifest | None = None) -> Manifest:
    managers = (
        [{"manager": "superduper-operator", "operation": "Apply", "fieldsV1": owned}] if owned is not None else []
    )
    return {"metadata": {"name": "x", "managedFields": managers, "uid": "1"}, **spec}


SAME: list[tuple[str, Manifest, Manifest]] = [
    (
        "the server's defaults beside ours",
        {"spec": {"replicas": 1}},
        {"spec": {"replicas": 1, "revisionHistoryLimit": 10}},
    ),
    (
        "another container that somebody injected",
        pod_template(image="a"),
        {"spec": {"template": {"spec": {"containers": [{"name": "proxy"}, {"name": "server", "image": "a"}]}}}},
    ),
    (
        "environment in another order, with one more",
        pod_template(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
        pod_template(env=[{"name": "B", "value": "2"}, {"name": "X", "value": "9"}, {"name": "A", "value": "1"}]),
    ),
    (
        "ports whose protocol was left out",
        pod_template(ports=[{"containerPort": 8000}]),
        pod_template(ports=[{"containerPort": 8000, "protocol": "TCP"}]),
    ),
    (
        "a Service's ports",
        {"spec": {"ports": [{"port": 80, "targetPort": "http"}]}},
        {"spec": {"ports": [{"port": 80, "targetPort": "http", "protocol": "TCP", "nodePort": 31000}]}},
    ),
    (
        "quantities written otherwise",
        pod_template(resources={"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": 1}}),
        pod_template(resources={"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}}),
    ),
    ("an empty map that the server drops", pod_template(securityContext={}), pod_template()),
    (
        "an empty volume",
        {"spec": {"volumes": [{"name": "t", "emptyDir": {}}]}},
        {"spec": {"volumes": [{"name": "t", "emptyDir": {}}]}},
    ),
    (
        "an environment variable without a value",
        pod_template(env=[{"name": "A", "value": ""}]),
        pod_template(env=[{"name": "A"}]),
    ),
    ("the status", {"status": {"x": 1}, "spec": {}}, {"spec": {}}),
]
DIFFERENT: list[tuple[str, Manifest, Manifest, str]] = [
    ("a value", {"spec": {"replicas": 2}}, {"spec": {"replicas": 1}}, "spec.replicas"),
    ("a field that is not there", {"spec": {"a": 1}}, {"spec": {}}, "spec.a"),
    ("labels where there are none", {"metadata": {"labels": {"a": "b"}}}, {}, "metadata.labels"),
    ("an image", pod_template(image="b"), pod_template(image="a"), "spec.template.spec.containers[server].image"),
    (
        "an environment variable that is not there",
        pod_template(env=[{"name": "A", "value": "1"}]),
        pod_template(env=[]),
        "spec.template.spec.containers[server].env[A]",
    ),
    (
        "a command that is one value",
        pod_template(args=["a", "b"]),
        pod_template(args=["a"]),
        "spec.template.spec.containers[server].args",
    ),
    (
        "one in a command",
        pod_template(args=["a", "b"]),
        pod_template(args=["a", "c"]),
        "spec.template.spec.containers[server].args[1]",
    ),
    ("true is not 1", {"spec": {"a": True}}, {"spec": {"a": 1}}, "spec.a"),
    ("a text that looks like a quantity is a text", {"data": {"a": "1.0"}}, {"data": {"a": "1"}}, "data.a"),
    (
        "another kind of volume",
        {"spec": {"volumes": [{"name": "t", "secret": {"secretName": "s"}}]}},
        {"spec": {"volumes": [{"name": "t", "emptyDir": {}}]}},
        "spec.volumes[t].secret",
    ),
]


@pytest.mark.parametrize(("desired", "found"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_nothing_is_applied_for(desired: Manifest, found: Manifest) -> None:
    assert differences(desired, live(found)) == []


@pytest.mark.parametrize(
    ("desired", "found", "where"), [case[1:] for case in DIFFERENT], ids=[case[0] for case in DIFFERENT]
)
def test_a_difference_is_found_and_named(desired: Manifest, found: Manifest, where: str) -> None:
    assert differences(desired, live(found)) == [where]


OWNED = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:containers": {
            'k:{"name":"server"}': {".": {}, "f:name": {}, "f:env": {'k:{"name":"A"}': {".": {}, "f:value": {}}}}
        },
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
        "f:finalizers": {'v:"superduper.io/finalizer"': {}},
    },
}
WHOLE: Manifest = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "replicas": 1,
        "containers": [{"name": "server", "env": [{"name": "A", "value": "1"}]}],
        "ports": [{"port": 80}],
        "finalizers": ["superduper.io/finalizer"],
    },
}


def test_fields_that_are_ours_and_still_desired_stay() -> None:
    assert differences(WHOLE, live(WHOLE | {"metadata": {"labels": {"a": "1"}}}, None) | _meta(OWNED)) == []


def _meta(owned: Manifest) -> Manifest:
    return {"metadata": {"labels": {"a": "1"}, "managedFields": live({}, owned)["metadata"]["managedFields"]}}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"metadata": {"labels": {}}}, "metadata.labels.a"),
        ({"spec": {**WHOLE["spec"], "ports": []}}, "spec.ports[80/TCP]"),
        ({"spec": {**WHOLE["spec"], "containers": [{"name": "server", "env": []}]}}, "spec.containers[server].env[A]"),
        ({"spec": {**WHOLE["spec"], "finalizers": []}}, 'spec.finalizers["superduper.io/finalizer"]'),
        ({"spec": {key: value for key, value in WHOLE["spec"].items() if key != "replicas"}}, "spec.replicas"),
    ],
    ids=["a label", "a port", "an environment variable", "a value of a set", "a field"],
)
def test_what_an_earlier_apply_set_and_nobody_desires_any_more_is_found(change: Manifest, where: str) -> None:
    found = differences({**WHOLE, **change}, WHOLE | _meta(OWNED))
    assert where in found


def test_a_field_that_only_another_manager_owns_is_left_alone() -> None:
    managers = [{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    assert (
        differences({"spec": {"a": 1}}, {"metadata": {"managedFields": managers}, "spec": {"a": 1, "replicas": 5}})
        == []
    )


@pytest.mark.parametrize(
    ("one", "other"), [("1", 1), ("1000m", 1), ("1Ki", 1024), ("1k", 1000), ("0.5Gi", "512Mi"), ("1e3", "1k")]
)
def test_quantities_are_compared_as_numbers(one: object, other: object) -> None:
    assert number(one) == number(other)


@pytest.mark.parametrize("text", ["", "one", "1 Gi", "1X", "--1"])
def test_what_is_no_quantity_is_none(text: str) -> None:
    assert number(text) is None
    with pytest.raises(ValueError, match="is no quantity"):
        parse(text)


@pytest.mark.parametrize(("size", "bytes_"), [("1e3", 1000), ("2Ei", 2 * 2**60), ("1E", 10**18), ("1.5Gi", 3 * 2**29)])
def test_a_size_that_kubernetes_takes_is_read(size: str, bytes_: int) -> None:
    assert parse(size) == bytes_


def test_none_means_not_named() -> None:
    assert without_none({"a": None, "b": [{"c": None, "d": 0}], "e": {}}) == {"b": [{"d": 0}], "e": {}}
