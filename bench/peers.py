"""The peers, by the scripts of ``../shared/bench``, each in an environment made for it: ``make bench BENCH=--peers``.

Environments are made once, by pip, below ``BENCH_PEERS`` (default: ``~/.cache/superduper-bench``), and used
again; remove the folder to make them anew. Lance's (``pylance``) takes a minute and 400 MB, Pixeltable's a
minute and 700 MB (a PostgreSQL server is among it), that of superduper 0.10 (``superduper-framework``) some minutes and
700 MB. A peer that cannot be installed or run is named, with the reason, and its lines of the table say that they were
not measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.measure import Measured
from bench.run import Runs

PACKAGES = {
    "lance": ["pylance", "pyarrow", "numpy"],
    "pixeltable": ["pixeltable"],
    "superduper010": ["superduper-framework==0.10.0", "superduper-mongodb==0.10.0", "superduper-sql==0.10.0"],
}
INSTALL_SECONDS, RUN_SECONDS = 900, 300


def run(scripts: Path, runs: Runs) -> None:
    """Measure each peer and keep its figures beside ours."""
    if not (scripts / "peer_dataplane.py").is_file():
        print(f"{scripts}: the peers' scripts are not there; name their folder by --shared", file=sys.stderr)
        return
    if (python := _environment("lance")) is not None:
        _lance(python, scripts / "peer_dataplane.py", runs)
    if (python := _environment("pixeltable")) is not None:
        _pixeltable(python, scripts / "peer_dataplane.py", runs)
    if (python := _environment("superduper010")) is not None:
        _superduper(python, scripts / "peer_superduper.py", runs)


def _environment(name: str) -> str | None:
    folder = Path(os.environ.get("BENCH_PEERS", Path.home() / ".cache/superduper-bench")) / name
    python, done = folder / "bin/python", folder / "installed"
    if done.is_file():
        return str(python)
    print(f"{name}: installing {' '.join(PACKAGES[name])} into {folder}", file=sys.stderr)
    steps = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]],
    ]
    for step in steps:
        if _output(step, INSTALL_SECONDS) is None:
            return None
    done.touch()
    return str(python)


def _lance(python: str, script: Path, runs: Runs) -> None:
    folder = str(runs.folder)
    for name, n, size in (("lazy large", 1000, 100_000), ("lazy small", 10_000, 1000)):
        command = ["blobs", "--n", n, "--size", size, "--systems", "lance", "--dir", folder]
        for line in _lines([python, script, *command]):
            if line["phase"] == "read_1pct":
                runs.keep(name, "Lance", Measured("lazy", line["s_min"], line["s_min"]))
    command = ["stream", "--n", 1000, "--size", 1_000_000, "--systems", "lance", "--dir", folder]
    for line in _lines([python, script, *command]):
        if line["phase"] == "pass":
            runs.keep("pass", "Lance", Measured("pass", line["s_min"], line["s_min"], round(line["peak_mb"] * 1e6)))


def _pixeltable(python: str, script: Path, runs: Runs) -> None:
    phases = {"write": "insert", "read_all": "read"}
    for name, n, size in (("disk small", 10_000, 1000), ("disk large", 1000, 100_000)):
        command = ["blobs", "--n", n, "--size", size, "--batch", n, "--systems", "pixeltable", "--dir", runs.disk]
        for line in _lines([python, script, *command]):
            if line["phase"] in phases:
                runs.keep(name, "Pixeltable", Measured(phases[line["phase"]], line["s_min"], line["s_min"]))


def _superduper(python: str, script: Path, runs: Runs) -> None:
    phases = {"insert": "insert", "read_eager": "read"}
    for backend in ("sqlite", "mongomock"):
        command = ["--n", 1000, "--size", 102_400, "--backend", backend, "--scenario", "eager", "--repeat", 3]
        for line in _lines([python, script, *command, "--workdir", runs.folder]):
            if line.get("phase") in phases and "error" not in line:
                found = Measured(phases[line["phase"]], line["seconds"], line["cpu_s"])
                runs.keep(f"large {backend}", "superduper 0.10", found)


def _lines(command: Sequence[Any]) -> Iterator[dict[str, Any]]:
    text = _output([str(part) for part in command], RUN_SECONDS)
    for line in (text or "").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _output(command: list[str], seconds: float) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command)}: not done after {seconds:.0f} s", file=sys.stderr)
        return None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{' '.join(command)}: {reason}", file=sys.stderr)
        return None
    return done.stdout
