"""examples/03-python, as its README says to run it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.command import EXAMPLES, run


def test_the_walk_prints_what_its_readme_says(tmp_path: Path) -> None:
    printed = run(tmp_path, sys.executable, "-W", "error", str(EXAMPLES / "03-python" / "walk.py"))
    readme = (EXAMPLES / "03-python" / "README.md").read_text()
    shown = [line.strip() for line in readme.splitlines() if line.startswith("    ") and "walk.py" not in line]
    assert len(shown) >= 8
    assert [line for line in shown if line not in printed] == []
