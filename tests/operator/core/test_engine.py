"""The engine on a real API server: convergence, drift, failures, probes."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from superduper_operator.core.api import Api
from superduper_operator.core.live import LiveContext
from tests.operator.core.harness import api, condition, eventually, operator, probe, versions
from tests.operator.core.mirror import Manifest, Mirror, ModelMirror, datalayer, deployment, service
from tests.servers.apiserver import ApiServer

CHILDREN = (("Service", "server"), ("Deployment", "server"), ("Secret", "token"))


async def is_ready(kube: Api, namespace: str, name: str) -> Manifest | None:
    obj = await kube.get("Datalayer", namespace, name)
    return obj if condition(obj).get("status") == "True" else None


def without(*labels: str) -> Manifest:
    return {"metadata": {"labels": dict.fromkeys(labels)}}


async def everything(kube: Api, namespace: str, name: str) -> list[Manifest]:
    children = [await kube.get(kind, namespace, f"{name}-{part}") for kind, part in CHILDREN]
    return [await kube.get("Datalayer", namespace, name), *children]


def test_an_object_gets_its_children_and_its_status_and_a_restart_writes_nothing(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube:
            async with operator(namespace, Mirror()):
                await kube.create(datalayer(namespace, "d"))
                await eventually(lambda: is_ready(kube, namespace, "d"))
                token = (await kube.get("Secret", namespace, "d-token"))["data"]["token"]
            before = versions(await everything(kube, namespace, "d"))
            again = Mirror()
            async with operator(namespace, again) as manager:
                await eventually(lambda: asyncio.sleep(0, len(again.runs) >= 1))
                await asyncio.sleep(1)
                assert versions(await everything(kube, namespace, "d")) == before
                assert "api_errors_total{" not in manager.metrics.page().decode()
            assert (await kube.get("Secret", namespace, "d-token"))["data"]["token"] == token
            assert len(base64.b64decode(token)) == 43

    asyncio.run(run())


def test_the_manifest_of_a_child_is_found_equal_to_what_the_server_made_of_it(namespace: str) -> None:
    """Without this every reconcile would send a request for each child."""

    async def run() -> None:
        mirror = Mirror()
        async with api() as kube, operator(namespace, mirror, log_level="DEBUG") as manager:
            await kube.create(datalayer(namespace, "d"))
            await eventually(lambda: is_ready(kube, namespace, "d"))
            runs = len(mirror.runs)
            for n in range(3):
                await kube.merge("Datalayer", namespace, "d", {"metadata": {"labels": {"n": str(n)}}})
                await eventually(lambda n=n: asyncio.sleep(0, len(mirror.runs) > runs + n))
            service, workload = [(await kube.get(kind, namespace, "d-server")) for kind in ("Service", "Deployment")]
            assert [len(obj["metadata"]["managedFields"]) for obj in (service, workload)] == [1, 1]
            assert "drift_repairs_total{" not in manager.metrics.page().decode()
            assert service["metadata"]["creationTimestamp"] == service["metadata"]["managedFields"][0]["time"]

    asyncio.run(run())


@pytest.mark.parametrize("how", ["edited", "deleted", "relabelled", "disowned"])
def test_drift_is_repaired_at_once_counted_and_fields_of_others_are_left_alone(namespace: str, how: str) -> None:
    async def run() -> None:
        async with api() as kube, operator(namespace, Mirror()) as manager:
            await kube.create(datalayer(namespace, "d"))
            await eventually(lambda: is_ready(kube, namespace, "d"))
            foreign = {
                "metadata": {"annotations": {"somebody/else": "keeps this"}},
                "spec": {"sessionAffinity": "ClientIP"},
            }
            await kube.merge("Service", namespace, "d-server", foreign)
            match how:
                case "edited":
                    port = {"name": "http", "port": 9999, "protocol": "TCP"}
                    await kube.merge("Service", namespace, "d-server", {"spec": {"ports": [port]}})
                case "deleted":
                    await kube.delete("Service", namespace, "d-server")
                case "relabelled":
                    await kube.merge("Service", namespace, "d-server", without("superduper.io/datalayer"))
                case "disowned":
                    labels = without("superduper.io/datalayer", "app.kubernetes.io/managed-by")
                    await kube.merge("Service", namespace, "d-server", labels)

            async def repaired() -> Manifest | None:
                found = await kube.get("Service", namespace, "d-server")
                right = [port["port"] for port in found["spec"]["ports"]] == [8000]
                return found if right and found["metadata"]["labels"].get("superduper.io/datalayer") == "d" else None

            found = await eventually(repaired, deadline=5)
            if how != "deleted":
                assert found["metadata"]["annotations"] == {"somebody/else": "keeps this"}
                assert found["spec"]["sessionAffinity"] == "ClientIP"
            assert 'drift_repairs_total{kind="Service"} 1.0' in manager.metrics.page().decode()

    asyncio.run(run())


def test_without_a_list_of_namespaces_all_are_served(namespace: str, kubernetes: ApiServer) -> None:
    async def run() -> None:
        with kubernetes.fresh() as second:
            async with api() as kube, operator(namespace, Mirror(), namespaces=""):
                for place in (namespace, second):
                    await kube.create(datalayer(place, "d"))
                for place in (namespace, second):
                    await eventually(lambda place=place: is_ready(kube, place, "d"))

    asyncio.run(run())


def test_a_field_that_is_no_longer_desired_is_taken_away(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube, operator(namespace, Mirror()) as manager:
            await kube.create(datalayer(namespace, "d"))
            await eventually(lambda: is_ready(kube, namespace, "d"))
            context = manager._engine._context  # type: ignore[union-attr]
            less = deployment(namespace, "d", env=[{"name": "A", "value": "1"}])
            now = await context.apply(less)
            assert now["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
            assert await context.apply(less) is not None
            assert (await kube.get("Deployment", namespace, "d-server"))["metadata"]["generation"] == 2

    asyncio.run(run())


def test_an_error_is_said_in_the_condition_and_in_an_event_in_the_same_words_and_mends_itself(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube, operator(namespace, Mirror()):
            await kube.create(datalayer(namespace, "d", fail="raise"))

            async def failed() -> Manifest | None:
                return condition(await kube.get("Datalayer", namespace, "d"))

            ready = await eventually(failed)
            assert (ready["status"], ready["reason"]) == ("False", "OperatorFailed")
            assert ready["message"] == "the operator failed (KeyError: 'no such thing'); it tries again"

            async def event() -> Manifest | None:
                found = await kube.request("list", "GET", f"/api/v1/namespaces/{namespace}/events")
                return next((one for one in found["items"] if one["involvedObject"]["name"] == "d"), None)

            posted = await eventually(event)
            assert (posted["type"], posted["reason"], posted["message"]) == (
                "Warning",
                "OperatorFailed",
                ready["message"],
            )
            await kube.merge("Datalayer", namespace, "d", {"metadata": {"annotations": None}})
            mended = await eventually(lambda: is_ready(kube, namespace, "d"), deadline=5)
            assert [one["type"] for one in mended["status"]["conditions"]] == ["Ready"]

    asyncio.run(run())


@pytest.mark.parametrize("broken", ["write_status", "event"])
def test_a_failure_that_cannot_be_said_either_ends_nothing(
    namespace: str, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = getattr(LiveContext, broken)

    def wrong(self: LiveContext, obj: Manifest, *given: Any) -> Any:
        if obj["metadata"]["name"] == "odd":
            raise KeyError("an odd status")
        return right(self, obj, *given)

    monkeypatch.setattr(LiveContext, broken, wrong)

    async def run() -> None:
        mirror = Mirror()
        async with api() as kube, operator(namespace, mirror):
            await kube.create(datalayer(namespace, "odd", fail="raise"))

            async def tried_again() -> bool:
                return [key.name for key in mirror.runs].count("odd") > 1

            await eventually(tried_again)
            await kube.create(datalayer(namespace, "even"))
            await eventually(lambda: is_ready(kube, namespace, "even"))

    asyncio.run(run())
    assert "odd: its status could not be written" in caplog.text
    assert "an odd status" in caplog.text


def test_a_child_that_belongs_to_somebody_else_is_not_taken_over(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube, operator(namespace, Mirror()):
            theirs = service(namespace, "d")
            theirs["metadata"]["labels"] = {"app": "theirs"}
            before = await kube.create(theirs)
            await kube.create(datalayer(namespace, "d"))

            async def conflict() -> bool:
                return condition(await kube.get("Datalayer", namespace, "d")).get("reason") == "Conflict"

            await eventually(conflict)
            message = condition(await kube.get("Datalayer", namespace, "d"))["message"]
            assert message.startswith("Service d-server exists and belongs to somebody else: delete or rename it")
            assert versions([await kube.get("Service", namespace, "d-server")]) == versions([before])
            await kube.delete("Service", namespace, "d-server")
            await eventually(lambda: is_ready(kube, namespace, "d"))

    asyncio.run(run())


def test_one_that_hangs_is_ended_at_its_deadline_and_delays_nobody(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube, operator(namespace, Mirror(), workers=2, reconcile_deadline=1.5) as manager:
            await kube.create(datalayer(namespace, "slow", fail="hang"))
            for n in range(10):
                await kube.create(datalayer(namespace, f"d{n}"))
            for n in range(10):
                await eventually(lambda n=n: is_ready(kube, namespace, f"d{n}"), deadline=5)

            async def late() -> str | None:
                return condition(await kube.get("Datalayer", namespace, "slow")).get("message")

            assert await eventually(late, deadline=10) == "it was not done within 1.5 s"

            async def counted() -> bool:
                return 'reconciles_total{kind="Datalayer",result="timeout"}' in manager.metrics.page().decode()

            await eventually(counted, deadline=5)
            assert (await probe(manager.port, "/healthz"))[0] == 200

    asyncio.run(run())


def test_one_that_cannot_be_ended_fails_the_liveness_probe(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superduper_operator.core.engine.GRACE", 1.0)

    async def run() -> None:
        mirror = Mirror()
        async with api() as kube, operator(namespace, mirror, reconcile_deadline=0.5) as manager:
            await kube.create(datalayer(namespace, "stuck", fail="stubborn"))

            async def unwell() -> str | None:
                status, text = await probe(manager.port, "/healthz")
                return text if status == 503 else None

            text = await eventually(unwell)
            mirror.reasonable = True
            assert f"the reconcile of Datalayer {namespace}/stuck has been running for" in text
            await kube.delete("Datalayer", namespace, "stuck")

    asyncio.run(run())


def test_kuberay_is_noticed_when_it_comes_and_when_it_goes(
    namespace: str, kubernetes: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superduper_operator.core.watch.ABSENT_RETRY", 0.5)
    crd = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rayjobs.ray.io}
spec:
  group: ray.io
  scope: Namespaced
  names: {plural: rayjobs, singular: rayjob, kind: RayJob}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"""

    async def run() -> None:
        models = ModelMirror()
        async with api() as kube, operator(namespace, models):
            await kube.create(
                {
                    "apiVersion": "superduper.io/v1alpha1",
                    "kind": "Model",
                    "metadata": {"name": "m", "namespace": namespace},
                    "spec": {"datalayerRef": {"name": "d"}, "object": {"module": "builtins", "callable": "len"}},
                }
            )
            await eventually(lambda: asyncio.sleep(0, models.kuberay == [False]))
            try:
                await asyncio.to_thread(kubernetes.kubectl, "apply", "-f", "-", given=crd)
                await eventually(lambda: asyncio.sleep(0, models.kuberay[-1]), deadline=20)
            finally:
                await asyncio.to_thread(kubernetes.kubectl, "delete", "crd", "rayjobs.ray.io")
            await eventually(lambda: asyncio.sleep(0, not models.kuberay[-1]), deadline=30)

    asyncio.run(run())
