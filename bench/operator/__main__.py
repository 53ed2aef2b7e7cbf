"""``make bench-operator``: objects to Ready, writes after a restart, memory, and the way of a change to its child.

A real kube-apiserver on etcd and the operator as a process of its own. What it would wait for in a cluster is stood in
for: no kubelet runs, and one fast process answers for all datalayer servers. So this is what the operator itself costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.operator.fake_server import FakeServers
from tests.operator.running import datalayer, model, table
from tests.servers.apiserver import ApiServer, EtcdServer
from tests.servers.fleet import Fleet, Harbour

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "superduper-system"
SPACE = "bench"
PER_DATALAYER = 4
"""Tables of each Datalayer, and as many Models and one more, so that ten objects make a group."""


@dataclass
class Figures:
    """What was measured; targets stand in docs/bench-operator.md."""

    objects: int = 0
    applied_seconds: float = 0.0
    ready_seconds: float = 0.0
    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    restart_seconds: float = 0.0
    restart_writes: int = -1
    idle_writes: int = -1
    change_ms: list[float] = field(default_factory=list)

    def table(self) -> str:
        ordered = sorted(self.change_ms)
        p99 = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]
        rows = [
            (f"{self.objects} objects applied (kubectl's own time)", f"{self.applied_seconds:.1f} s", ""),
            ("all of them Ready, from the operator's start", f"{self.ready_seconds:.1f} s", "< 15 s"),
            ("operator's CPU time meanwhile", f"{self.cpu_seconds:.1f} s", ""),
            ("its memory (resident)", f"{self.rss_mb:.0f} MB", "< 150 MB at 5,000"),
            ("restart with all converged: until everything was looked at", f"{self.restart_seconds:.1f} s", ""),
            ("writes after the restart", str(self.restart_writes), "0"),
            ("writes in a minute of idling", str(self.idle_writes), "0"),
            ("a spec changes: its child is applied, median", f"{ordered[len(ordered) // 2]:.0f} ms", ""),
            (f"the same, p99 of {len(ordered)}", f"{p99:.0f} ms", "< 500 ms"),
        ]
        lines = ["| what | measured | target |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {what} | {got} | {bar} |" for what, got, bar in rows)])


@contextmanager
def fakes() -> Iterator[FakeServers]:
    """All datalayer servers, in a thread of this process."""
    servers, begun, loop = FakeServers(), threading.Event(), asyncio.new_event_loop()

    def work() -> None:
        loop.run_until_complete(servers.start())
        begun.set()
        loop.run_forever()
        loop.run_until_complete(servers.stop())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait(30)
    try:
        yield servers
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


class Operator:
    """The operator's process."""

    def __init__(self, server: ApiServer, servers: FakeServers, log: Path) -> None:
        environment = {
            **os.environ,
            "KUBECONFIG": str(server.kubeconfig),
            "SUPERDUPER_OPERATOR_NAMESPACE": SYSTEM,
            "SUPERDUPER_OPERATOR_SERVER_URL": servers.url,
            "SUPERDUPER_OPERATOR_PORT": "0",
            "SUPERDUPER_OPERATOR_LEASE_ENABLED": "false",
            "SUPERDUPER_OPERATOR_LOG_LEVEL": "WARNING",
        }
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "superduper_operator"], env=environment, stdout=self._log, stderr=self._log
        )

    def _stat(self) -> list[str]:
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        ticks = self._stat()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def rss(self) -> float:
        """Resident megabytes."""
        return int(self._stat()[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


class Watched:
    """What the API server says of our objects."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self._ready: dict[str, bool] = {}

    def follow(self) -> None:
        """Keep count of what is Ready, by watches: asking again and again would cost more than what is measured."""
        from kubernetes import client, config

        config.load_kube_config(str(self.server.kubeconfig))
        for plural in ("datalayers", "tables", "models"):
            threading.Thread(target=self._watch, args=(client.CustomObjectsApi(), plural), daemon=True).start()

    def _watch(self, api: Any, plural: str) -> None:
        from kubernetes import watch
        from urllib3.exceptions import HTTPError

        where = ("superduper.io", "v1alpha1", SPACE, plural)
        # It ends with the API server.
        with suppress(OSError, HTTPError):
            for event in watch.Watch().stream(api.list_namespaced_custom_object, *where, timeout_seconds=600):
                conditions = (event["object"].get("status") or {}).get("conditions", [])
                name = f"{plural}/{event['object']['metadata']['name']}"
                self._ready[name] = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def ready(self) -> int:
        return sum(list(self._ready.values()))

    def writes(self) -> int:
        """Requests of ours and of everybody that change something, Leases aside: the API server counts them."""
        total = 0
        for line in self.server.kubectl("get", "--raw", "/metrics").splitlines():
            writes = any(f'verb="{verb}"' in line for verb in ("APPLY", "PATCH", "POST", "PUT", "DELETE"))
            ours = any(
                f'group="{group}"' in line for group in ("superduper.io", "apps", "batch", "networking.k8s.io", "")
            )
            if line.startswith("apiserver_request_total") and writes and ours and 'code="2' in line:
                total += int(float(line.rsplit(" ", 1)[1]))
        return total


def objects(count: int) -> list[dict[str, Any]]:
    found = []
    for number in range(count // (2 * PER_DATALAYER + 2)):
        home = f"dl{number:03}"
        ref = {"datalayerRef": {"name": home}}
        found.append(datalayer(home))
        found += [table(f"{home}-t{n}", **ref, identifier=f"t{n}") for n in range(PER_DATALAYER)]
        for n in range(PER_DATALAYER + 1):
            predict = {"table": f"t{n % PER_DATALAYER}", "inputs": ["n"], "output": {"type": "int"}}
            found.append(model(f"{home}-m{n}", **ref, identifier=f"m{n}", predict=predict))
    return found


def until(what: str, look: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)


def quiet(watched: Watched, seconds: float) -> int:
    """Writes in that time."""
    before = watched.writes()
    time.sleep(seconds)
    return watched.writes() - before


def changes(server: ApiServer, homes: int, count: int) -> list[float]:
    """Milliseconds from a changed spec to the changed Deployment, as a watch sees both; one after the other."""
    from kubernetes import client, config, watch

    config.load_kube_config(str(server.kubeconfig))
    custom, apps = client.CustomObjectsApi(), client.AppsV1Api()
    found = []
    for number in range(count):
        name = f"dl{number % homes:03}"
        version = apps.list_namespaced_deployment(SPACE, limit=1).metadata.resource_version
        memory = f"{300 + number}Mi"
        body = {"spec": {"server": {"resources": {"requests": {"memory": memory}}}}}
        begun = time.perf_counter()
        custom.patch_namespaced_custom_object("superduper.io", "v1alpha1", SPACE, "datalayers", name, body)
        for event in watch.Watch().stream(
            apps.list_namespaced_deployment, SPACE, field_selector=f"metadata.name={name}-server",
            resource_version=version, timeout_seconds=30,
        ):  # fmt: skip
            if event["object"].spec.template.spec.containers[0].resources.requests.get("memory") == memory:
                found.append((time.perf_counter() - begun) * 1000)
                break
    return found


def measure(server: ApiServer, servers: FakeServers, count: int, log: Path) -> Figures:
    given, watched, figures = objects(count), Watched(server), Figures()
    figures.objects = len(given)
    begun = time.monotonic()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": given})
    server.kubectl("apply", "--server-side", "-n", SPACE, "-f", "-", given=text, deadline=300)
    figures.applied_seconds = time.monotonic() - begun
    watched.follow()
    # They are there before the operator is, so that it is measured and not kubectl, which takes one after the other.
    begun = time.monotonic()
    operator = Operator(server, servers, log)
    try:
        until("all Ready", lambda: watched.ready() == len(given), 300)
        figures.ready_seconds, figures.cpu_seconds = time.monotonic() - begun, operator.cpu
        time.sleep(5)
        figures.rss_mb = operator.rss
        figures.change_ms = changes(server, len(given) // (2 * PER_DATALAYER + 2), 200)
        time.sleep(15)
        figures.idle_writes = quiet(watched, 60)
    finally:
        operator.stop()
    before, puts = watched.writes(), sum(len(each.puts) for each in servers.datalayers.values())
    begun = time.monotonic()
    operator = Operator(server, servers, log)
    try:
        components = len(given) * (2 * PER_DATALAYER + 1) // (2 * PER_DATALAYER + 2)
        seen = lambda: sum(len(each.puts) for each in servers.datalayers.values()) - puts >= components  # noqa: E731
        until("everything looked at after the restart", seen, 300)
        figures.restart_seconds = time.monotonic() - begun
        time.sleep(10)
        figures.restart_writes = watched.writes() - before
    finally:
        operator.stop()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1000, metavar="N", help="in groups of ten (default: 1000)")
    count = parser.parse_args().objects
    harbour = Harbour()
    try:
        fleet = Fleet(harbour.root)
        fleet.server(EtcdServer)
        server = fleet.server(ApiServer)
        server.install_crds(ROOT / "crds")
        for name in (SYSTEM, SPACE):
            server.kubectl("create", "namespace", name)
        with fakes() as servers:
            print(measure(server, servers, count, harbour.root / "operator.log").table())
        print((harbour.root / "operator.log").read_text()[-2000:], file=sys.stderr)
    finally:
        harbour.close()


if __name__ == "__main__":
    main()
