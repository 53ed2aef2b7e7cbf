"""Measure, print one table: ours beside the raw floor of the same run, and whether each bar holds.

    make bench                                   # 4 to 5 minutes, on tmpfs
    make bench BENCH='--dir . --repeat 5'        # on the disk of this folder
    make bench BENCH='--only small --repeat 9'   # scenarios whose name begins so
    make bench BENCH='--peers'                   # also Lance, Pixeltable, superduper 0.10 (see bench/peers.py)
    make bench BENCH='--only disk --disk /data'  # what a user waits for on that disk
    make bench BENCH='--write docs/bench.md'     # put the table into the document

Each scenario runs in a fresh process, systems in turn, so that whatever else the machine does hits all alike; of
several runs the least counts. Compare ratios; read processor seconds too where the machine is busy. The floor is
``bench/floor.py``: pickle, SHA-1, a file per payload and the bare databackend, reads verified.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import report
from bench.measure import Measured
from bench.report import Key

LIMIT = 220.0
"""Seconds after which no further run is begun."""
TIMEOUT = 120.0
"""Seconds for one scenario."""
BEGIN, END = "<!-- measured -->", "<!-- end -->"


@dataclass(frozen=True)
class Planned:
    """A scenario with its arguments, for some systems."""

    name: str
    scenario: str
    systems: tuple[str, ...]
    arguments: tuple[str, ...]
    repeat: int
    """At the least; ``--repeat`` asks for more."""
    disk: bool
    """In the folder of ``--disk``, not in that of ``--dir``."""


def _planned(
    name: str, scenario: str, systems: str, arguments: str = "", repeat: int = 3, *, disk: bool = False
) -> Planned:
    return Planned(name, scenario, tuple(systems.split()), tuple(arguments.split()), repeat, disk)


PLAN = [
    _planned("import", "load", "ours", repeat=5),
    _planned("large sqlite", "blobs", "floor ours", "--n 1000 --size 102400", 5),
    _planned("large mongomock", "blobs", "floor ours", "--n 1000 --size 102400 --backend mongomock", 5),
    _planned("small", "blobs", "inline floor ours", "--n 10000 --size 1000 --plain", 5),
    _planned("lazy large", "some", "floor ours", "--n 1000 --size 100000"),
    _planned("lazy small", "some", "floor ours", "--n 10000 --size 1000"),
    _planned("listener", "listen", "floor ours", "--n 10000"),
    _planned("pass", "sweep", "floor ours", "--n 1000 --size 1000000", 2),
    _planned("long pass", "sweep", "ours", "--n 10000 --size 1000000 --distinct 200", 1),
    _planned("disk small", "blobs", "floor ours", "--n 10000 --size 1000 --plain", disk=True),
    _planned("disk large", "blobs", "floor ours", "--n 1000 --size 100000 --plain", disk=True),
    _planned("vectorised local", "vectorised", "floor ours", "--n 100000"),
    _planned("vectorised ray", "vectorised", "floor ours", "--n 100000 --compute ray"),
    _planned("scale 1,000", "scale", "ours", "--n 1000"),
    _planned("scale 10,000", "scale", "ours", "--n 10000"),
    _planned("scale 100,000", "scale", "ours", "--n 100000"),
]


class Runs:
    """Runs scenarios and keeps the least of each figure."""

    def __init__(self, folder: Path, disk: Path) -> None:
        self.folder, self.disk = folder, disk
        self.results: dict[Key, Measured] = {}
        self.began = time.monotonic()

    def run(self, planned: Planned, system: str) -> None:
        """Once, in a fresh process; the failed scenario is named and has no figures."""
        if planned.scenario != "sweep":
            self._child(planned, system, planned.scenario, ["--dir", str(self.disk if planned.disk else self.folder)])
            return
        with tempfile.TemporaryDirectory(prefix="bench-", dir=self.folder) as root:
            if self._child(planned, system, "write", ["--root", root]):
                self._child(planned, system, "sweep", ["--root", root])

    def _child(self, planned: Planned, system: str, scenario: str, place: list[str]) -> bool:
        command = [sys.executable, "-m", "bench.scenarios", scenario, system, *planned.arguments, *place]
        here = Path(__file__).parent.parent
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SUPERDUPER_")}
        environment = {**kept, "PYTHONPATH": str(here)}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=here, env=environment
            )
        except subprocess.TimeoutExpired:
            print(f"{planned.name}, {system}: not done after {TIMEOUT:.0f} s", file=sys.stderr)
            return False
        if done.returncode:
            print(f"{planned.name}, {system}: failed\n{done.stderr}", file=sys.stderr)
            return False
        for line in done.stdout.splitlines():
            self.keep(planned.name, system, Measured(**json.loads(line)))
        return True

    def keep(self, name: str, system: str, found: Measured) -> None:
        """The least of the times; the most of the growth."""
        key = (name, system, found.phase)
        known = self.results.get(key, found)
        self.results[key] = Measured(
            found.phase,
            min(known.seconds, found.seconds),
            min(known.cpu, found.cpu),
            max(known.growth, found.growth),
        )

    def turns(self, plan: list[Planned], repeat: int) -> Iterator[tuple[Planned, str]]:
        """Every scenario once, then again and again, until all are done or the time is over."""
        for turn in range(max(repeat, *(planned.repeat for planned in plan))):
            for planned in plan:
                for system in planned.systems if turn < max(repeat, planned.repeat) else ():
                    if turn and repeat == 0 and time.monotonic() - self.began > LIMIT:
                        print("the time is over: fewer runs than planned", file=sys.stderr)
                        return
                    yield planned, system


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dir", type=Path, help="where to write; default: /dev/shm where there is one")
    parser.add_argument(
        "--disk",
        type=Path,
        default=Path.home(),
        help="where to write what is measured on a disk; default: the home folder",
    )
    parser.add_argument(
        "--repeat", type=int, default=0, help="runs of each scenario at the least, without a time limit"
    )
    parser.add_argument("--only", default="", help="scenarios whose names begin so: " + ", ".join(p.name for p in PLAN))
    parser.add_argument("--peers", action="store_true", help="also run peers, in environments made for them")
    parser.add_argument("--shared", type=Path, default=Path("../shared/bench"), help="where the peers' scripts are")
    parser.add_argument("--write", type=Path, help="a document to put the table into, between its two marks")
    options = parser.parse_args()
    folder = options.dir or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir()))
    plan = [planned for planned in PLAN if planned.name.startswith(options.only)]
    if not plan:
        parser.error(f"no scenario begins with {options.only!r}")
    with tempfile.TemporaryDirectory(prefix="superduper-bench-", dir=options.disk) as disk:
        runs = Runs(folder.resolve(), Path(disk).resolve())
        for planned, system in runs.turns(plan, options.repeat):
            print(f"{planned.name}: {system}", file=sys.stderr)
            runs.run(planned, system)
        if options.peers:
            from bench.peers import run as run_peers

            run_peers(options.shared.resolve(), runs)
        text = f"{_conditions(runs)}\n\n{report.markdown(report.lines(runs.results))}"
    print(text)
    if options.write:
        _write(options.write, text)


def _conditions(runs: Runs) -> str:
    """When and on what."""
    kind = f"{_filesystem(runs.folder)} (the disk: {_filesystem(runs.disk)})"
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} processors "
        f"({_processor()}), {size:.0f} GB, {kind}, load {load:.1f}; the least of several runs."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    stat = shutil.which("stat")
    if stat is None:
        return "an unknown file system"
    return subprocess.run([stat, "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout.strip()


def _write(path: Path, text: str) -> None:
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path}: the table goes between the lines {BEGIN} and {END}; write them where it shall stand")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    main()
