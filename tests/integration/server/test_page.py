"""docs/server.md: its commands are run as they stand, and print what stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.integration.server.served import TOKEN, Served

PAGE = Path(__file__).parents[3] / "docs" / "server.md"


def commands() -> list[tuple[str, str]]:
    """Each command with what it prints."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


def test_the_commands_of_the_page_print_what_it_says(server: Served, tmp_path: Path) -> None:
    every = commands()
    assert len(every) > 15
    mark = "=== next ==="
    script = "\n".join([f'{command}\necho; echo "{mark}"' for command, _ in every])
    environment = {
        "PATH": os.environ["PATH"], "URL": server.urls[0], "SUPERDUPER_TOKEN": TOKEN,
        "AUTH": f"Authorization: Bearer {TOKEN}",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    printed = done.stdout.split(mark)[:-1]
    assert len(printed) == len(every), done.stderr
    for (command, expected), shown in zip(every, printed, strict=True):
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, shown.strip()), f"$ {command}\n{shown}\nbut the page says\n{expected}"
