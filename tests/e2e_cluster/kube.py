"""The cluster as a user has it: kubectl, helm and the `superduper` command, and waiting with a deadline."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from superduper import Datalayer, superduper
from superduper.cli.kubectl import PUBLIC, Kubectl

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[2]
OURS = "datalayers,datatypes,tables,models"
Manifest = dict[str, Any]


class Failed(AssertionError):
    """A command ended with an error: what it printed."""


def run(*command: str, stdin: str | None = None, seconds: float = 120, env: Mapping[str, str] | None = None) -> str:
    """What the command prints. Raises Failed, with all that it said."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(env or {})},
        cwd=REPOSITORY,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def eventually(what: str, look: Callable[[], T | None], *, seconds: float, see: Callable[[], object] = str) -> T:
    """The first answer of ``look`` that is neither None nor false. Fails with what ``see`` shows at the end."""
    end = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            found = look()
            if found:
                return found
            last = found
        except (Failed, subprocess.TimeoutExpired) as error:
            last = error
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:g} s: {what}; last seen: {last}\n{see()}")
        time.sleep(0.2)


@dataclass(frozen=True)
class Kube:
    """kubectl in one namespace."""

    namespace: str

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        return run("kubectl", "-n", self.namespace, *arguments, stdin=stdin, seconds=seconds)

    def apply(self, given: str | Path | Manifest | Iterable[Manifest], *options: str) -> str:
        """Apply a file, a folder, YAML text, or objects, as a user does: server-side, by the field manager of kubectl."""
        if isinstance(given, Path):
            return self("apply", "--server-side", *options, "-f", str(given))
        return self("apply", "--server-side", *options, "-f", "-", stdin=as_text(given))

    def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """The object, or None where there is none."""
        text = self("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, labels: str = "") -> list[Manifest]:
        items: list[Manifest] = json.loads(self("get", kind, "-o", "json", *(["-l", labels] if labels else [])))[
            "items"
        ]
        return items

    def wait_ready(self, kind: str, name: str, *, seconds: float = 120) -> Manifest:
        """The object, once it is Ready for its present generation."""

        def ready() -> Manifest | None:
            found = self.get(kind, name)
            return found if condition(found).get("status") == "True" and is_current(found) else None

        return eventually(f"{kind}/{name} Ready", ready, seconds=seconds, see=self.overview)

    def wait_reason(self, kind: str, name: str, *reasons: str, seconds: float = 60) -> str:
        """The message of the Ready condition, once its reason is one of these."""

        def stalled() -> str | None:
            found = condition(self.get(kind, name))
            return str(found.get("message") or " ") if found.get("reason") in reasons else None

        return eventually(f"{kind}/{name} {'|'.join(reasons)}", stalled, seconds=seconds, see=self.overview)

    def wait_succeeded(self, *, seconds: float = 120) -> Manifest:
        """The namespace's one RayJob, once KubeRay says that it SUCCEEDED; the rows may all be there before."""

        def succeeded() -> Manifest | None:
            [job] = self.list("rayjobs.ray.io")
            return job if job.get("status", {}).get("jobStatus") == "SUCCEEDED" else None

        return eventually("the RayJob SUCCEEDED", succeeded, seconds=seconds, see=self.overview)

    def wait_gone(self, kind: str, name: str, *, seconds: float = 60) -> None:
        eventually(
            f"{kind}/{name} gone",
            lambda: self.find(kind, name) is None,
            seconds=seconds,
            see=lambda: self.find(kind, name),
        )

    def overview(self) -> str:
        """What a person would look at when something does not come up."""
        parts = []
        for arguments in (
            ["get", f"{OURS},deployments,statefulsets,jobs,pods,pvc", "-o", "wide"],
            ["get", "events", "--sort-by=.lastTimestamp"],
        ):
            try:
                parts.append(self(*arguments)[-6000:])
            except (Failed, subprocess.TimeoutExpired) as error:
                parts.append(str(error)[-2000:])
        for each in self.list(OURS):
            found = condition(each)
            parts.append(f"{each['kind']}/{each['metadata']['name']}: {found.get('reason')}: {found.get('message')}")
        return "\n".join(parts)

    def superduper(self, *arguments: str, stdin: str | None = None, seconds: float = 180) -> str:
        """The command line of one who has nothing but kubectl's access: what it prints."""
        command = str(Path(sys.executable).parent / "superduper")
        return run(command, "-n", self.namespace, *arguments, stdin=stdin, seconds=seconds)

    def rows(self, datalayer: str, table: str, *options: str) -> dict[Any, dict[str, Any]]:
        """All rows by key, as `superduper query --json` prints them."""
        text = self.superduper("--datalayer", datalayer, "query", table, "--limit", "0", "--json", *options)
        return {row["id"]: row for row in map(json.loads, text.splitlines())}

    def token(self, datalayer: str) -> str:
        """The datalayer's token, read as the user who may read Secrets here."""
        name = self.get("datalayer", datalayer)["status"]["tokenSecret"]
        return base64.b64decode(self.get("secret", name)["data"]["token"]).decode()

    @contextmanager
    def opened(self, datalayer: str, home: Path) -> Iterator[Datalayer]:
        """A connection from Python, through a tunnel as the command line makes one."""
        with (
            Kubectl(self.namespace).forwarded(f"service/{datalayer}-server", PUBLIC) as port,
            superduper(f"http://127.0.0.1:{port}", token=self.token(datalayer), home=str(home)) as db,
        ):
            yield db


def as_text(given: str | Manifest | Iterable[Manifest]) -> str:
    """As JSON: kubectl's YAML takes a field that is called n for the word no."""
    if isinstance(given, str):
        return given
    return "\n".join(json.dumps(each) for each in ([given] if isinstance(given, dict) else given))


def condition(found: Manifest, kind: str = "Ready") -> Manifest:
    """The condition of that type, empty where there is none."""
    return next((c for c in found.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def is_current(found: Manifest) -> bool:
    """Whether the status is about the spec as it is now."""
    return bool(found.get("status", {}).get("observedGeneration") == found["metadata"].get("generation"))


def helm(*arguments: str, seconds: float = 180) -> str:
    return run("helm", *arguments, seconds=seconds)
