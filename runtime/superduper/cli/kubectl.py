"""What kubectl is asked: objects, one Secret's token, a way to a server. With the user's own context and rights."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from superduper.errors import AccessDenied, NotFound, StoreError, SuperduperError, Unreachable

DEADLINE = 20.0
"""Seconds that a tunnel has to come up."""
GROUP = "superduper.io"
PUBLIC, PLAIN = 8000, 8001
"""Ports of a server: what its Service shows, and the same without TLS for those who reach the pod itself."""


class NoCluster(SuperduperError):
    """There is no kubectl, or none that finds a cluster."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace; None is that of its context."""

    namespace: str | None = None

    def objects(self, kinds: str, name: str | None = None) -> list[dict[str, Any]]:
        """The objects of those kinds, or the one of that name. Raises NotFound, AccessDenied, Unreachable, NoCluster."""
        said = json.loads(self._run("get", kinds, *([name] if name else []), "-o", "json"))
        found: list[dict[str, Any]] = said["items"] if said.get("kind") == "List" else [said]
        return found

    def secret(self, name: str, key: str) -> str:
        """One value of a Secret. Raises NotFound, AccessDenied."""
        said = json.loads(self._run("get", "secret", name, "-o", "json"))
        data = said.get("data") or {}
        if key not in data:
            raise NotFound(f"the Secret {name!r} has no key {key!r}: delete it, and the operator makes it anew")
        return base64.b64decode(data[key]).decode().strip()

    def place(self) -> str:
        """The namespace in words."""
        return f"namespace {self.namespace!r}" if self.namespace else "the namespace of kubectl's context"

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to that port of a Service or Deployment, for as long as the block runs."""
        command = self._command("port-forward", "--address", "127.0.0.1", target, f":{port}")
        with tempfile.TemporaryFile("w+") as words:
            process = subprocess.Popen(  # noqa: S603 - kubectl itself, with words that are no options
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, start_new_session=True
            )
            try:
                yield self._port(process, words, target)
            finally:
                _end(process)

    def _port(self, process: subprocess.Popen[bytes], words: Any, target: str) -> int:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        said, end = b"", time.monotonic() + DEADLINE
        while time.monotonic() < end:
            said += process.stdout.read() or b""
            if found := re.search(rb"Forwarding from 127\.0\.0\.1:(\d+)", said):
                return int(found[1])
            if process.poll() is not None:
                words.seek(0)
                raise _refused(words.read(), f"port-forward {target}")
            time.sleep(0.02)
        raise Unreachable(
            f"kubectl port-forward {target} found no way within {DEADLINE:.0f} s; check that its pod runs"
        )

    def _run(self, *words: str) -> str:
        done = subprocess.run(  # noqa: S603 - as above
            self._command(*words, "--request-timeout=15s"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise _refused(done.stderr, " ".join(words[:3]))
        return done.stdout

    def _command(self, *words: str) -> list[str]:
        program = shutil.which("kubectl")
        if program is None:
            raise NoCluster("kubectl is not installed; install it, or give the server's address with --uri and --token")
        return [program, *([] if self.namespace is None else ["--namespace", self.namespace]), *words]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


_KINDS: tuple[tuple[str, type[SuperduperError], str], ...] = (
    ("(Forbidden)", AccessDenied, "; ask for that right, or give the server's address with --uri and --token"),
    ("Unauthorized", AccessDenied, "; log in to the cluster again"),
    ("must be logged in", AccessDenied, "; log in to the cluster again"),
    (
        "the server doesn't have a resource type",
        NotFound,
        "; superduper is not installed in this cluster (helm install superduper …)",
    ),
    ("(NotFound)", NotFound, ""),
    ("no configuration has been provided", NoCluster, "; set KUBECONFIG"),
    ("localhost:8080", NoCluster, "; set KUBECONFIG"),
    ("current-context", NoCluster, "; choose a context: kubectl config use-context NAME"),
    ("does not exist", NoCluster, ""),
    ("Unable to connect", Unreachable, "; check that the cluster runs, and KUBECONFIG"),
    ("was refused", Unreachable, "; check that the cluster runs, and KUBECONFIG"),
    ("imeout", Unreachable, "; check that the cluster runs, and KUBECONFIG"),
    ("pod is not running", Unreachable, "; kubectl get pods shows why"),
)


def _refused(said: str, what: str) -> SuperduperError:
    """What kubectl said, as an error of ours."""
    lines = [line for line in said.strip().splitlines() if not re.match(r"[EWI]\d{4} ", line)] or [said.strip()]
    text = lines[-1].removeprefix("error: ") or "it said nothing"
    for sign, kind, remedy in _KINDS:
        if sign in said:
            return kind(f"kubectl {what}: {text}{remedy}")
    return StoreError(f"kubectl {what}: {text}")
