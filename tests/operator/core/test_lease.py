"""Two replicas and one Lease, as processes on a real API server."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from superduper_operator.core.api import Api
from superduper_operator.core.lease import Lease, LeaseLost, Terms
from tests.operator.core.conftest import Start
from tests.operator.core.harness import Manifest, api, condition, eventually
from tests.operator.core.mirror import datalayer


async def holder(kube: Api, namespace: str) -> str:
    spec: Manifest = (await kube.get("Lease", namespace, "superduper-operator"))["spec"]
    return str(spec.get("holderIdentity") or "").partition("_")[0]


async def works(kube: Api, namespace: str, name: str) -> None:
    """The leader, whoever it is, brings an object to Ready."""
    await kube.create(datalayer(namespace, name))

    async def ready() -> bool:
        return condition(await kube.get("Datalayer", namespace, name)).get("status") == "True"

    await eventually(ready)


async def stands_by(log: Path) -> None:
    await eventually(lambda: asyncio.sleep(0, "standing by: first" in log.read_text()), deadline=60)


def test_another_replica_works_within_20_seconds_of_the_leaders_sudden_death(
    namespace: str, start: Start, tmp_path: Path
) -> None:
    async def run() -> None:
        async with api() as kube:
            first = start("first")
            await eventually(lambda: _is(kube, namespace, "first"))
            start("second")
            await stands_by(tmp_path / "second.log")
            await works(kube, namespace, "before")
            first.send_signal(signal.SIGKILL)
            began = time.monotonic()
            await kube.create(datalayer(namespace, "after"))

            async def ready() -> bool:
                return condition(await kube.get("Datalayer", namespace, "after")).get("status") == "True"

            await eventually(ready, deadline=20)
            print(f"taken over and converged after {time.monotonic() - began:.1f} s")
            assert await holder(kube, namespace) == "second"
            assert time.monotonic() - began > 8, "nobody may lead while the first could still believe that it does"

    asyncio.run(run())


def test_a_leader_that_is_asked_to_end_gives_the_lease_back_and_ends_well(
    namespace: str, start: Start, tmp_path: Path
) -> None:
    async def run() -> None:
        async with api() as kube:
            first = start("first")
            await eventually(lambda: _is(kube, namespace, "first"))
            start("second")
            await stands_by(tmp_path / "second.log")
            await works(kube, namespace, "before")
            began = time.monotonic()
            first.send_signal(signal.SIGTERM)
            # A lease that is not given back runs out 13 s after this at the earliest.
            await eventually(lambda: _is(kube, namespace, "second"), deadline=12)
            print(f"handed over after {time.monotonic() - began:.1f} s")
            assert await asyncio.to_thread(first.wait, 20) == 0
            await works(kube, namespace, "after")

    asyncio.run(run())


def test_a_leader_whose_lease_was_taken_ends_with_an_error(namespace: str, start: Start, tmp_path: Path) -> None:
    async def run() -> None:
        async with api() as kube:
            first = start("first")
            await eventually(lambda: _is(kube, namespace, "first"))
            await kube.merge("Lease", namespace, "superduper-operator", {"spec": {"holderIdentity": "usurper"}})
            assert await asyncio.to_thread(first.wait, 20) == 1
            assert "usurper holds the lease now" in (tmp_path / "first.log").read_text()
            assert await holder(kube, namespace) == "usurper"

    asyncio.run(run())


def test_a_lease_is_taken_by_seen_changes_and_never_by_clocks(namespace: str) -> None:
    """The holder's clock is an hour behind: its timestamps look expired, and its renewals are seen all the same."""

    async def run() -> None:
        async with api() as kube:
            now = [1000.0]
            theirs = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": "l", "namespace": namespace},
                "spec": {
                    "holderIdentity": "other",
                    "leaseDurationSeconds": 15,
                    "renewTime": "2020-01-01T00:00:00.000000Z",
                },
            }
            await kube.create(theirs)
            ours = Lease(kube, namespace, "l", "me", Terms(), clock=lambda: now[0])
            for second in range(4):
                now[0] += 10
                assert not await ours._try()
                when = f"2020-01-01T00:00:{second:02d}.000000Z"
                await kube.merge("Lease", namespace, "l", {"spec": {"renewTime": when}})
            assert not await ours._try()
            now[0] += 14
            assert not await ours._try()
            now[0] += 2
            assert await ours._try()
            assert (await kube.get("Lease", namespace, "l"))["spec"]["leaseTransitions"] == 1

    asyncio.run(run())


def test_a_lease_that_somebody_deletes_is_made_again_by_its_holder(namespace: str) -> None:
    async def run() -> None:
        async with api() as kube:
            ours = Lease(kube, namespace, "l", "me", Terms(duration=5, renew_deadline=3, retry=0.1))
            await ours.acquire()
            keeping = asyncio.create_task(ours.keep())
            await kube.delete("Lease", namespace, "l")

            async def back() -> bool:
                return bool((await kube.get("Lease", namespace, "l"))["spec"]["holderIdentity"] == ours.holder)

            await eventually(back, deadline=5)
            assert not keeping.done()
            await kube.merge("Lease", namespace, "l", {"spec": {"holderIdentity": "other"}})
            with pytest.raises(LeaseLost, match="other holds the lease now"):
                await asyncio.wait_for(keeping, 5)

    asyncio.run(run())


async def _is(kube: Api, namespace: str, name: str) -> bool:
    return await holder(kube, namespace) == name
