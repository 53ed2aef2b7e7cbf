"""``Dataset``: rows pinned as they are now, to measure on the same rows later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from superduper.components.component import Component
from superduper.components.listener import selection
from superduper.errors import ConfigError

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import DatasetSpec
    from superduper.query.builder import Collection, Query


class Dataset(Component):
    """An immutable snapshot of what ``select`` finds, taken when it is applied.

    The snapshot keeps the rows and, through their references, the artifacts: later updates and deletions of the
    table do not change it. ``snapshot`` is its id in the artifact store.
    """

    type_id = "dataset"

    def __init__(
        self,
        identifier: str,
        select: Query | Collection | None = None,
        *,
        table: str | None = None,
        filter: Mapping[str, Any] | None = None,
        snapshot: str | None = None,
    ) -> None:
        super().__init__(identifier)
        if select is not None:
            table, filter = selection(select)
        if table is None:
            raise ConfigError(f"Dataset {identifier!r}: give select, or table and filter")
        self.table, self.filter, self.snapshot = table, dict(filter) if filter else None, snapshot

    def digest(self) -> str:
        """The snapshot is no part of what was asked for: applying the same dataset again takes no new one."""
        kept, self.snapshot = self.snapshot, None
        try:
            return super().digest()
        finally:
            self.snapshot = kept

    def spec(self) -> DatasetSpec:
        from superduper.api.v1alpha1 import DatasetSpec

        return DatasetSpec(identifier=self.identifier, table=self.table, filter=self.filter, snapshot=self.snapshot)

    @classmethod
    def from_spec(cls, spec: DatasetSpec) -> Dataset:
        """The dataset that the spec says."""
        return cls(spec.identifier, table=spec.table, filter=spec.filter, snapshot=spec.snapshot)
