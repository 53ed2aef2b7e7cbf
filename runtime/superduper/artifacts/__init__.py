"""References, content addressing, lazy handles, trees of files, packs, garbage collection."""

from __future__ import annotations

from superduper.artifacts.blob import Blob
from superduper.artifacts.gc import GcReport
from superduper.artifacts.store import Artifacts
from superduper.artifacts.tree import Entry, Tree
from superduper.artifacts.verify import Damage
from superduper.artifacts.writer import Writer

__all__ = ["Artifacts", "Blob", "Damage", "Entry", "GcReport", "Tree", "Writer"]
