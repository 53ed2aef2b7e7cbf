"""The operator, running in a thread against a real API server, with servers of datalayers stood in for."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from superduper_operator import runtime_client
from superduper_operator.kinds import reconcilers
from superduper_operator.manager import Manager
from superduper_operator.settings import Settings
from tests.operator.fake_server import FakeDatalayer, FakeServers
from tests.servers.apiserver import ApiServer

T = TypeVar("T")
Manifest = dict[str, Any]
SYSTEM = "superduper-system"
DEADLINE = 20.0


@contextmanager
def operator(server: ApiServer, servers: FakeServers) -> Iterator[None]:
    """KUBECONFIG must name the server."""
    begun, failed = threading.Event(), []
    stop: list[Callable[[], None]] = []

    async def run() -> None:
        await servers.start()
        settings = Settings(
            namespace=SYSTEM, lease_enabled=False, port=0, poll=0.5, server_url=servers.url,
            runtime_image="example.org/runtime:1", runtime_ray_image="example.org/runtime-ray:1",
        )  # fmt: skip
        task = asyncio.ensure_future(Manager(settings, reconcilers(), runtime_client.connect).run())
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        begun.set()
        try:
            await task
        except asyncio.CancelledError:
            pass
        finally:
            await runtime_client.close()
            await servers.stop()
            # TLS connections end a moment after they were closed.
            await asyncio.sleep(0.5)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            begun.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait(30)
    try:
        yield
    finally:
        for each in stop:
            each()
        thread.join(30)
    if failed:
        raise failed[0]


class Cluster:
    """kubectl in one namespace, and what the datalayers' servers there answer."""

    def __init__(self, server: ApiServer, servers: FakeServers, namespace: str) -> None:
        self.server, self.servers, self.namespace = server, servers, namespace

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self.server.kubectl("-n", self.namespace, *arguments, given=given)

    def apply(self, *objects: Manifest) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)

    def find(self, kind: str, name: str) -> Manifest | None:
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def get(self, kind: str, name: str) -> Manifest:
        found = self.find(kind, name)
        assert found is not None, f"no {kind} {name}"
        return found

    def list(self, kind: str, labels: str = "") -> list[Manifest]:
        found: list[Manifest] = json.loads(
            self.kubectl("get", kind, "-o", "json", *(["-l", labels] if labels else []))
        )["items"]
        return found

    def set_status(self, kind: str, name: str, status: Manifest) -> None:
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def delete(self, kind: str, name: str) -> None:
        self.kubectl("delete", kind, name, "--wait=false", "--ignore-not-found")

    def annotate(self, kind: str, name: str, text: str) -> None:
        self.kubectl("annotate", kind, name, text, "--overwrite")

    def of(self, name: str) -> FakeDatalayer:
        return self.servers.of(self.namespace, name)

    def condition(self, kind: str, name: str) -> Manifest:
        return self.condition_of(self.find(kind, name) or {})

    def condition_of(self, found: Manifest) -> Manifest:
        conditions = (found.get("status") or {}).get("conditions") or []
        return next((each for each in conditions if each["type"] == "Ready"), {})

    def until(self, what: str, look: Callable[[], T | None], seconds: float = DEADLINE) -> T:
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            last = look()
            if last:
                return last
            time.sleep(0.05)
        events = self.kubectl("get", "events", "-o", "custom-columns=O:.involvedObject.name,R:.reason,M:.message")
        raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {last!r}\n{events}")

    def reason(self, kind: str, name: str, reason: str, seconds: float = DEADLINE) -> str:
        """The message of Ready, once its reason is that."""

        def look() -> str | None:
            found = self.condition(kind, name)
            return (found.get("message") or " ") if found.get("reason") == reason else None

        return self.until(f"{kind} {name}: {reason} (now {self.condition(kind, name)})", look, seconds)

    def ready(self, kind: str, name: str) -> Manifest:
        def look() -> Manifest | None:
            found = self.get(kind, name)
            current = (found.get("status") or {}).get("observedGeneration") == found["metadata"]["generation"]
            return found if current and self.condition_of(found).get("status") == "True" else None

        return self.until(f"{kind} {name} Ready", look)

    def gone(self, kind: str, name: str, seconds: float = DEADLINE) -> None:
        self.until(f"{kind} {name} gone", lambda: self.find(kind, name) is None, seconds)

    def event(self, name: str, reason: str) -> str:
        """The message of an event about an object."""

        def look() -> str | None:
            for each in self.list("events"):
                if each["involvedObject"]["name"] == name and each["reason"] == reason:
                    return str(each["message"])
            return None

        return self.until(f"an event {reason} about {name}", look)


def datalayer(name: str = "shop", **spec: Any) -> Manifest:
    base = {
        "databackend": {"provision": {"engine": "sqlite"}},
        "artifactStore": {"provision": {"engine": "filesystem"}},
    }
    return _object("Datalayer", name, {**base, **spec})


def table(name: str = "numbers", **spec: Any) -> Manifest:
    return _object("Table", name, {"datalayerRef": {"name": "shop"}, "fields": {"n": {"type": "int"}}, **spec})


def model(name: str = "adds", source: str = "def run(n):\n    return n + 1\n", **spec: Any) -> Manifest:
    base = {
        "datalayerRef": {"name": "shop"}, "object": {"callable": "run", "source": source},
        "predict": {"table": "numbers", "inputs": ["n"], "output": {"type": "int"}}, "compute": {"engine": "job"},
    }  # fmt: skip
    return _object("Model", name, {**base, **spec})


def _object(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "superduper.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
