"""The operator with the rights of docs/operator.md, and with one less."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from superduper_operator.core.errors import Forbidden, Invalid
from tests.operator.core.conftest import Start
from tests.operator.core.harness import Manifest, api, condition, eventually, operator
from tests.operator.core.mirror import Mirror, datalayer
from tests.servers.apiserver import ApiServer

PAGE = Path(__file__).parents[3] / "docs" / "operator.md"
ROLE = "rbac.authorization.k8s.io/v1"
Enter = Callable[[list[Manifest]], None]


def documented() -> list[Manifest]:
    """The rules of the table under 'Rights'."""
    table = PAGE.read_text().partition("## Rights")[2].partition("And in its own namespace")[0]
    rules: list[Manifest] = []
    for group, resources, verbs in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)[1:]:
        if group.startswith("---"):
            continue
        names = re.findall(r"`([a-z/]+)`", resources)
        if any(name.startswith("/") for name in names):
            names = [f"{kind}{names[-1]}" for kind in rules[0]["resources"]]
        allowed = re.findall(r"\b(?:get|list|watch|create|patch|update|delete)\b", verbs.partition("(")[0])
        rules.append({"apiGroups": ["" if group == "core" else group.strip("`")], "resources": names, "verbs": allowed})
    own = [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["superduper-operator"],
            "verbs": ["get", "update"],
        },
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["superduper-operator-key"], "verbs": ["get"]},
    ]
    return rules + own


def less(rules: list[Manifest], resource: str, verb: str) -> list[Manifest]:
    """The rules without that right."""
    found = []
    for rule in rules:
        if resource in rule["resources"] and verb in rule["verbs"] and "resourceNames" not in rule:
            others = [name for name in rule["resources"] if name != resource]
            found += [{**rule, "resources": others}] if others else []
            verbs = [name for name in rule["verbs"] if name != verb]
            found += [{**rule, "resources": [resource], "verbs": verbs}] if verbs else []
        else:
            found.append(rule)
    return found


@pytest.fixture
def enter(namespace: str, kubernetes: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Become a service account with those rules in the namespace, and with no others."""

    def become(rules: list[Manifest]) -> None:
        meta = {"name": "op", "namespace": namespace}
        subject = {"kind": "ServiceAccount", **meta}
        binding = {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "op"},
            "subjects": [subject],
        }
        objects: list[Manifest] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {"apiVersion": ROLE, "kind": "Role", "metadata": meta, "rules": rules},
            {"apiVersion": ROLE, "kind": "RoleBinding", "metadata": meta, **binding},
        ]
        whole = {"apiVersion": "v1", "kind": "List", "items": objects}
        kubernetes.kubectl("apply", "-f", "-", given=json.dumps(whole))
        config = json.loads(kubernetes.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = kubernetes.kubectl("create", "token", "op", "-n", namespace).strip()
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    return become


def test_the_documented_rights_suffice_and_nothing_cluster_wide_is_asked_for(namespace: str, enter: Enter) -> None:
    async def run() -> None:
        async with api() as admin:
            enter(documented())
            async with operator(namespace, Mirror(), lease_enabled=True) as manager:
                await admin.create(datalayer(namespace, "d"))

                async def ready() -> bool:
                    return condition(await admin.get("Datalayer", namespace, "d")).get("status") == "True"

                await eventually(ready)
                await admin.create(datalayer(namespace, "broken", fail="raise"))

                async def told() -> bool:
                    found = await admin.request("list", "GET", f"/api/v1/namespaces/{namespace}/events")
                    return any(event["involvedObject"]["name"] == "broken" for event in found["items"])

                await eventually(told)
                assert 'status="403"' not in manager.metrics.page().decode()

    asyncio.run(run())


def test_the_documented_rights_suffice_for_the_whole_process(
    namespace: str, enter: Enter, start: Start, tmp_path: Path
) -> None:
    """What kopf asks for at its start is among them."""

    async def run() -> None:
        async with api() as admin:
            enter(documented())
            process = start("one")
            await admin.create(datalayer(namespace, "d"))

            async def ready() -> bool:
                return condition(await admin.get("Datalayer", namespace, "d")).get("status") == "True"

            await eventually(ready)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 20) == 0
            log = (tmp_path / "one.log").read_text()
            assert "WARNING" not in log, log
            assert "ERROR" not in log, log

    asyncio.run(run())


def test_secrets_of_users_are_out_of_reach(namespace: str, enter: Enter) -> None:
    async def run() -> None:
        async with api() as admin:
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs", "namespace": namespace}}
            await admin.create({**secret, "stringData": {"password": "hush"}})
        enter(documented())
        async with api() as operators:
            for asked in (
                operators.get("Secret", namespace, "theirs"),
                operators.merge("Secret", namespace, "theirs", {"metadata": {"labels": {"a": "b"}}}),
                operators.delete("Secret", namespace, "theirs"),
                operators.apply({**secret, "stringData": {"x": "y"}}),
            ):
                with pytest.raises(
                    Forbidden, match=rf"the operator lacks the right to \w+ secrets in namespace {namespace}"
                ):
                    await asked

    asyncio.run(run())


def test_a_missing_right_is_named_in_the_condition_and_its_grant_mends_the_object(namespace: str, enter: Enter) -> None:
    async def run() -> None:
        async with api() as admin:
            enter(less(documented(), "deployments", "patch"))
            async with operator(namespace, Mirror()):
                await admin.create(datalayer(namespace, "d"))

                async def denied() -> str | None:
                    found = condition(await admin.get("Datalayer", namespace, "d"))
                    return str(found["message"]) if found.get("reason") == "AccessDenied" else None

                message = await eventually(denied)
                assert message.startswith(
                    f"the operator lacks the right to patch deployments.apps in namespace {namespace}"
                )
                assert message.endswith("Give the operator's role that right (helm upgrade does)")
                enter(documented())

                async def ready() -> bool:
                    return condition(await admin.get("Datalayer", namespace, "d")).get("status") == "True"

                await eventually(ready, deadline=30)

    asyncio.run(run())


def test_a_watch_without_its_right_is_named_in_the_log_and_begins_once_granted(
    namespace: str, enter: Enter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superduper_operator.core.watch.FORBIDDEN_RETRY", 0.5)

    async def run() -> None:
        enter(less(documented(), "pods", "list"))
        granting = asyncio.create_task(grant())
        async with operator(namespace, Mirror()):
            await granting
        assert f"the operator lacks the right to list pods in namespace {namespace}" in caplog.text

    async def grant() -> None:
        await eventually(lambda: asyncio.sleep(0, "cannot watch pods" in caplog.text))
        await asyncio.to_thread(enter, documented())

    asyncio.run(run())


def test_what_admission_refuses_is_about_the_object_and_not_about_our_rights(namespace: str) -> None:
    async def run() -> None:
        async with api() as admin:
            quota: Manifest = {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "none", "namespace": namespace},
                "spec": {"hard": {"count/services": "0", "services": "0"}},
            }
            await admin.request("create", "POST", f"/api/v1/namespaces/{namespace}/resourcequotas", body=quota)
            enforced: Manifest = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
            content = "application/merge-patch+json"
            await admin.request("patch", "PATCH", f"/api/v1/namespaces/{namespace}", body=enforced, content=content)
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}}
            with pytest.raises(Invalid, match="violates PodSecurity"):
                await admin.create({**pod, "spec": {"containers": [{"name": "c", "image": "x"}]}})

    asyncio.run(run())
