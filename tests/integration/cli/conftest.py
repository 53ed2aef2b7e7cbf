"""The command line, called in this process, in a folder of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from superduper.cli import main
from tests.conftest import read_settings_anew

DATALAYER = """
apiVersion: superduper.io/v1alpha1
kind: Datalayer
metadata: {name: local}
spec: {databackend: {uri: "sqlite://rows.db"}}
"""
TABLE = """
apiVersion: superduper.io/v1alpha1
kind: Table
metadata: {name: numbers}
spec:
  datalayerRef: {name: local}
  fields: {x: {type: int}}
  source: {uri: "file://./numbers.jsonl", format: jsonl}
"""
MODEL = """
apiVersion: superduper.io/v1alpha1
kind: Model
metadata: {name: plus}
spec:
  datalayerRef: {name: local}
  object:
    source: |
      def plus(x):
          return x + 1
    callable: plus
  predict: {table: numbers, inputs: [x], output: {type: int}}
"""


class Said(NamedTuple):
    """What a command printed."""

    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERDUPER_HOME", raising=False)
    read_settings_anew()

    def call(*words: str, code: int = 0, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        said = Said(*capsys.readouterr())
        assert ended.value.code == code, f"{words}: exit code {ended.value.code}\n{said.out}\n{said.err}"
        return said

    return call


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A folder of manifests: ten rows, and a model that adds one."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "all.yaml").write_text(f"{DATALAYER}---{TABLE}---{MODEL}")
    (folder / "numbers.jsonl").write_text("".join(f'{{"id": "r{n}", "x": {n}}}\n' for n in range(10)))
    return folder
