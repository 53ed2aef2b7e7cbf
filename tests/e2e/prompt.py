"""A Python prompt in a process of its own, in a folder of its own, and what it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Echo:
    line: int
    text: str
    type: str


def at_prompt(folder: Path, sources: Sequence[str], **environment: str) -> list[list[Echo]]:
    """What each source's expressions echoed. The sources share one namespace; fails with their traceback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUPERDUPER_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(REPOSITORY / "tests" / "e2e" / "session.py")],
        input=json.dumps(list(sources)),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**kept, **environment},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [[Echo(*echo) for echo in echoes] for echoes in json.loads(done.stdout.splitlines()[-1])]


_CHANGING = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"ObjectId\('[0-9a-f]{24}'\)", "OBJECT_ID"),
    (r"(?: object)? at 0x[0-9a-f]+", " at ADDRESS"),  # IPython leaves out "object"
    (r"\b0x[0-9a-f]+", "ADDRESS"),
    (r"\s+", " "),
)


def settled(text: str) -> str:
    """The text without what differs in every run: uuids, ids that a database gives, addresses, line breaks."""
    for pattern, word in _CHANGING:
        text = re.sub(pattern, word, text)
    return text.strip()


def without_object_id(text: str) -> str:
    """A settled record as a database shows it that adds no ``_id``."""
    return re.sub(r", '_id': OBJECT_ID", "", text)
