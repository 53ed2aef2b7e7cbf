"""Golden files: what was desired when somebody last looked. UPDATE_GOLDEN=1 writes them anew; read the diff."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("golden")


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def compare(name: str, found: Iterable[dict[str, Any]]) -> None:
    text = yaml.dump_all(list(found), Dumper=_Plain, sort_keys=False, width=120)
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.exists(), f"{path} is missing: UPDATE_GOLDEN=1 writes it"
    assert list(yaml.safe_load_all(path.read_text())) == list(yaml.safe_load_all(text))
