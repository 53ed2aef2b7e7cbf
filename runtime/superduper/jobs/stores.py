"""What a job works on: the four seams and a budget."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Self

from superduper.artifacts import Artifacts
from superduper.backends import registry
from superduper.backends.base.compute import ComputeBackend
from superduper.backends.base.data_backend import DataBackend
from superduper.backends.base.metadata import MetaDataStore
from superduper.document import Source


class Engines:
    """Compute other than the datalayer's own, for models that name theirs: opened when first asked for."""

    def __init__(self) -> None:
        self._open: dict[str, ComputeBackend] = {}
        self._opening = Lock()

    def get(self, uri: str) -> ComputeBackend:
        """The compute of that name. Raises UriError, MissingExtra or Unreachable."""
        with self._opening:
            if uri not in self._open:
                self._open[uri] = registry.compute_backend(uri)
            return self._open[uri]

    def close(self) -> None:
        """Stop what was opened."""
        with self._opening:
            while self._open:
                self._open.popitem()[1].close()


@dataclass(frozen=True, slots=True)
class Stores:
    """The parts of a datalayer. ``budget`` bounds the bytes of payloads that are held at once."""

    databackend: DataBackend
    artifacts: Artifacts
    metadata: MetaDataStore
    compute: ComputeBackend
    files: Path
    budget: int = 256 << 20
    engines: Engines = field(default_factory=Engines)

    @property
    def source(self) -> Source:
        """What handles in documents read from."""
        return Source(self.artifacts, self.files)

    @property
    def inputs(self) -> Source:
        """The same for what models are given: paths that hold in other processes where models run in such."""
        return Source(self.artifacts, self.files.resolve()) if self.compute.elsewhere else self.source

    def on(self, compute: str | None) -> Self:
        """The same with the compute of that name; None leaves it as it is."""
        if compute is None or compute == self.compute.uri:
            return self
        engine = self.engines.get(compute)
        engine.budget = self.budget
        return replace(self, compute=engine)
