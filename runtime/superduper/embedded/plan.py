"""What applying manifests would change: compared with the objects that were applied."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from superduper.embedded.checks import check
from superduper.embedded.state import State
from superduper.manifests import Manifest, dump


@dataclass(frozen=True, slots=True)
class Change:
    """One object; ``before`` and ``after`` are YAML, empty where there is none."""

    kind: str
    name: str
    action: Literal["created", "configured", "unchanged"]
    before: str
    after: str

    def diff(self) -> str:
        """A unified diff, empty where nothing changes."""
        name = f"{self.kind.lower()}/{self.name}"
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), f"applied/{name}", f"manifest/{name}", lineterm=""
        )
        return "\n".join(lines)


def plan(state: State, manifests: Sequence[Manifest]) -> Iterator[Change]:
    """What would become of each, in order. Nothing is changed, and no code is run. Raises ManifestError."""
    check(state, manifests, run=False)
    for manifest in manifests:
        found = manifest.resolved()
        before = state.find(found.kind, found.metadata.name)
        old = "" if before is None else _text(before.object)
        new = _text(found)
        action: Any = "created" if before is None else "unchanged" if old == new else "configured"
        yield Change(found.kind, found.metadata.name, action, old, new)


def _text(found: Any) -> str:
    return dump(found.model_copy(update={"status": None}))
