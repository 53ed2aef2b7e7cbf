"""README and docs: what stands there as Python or YAML runs, and shows what it says."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.command import run, superduper
from tests.e2e.prompt import REPOSITORY

DOCS = [path for path in sorted((REPOSITORY / "docs").glob("*.md")) if ">>>" in path.read_text()]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_examples_of_a_page_run_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join(blocks(path, "python"))
    assert text.count(">>>") == path.read_text().count(">>>")
    script = tmp_path / "page.py"
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    (tmp_path / "page.txt").write_text(text)
    script.write_text(f"import doctest\nprint(doctest.testfile('page.txt', False, optionflags={options}))\n")
    printed = run(tmp_path, sys.executable, "-W", "error", str(script))
    assert "TestResults(failed=0" in printed, printed


def test_the_two_halves_of_the_readme_say_the_same(tmp_path: Path) -> None:
    from PIL import Image

    readme = REPOSITORY / "README.md"
    [yaml], [python] = blocks(readme, "yaml"), blocks(readme, "python")
    for name in ("yaml", "python"):
        (tmp_path / name / "pictures").mkdir(parents=True)
        Image.new("RGB", (8, 8), "white").save(tmp_path / name / "pictures" / "white.png")
        Image.new("RGB", (8, 8), "black").save(tmp_path / name / "pictures" / "black.png")
    (tmp_path / "yaml" / "demo.yaml").write_text(yaml)
    (tmp_path / "python" / "demo.py").write_text(python)
    applied = superduper(tmp_path / "yaml", "apply", "-f", "demo.yaml")
    shown = run(tmp_path / "python", sys.executable, "demo.py")
    assert shown.splitlines() == ["black.png 0.0", "white.png 1.0"]
    found = re.findall(r"^  (black.png|white.png) .* (\d)$", applied, re.MULTILINE)
    assert found == [("black.png", "0"), ("white.png", "1")]
    # Both may be run again, and find what is new.
    for name in ("yaml", "python"):
        Image.new("RGB", (8, 8), "white").save(tmp_path / name / "pictures" / "again.png")
    assert "again.png" in superduper(tmp_path / "yaml", "apply", "-f", "demo.yaml")
    shown = run(tmp_path / "python", sys.executable, "demo.py")
    assert shown.splitlines() == ["again.png 1.0", "black.png 0.0", "white.png 1.0"]


def test_the_rooms_that_contributing_lists_are_those_that_there_are() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text().partition("    runtime/superduper/\n")[2].partition("\n\n")[0]
    listed = {line.split()[0] for line in text.splitlines()}
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name for path in (REPOSITORY / "runtime" / "superduper").iterdir()
    }
    assert listed == {name for name in rooms if not name.startswith("_") and name != "py.typed"}


@pytest.mark.parametrize("path", [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))], ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []
