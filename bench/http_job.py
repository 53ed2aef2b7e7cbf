"""One model's whole work, its stores behind a server and beside it: what each costs in processor time and requests.

The digits of ``examples/11-cluster-sqlite``: 1,797 images, each an object of the artifact store. A job of its own process
trains on them, predicts them and measures. Embedded, it opens copies of the same SQLite file and folder itself.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.integration.server.served import TOKEN, Served, wait_for
from tests.servers.base import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "11-cluster-sqlite"
ROWS, MODEL, TIMES = 1797, "classifier", 3
WORK = ("work", MODEL)
READ = ("query", "digits", "--outputs", MODEL, "--limit", "0", "--json")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds of the job and of the server together, and the requests between them."""

    cpu: float
    requests: int = 0


def costs(folder: Path) -> dict[str, tuple[Cost, Cost]]:
    """By what is done: embedded, and over HTTP. Medians of the processor time of three, each from the start."""
    runs = [_once(_made(folder / str(number))) for number in range(TIMES)]
    return {
        what: (_median([run[what][0] for run in runs]), _median([run[what][1] for run in runs])) for what in runs[0]
    }


def _median(of: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.cpu for cost in of), of[0].requests)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _once(folder: Path) -> dict[str, tuple[Cost, Cost]]:
    copy = _made(folder / "copy")
    served = Served(folder, COMPUTE="job", SERVE_SCAN_SECONDS="3").start().ready()
    try:
        _fill(served)
        for file in folder.glob("d.db*"):
            shutil.copy(file, copy)
        shutil.copytree(folder / "artifacts", copy / "artifacts")
        embedded = _settings(copy, f"sqlite:///{copy}/d.db", f"filesystem://{copy}/artifacts")
        remote = _settings(folder, served.urls[0], served.urls[0])
        return {
            "a job: trained, 1,797 predicted, measured": (_ran(WORK, embedded), _ran(WORK, remote, served)),
            "the same job again, with nothing left to do": (_ran(WORK, embedded), _ran(WORK, remote, served)),
            "query of all rows with outputs": (
                _ran(("--uri", embedded["SUPERDUPER_DATABACKEND"], *READ), embedded),
                _ran(("--uri", served.urls[0], *READ), remote, served),
            ),
        }
    finally:
        served.stop()


def _fill(served: Served) -> None:
    """Give the server the example's objects, and wait until its rows are in."""
    for manifest in _manifests():
        path = f"/v1/objects/{manifest['kind']}/{manifest['metadata']['name']}"
        served.client.put(path, json=manifest).raise_for_status()
    wait_for("the rows", lambda: served.told("Table", "digits")["status"].get("rows") == ROWS, seconds=120)
    wait_for("a job to do", lambda: (served.told("Model", MODEL)["work"] or {}).get("by") == "job")


def _manifests() -> Iterator[Mapping[str, dict[str, str]]]:
    for name in ("table.yaml", "model.yaml"):
        yield from yaml.safe_load_all((EXAMPLE / name).read_text())


def _settings(folder: Path, rows: str, artifacts: str) -> dict[str, str]:
    given = {
        "DATABACKEND": rows, "METADATA": rows, "ARTIFACT_STORE": artifacts,
        "TOKEN": TOKEN, "COMPUTE": "local", "HOME": str(folder / "job"),
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUPERDUPER_")}
    return kept | {f"SUPERDUPER_{name}": value for name, value in given.items()}


def _ran(command: Sequence[str], environment: dict[str, str], served: Served | None = None) -> Cost:
    """What one command costs, the server's share included."""
    before, asked = (_cpu(served), _requests(served)) if served is not None else (0.0, 0)
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen([sys.executable, "-m", "superduper", *command], env=environment, stdout=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"superduper {' '.join(command)} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    if served is None:
        return Cost(cpu)
    time.sleep(0.1)  # what the server counts of the last request, it counts after its answer
    return Cost(cpu + _cpu(served) - before, _requests(served) - asked - 1)


def _cpu(served: Served) -> float:
    assert served.process is not None
    fields = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _requests(served: Served) -> int:
    """Requests that the server has answered, this one not among them."""
    text = served.client.get("/metrics").raise_for_status().text
    return round(
        sum(float(number) for number in re.findall(r"^superduper_requests_total\{.*\} (\S+)$", text, re.MULTILINE))
    )
