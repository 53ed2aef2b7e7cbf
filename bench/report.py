"""The table: each row a bar of issue and design, what was measured, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measure import Measured

Key = tuple[str, str, str]
"""Scenario (as ``run.PLAN`` names it), system, phase."""
Results = Mapping[Key, Measured]
Unit = Literal["ms", "MB", "MB/s", "µs/row"]


@dataclass(frozen=True)
class Line:
    """One row. ``ratio`` is ours by what it is held against; ``holds`` is None where that was not measured."""

    what: str
    ours: str
    against: str
    ratio: float | None
    bar: str
    holds: bool | None
    cpu: float

    def cells(self) -> list[str]:
        """As printed."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        holds = {True: "yes", False: "**no**", None: "not measured"}[self.holds]
        return [self.what, self.ours, self.against, ratio, self.bar, holds, f"{self.cpu:.3f}"]


HEAD = ["what", "ours", "beside", "ratio", "bar", "holds", "our processor s"]


def lines(results: Results) -> list[Line]:
    """All rows whose scenarios were run."""
    made = [_beside(results, *row) for row in _BESIDE]
    made += [_on_disk(results, *row) for row in _DISK]
    made += [_lazy(results, scenario, what) for scenario, what in _LAZY]
    made += [_within(results, *row) for row in _WITHIN]
    made += [_memory(results, scenario, what) for scenario, what in _PASSES]
    made += [_rows(results, *row) for row in _VECTORISED]
    made += [_rate(results), _resident(results)]
    made += [_grown(results, phase, what) for phase, what in _PHASES]
    return [line for line in made if line is not None]


_BESIDE = [
    ("large sqlite", "insert", "floor", "insert 1,000 × 100 KB, SQLite", 1.5),
    ("large sqlite", "read", "floor", "read 1,000 × 100 KB, SQLite", 1.5),
    ("large mongomock", "insert", "floor", "insert 1,000 × 100 KB, mongomock", 1.5),
    ("large mongomock", "read", "floor", "read 1,000 × 100 KB, mongomock", 1.5),
    ("small", "insert", "inline", "insert 10,000 × 1 KB in one call", 3.0),
    ("small", "read", "inline", "read 10,000 × 1 KB", 3.0),
    ("large sqlite", "insert", "superduper 0.10", "insert 1,000 × 100 KB, SQLite, beside 0.10", 1.0),
    ("large sqlite", "read", "superduper 0.10", "read 1,000 × 100 KB, SQLite, beside 0.10", 1.0),
    ("large mongomock", "insert", "superduper 0.10", "insert 1,000 × 100 KB, mongomock, beside 0.10", 1.0),
    ("large mongomock", "read", "superduper 0.10", "read 1,000 × 100 KB, mongomock, beside 0.10", 1.0),
]
_DISK = [
    ("disk small", "insert", "insert 10,000 × 1 KB in one call, on a disk, durable"),
    ("disk small", "read", "read 10,000 × 1 KB, on a disk"),
    ("disk large", "insert", "insert 1,000 × 100 KB in one call, on a disk, durable"),
    ("disk large", "read", "read 1,000 × 100 KB, on a disk"),
]
_LAZY = [
    ("lazy large", "1 % of 1,000 × 100 KB by key, fresh handle"),
    ("lazy small", "1 % of 10,000 × 1 KB by key, fresh handle"),
]
_WITHIN = [
    ("listener", "listen", "Listener `x + 1` over 10,000 rows", 0.5),
    ("listener", "one more", "one more row with its output", 0.02),
    ("import", "import", "`import superduper`", 0.2),
]
_PASSES = [
    ("pass", "lazy pass over 1,000 × 1 MB, 64 at a time: growth"),
    ("long pass", "lazy pass over 10,000 × 1 MB, 64 at a time: growth"),
]
NOISE = 32e6
"""Bytes by which the growth of the long pass may differ from that of the short one."""
_PHASES = [("insert", "inserted"), ("filter", "filtered"), ("update", "updated by key"), ("predict", "predicted")]
_VECTORISED = [
    (f"vectorised {compute}", phase, f"{what}, {where}", bar)
    for compute, where in (("local", "in this process"), ("ray", "one machine's Ray"))
    for phase, what, bar in (
        ("run", "a vectorised function over 100,000 rows of SQLite", 0.5),
        ("map", "the same over lists in memory", None),
        ("1 % more", "1 % more rows, results brought up to date", 0.05),
    )
]
BUDGET = 256 << 20
IMPORT_BYTES = 40e6


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def _beside(results: Results, scenario: str, phase: str, other: str, what: str, bar: float) -> Line | None:
    ours, floor = results.get((scenario, "ours", phase)), results.get((scenario, other, phase))
    if ours is None or floor is None:
        return None
    ratio = ours.seconds / floor.seconds
    return Line(what, _ms(ours.seconds), f"{_ms(floor.seconds)} {other}", ratio, f"≤ {bar}", ratio <= bar, ours.cpu)


