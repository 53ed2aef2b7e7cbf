"""What a user types, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.prompt import REPOSITORY

SUPERDUPER = Path(sys.executable).parent / "superduper"
EXAMPLES = REPOSITORY / "examples"


def superduper(folder: Path, *words: str, stdin: str | None = None, code: int = 0) -> str:
    """Run ``superduper …`` in the folder, with its home there; gives what it prints. Fails on another exit code."""
    return run(folder, str(SUPERDUPER), *words, stdin=stdin, code=code)


def run(folder: Path, *command: str, stdin: str | None = None, code: int = 0) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUPERDUPER_")}
    here = {"PATH": f"{SUPERDUPER.parent}{os.pathsep}{kept['PATH']}", "COLUMNS": "160"}
    done = subprocess.run(
        command, cwd=folder, input=stdin or "", capture_output=True, text=True, env={**kept, **here}, timeout=240
    )
    assert done.returncode == code, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
