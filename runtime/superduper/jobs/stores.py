"""What a job works on: the four seams and a budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from superduper.artifacts import Artifacts
from superduper.backends.base.compute import ComputeBackend
from superduper.backends.base.data_backend import DataBackend
from superduper.backends.base.metadata import MetaDataStore
from superduper.document import Source


@dataclass(frozen=True, slots=True)
class Stores:
    """The parts of a datalayer. ``budget`` bounds the bytes of payloads that are held at once."""

    databackend: DataBackend
    artifacts: Artifacts
    metadata: MetaDataStore
    compute: ComputeBackend
    files: Path
    budget: int = 256 << 20

    @property
    def source(self) -> Source:
        """What handles in documents read from."""
        return Source(self.artifacts, self.files)