def _rows(results: Results, scenario: str, phase: str, what: str, bar: float | None) -> Line | None:
    ours, floor = results.get((scenario, "ours", phase)), results.get((scenario, "floor", phase))
    if ours is None or floor is None:
        return None

    def shown(seconds: float) -> str:
        return _ms(seconds) if phase == "1 % more" else f"{100_000 / seconds / 1000:,.0f}k rows/s"

    said = "" if bar is None else f"≤ {_ms(bar)}" if phase == "1 % more" else f"≥ {100_000 / bar / 1000:,.0f}k rows/s"
    holds = bar is None or ours.seconds <= bar
    ratio = ours.seconds / floor.seconds
    return Line(what, shown(ours.seconds), f"{shown(floor.seconds)} floor", ratio, said, holds, ours.cpu)


def _lazy(results: Results, scenario: str, what: str) -> Line | None:
    ours, lance = results.get((scenario, "ours", "lazy")), results.get((scenario, "Lance", "lazy"))
    floor = results.get((scenario, "floor", "lazy"))
    if ours is None or floor is None:
        return None
    other, name = (floor, "floor") if lance is None else (lance, "Lance")
    ratio = ours.seconds / other.seconds
    holds = None if lance is None else ratio <= 0.2
    return Line(what, _ms(ours.seconds), f"{_ms(other.seconds)} {name}", ratio, "≤ 0.2 of Lance", holds, ours.cpu)


def _on_disk(results: Results, scenario: str, phase: str, what: str) -> Line | None:
    ours, peer = results.get((scenario, "ours", phase)), results.get((scenario, "Pixeltable", phase))
    floor = results.get((scenario, "floor", phase))
    if ours is None or floor is None:
        return None
    other, name = (floor, "floor, not durable") if peer is None else (peer, "Pixeltable")
    ratio = ours.seconds / other.seconds
    holds = None if peer is None else ratio <= 1
    beside = f"{_ms(other.seconds)} {name}"
    return Line(what, _ms(ours.seconds), beside, ratio, "≤ 1.0 of Pixeltable", holds, ours.cpu)


def _within(results: Results, scenario: str, phase: str, what: str, bar: float) -> Line | None:
    ours, floor = results.get((scenario, "ours", phase)), results.get((scenario, "floor", phase))
    if ours is None:
        return None
    beside = "" if floor is None else f"{_ms(floor.seconds)} floor"
    ratio = None if floor is None else ours.seconds / floor.seconds
    return Line(what, _ms(ours.seconds), beside, ratio, f"< {_ms(bar)}", ours.seconds < bar, ours.cpu)


def _memory(results: Results, scenario: str, what: str) -> Line | None:
    ours = results.get((scenario, "ours", "pass"))
    if ours is None:
        return None
    ratio = ours.growth / BUDGET
    holds, bar, beside = ratio <= 2, "≤ 2", f"{BUDGET / 1e6:.0f} MB budget"
    short = results.get(("pass", "ours", "pass"))
    if scenario != "pass" and short is not None:
        holds = holds and ours.growth <= short.growth + NOISE
        bar, beside = "≤ 2, as at 1,000", f"{beside} (1,000 rows: {short.growth / 1e6:.0f} MB)"
    return Line(what, f"{ours.growth / 1e6:.0f} MB", beside, ratio, bar, holds, ours.cpu)


def _rate(results: Results) -> Line | None:
    ours, lance = results.get(("pass", "ours", "pass")), results.get(("pass", "Lance", "pass"))
    floor = results.get(("pass", "floor", "pass"))
    if ours is None or floor is None:
        return None
    other, name = (floor, "floor") if lance is None else (lance, "Lance")
    rate, beside = 1e3 / ours.seconds, 1e3 / other.seconds
    holds = None if lance is None else rate >= 2 * beside
    what = "lazy pass over 1,000 × 1 MB: verified rate"
    return Line(what, f"{rate:.0f} MB/s", f"{beside:.0f} MB/s {name}", rate / beside, "≥ 2 of Lance", holds, ours.cpu)


def _resident(results: Results) -> Line | None:
    ours = results.get(("import", "ours", "import"))
    if ours is None:
        return None
    return Line(
        "`import superduper`: the process", f"{ours.growth / 1e6:.0f} MB", "", None, "< 40 MB", ours.growth < IMPORT_BYTES, ours.cpu
    )  # fmt: skip


def _grown(results: Results, phase: str, what: str) -> Line | None:
    ten, hundred = results.get(("scale 10,000", "ours", phase)), results.get(("scale 100,000", "ours", phase))
    one = results.get(("scale 1,000", "ours", phase))
    if ten is None or hundred is None or one is None:
        return None
    # Updates are by key, as many for each size: what one costs may not grow with the table.
    per = [200, 200, 200] if phase == "update" else [1_000, 10_000, 100_000]
    each = [m.seconds / rows * 1e6 for m, rows in zip((one, ten, hundred), per, strict=True)]
    ratio = each[2] / each[1]
    return Line(
        f"100,000 rows {what}, beside 10,000", f"{each[2]:.1f} µs each", f"{each[1]:.1f} µs (1,000 rows: {each[0]:.1f})",
        ratio, "≤ 1.3", ratio <= 1.3, hundred.cpu,
    )  # fmt: skip


def markdown(rows: Sequence[Line]) -> str:
    """The table."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEAD))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    text.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in text)
