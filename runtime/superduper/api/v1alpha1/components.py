"""Specs of components that are no kinds of their own, so that Python and YAML say the same."""

from __future__ import annotations

from typing import ClassVar

from superduper.api.v1alpha1.common import (
    NO_RESERVED_FIELD,
    ArtifactId,
    Code,
    Fields,
    FilterDocument,
    Identifier,
    Rule,
    Spec,
    TableName,
)
from superduper.api.v1alpha1.model import Predict


class SchemaSpec(Spec):
    """Names and types of fields; a table's own, or shared."""

    identifier: Identifier
    """Name inside the datalayer."""
    fields: Fields
    """Name of each field and what its values are."""

    RULES: ClassVar[tuple[Rule, ...]] = (NO_RESERVED_FIELD,)


class ListenerSpec(Spec):
    """A model run on a table: what `predict` of a Model is, as a component."""

    identifier: Identifier
    """Name inside the datalayer."""
    model: Identifier
    """Identifier of the model."""
    predict: Predict
    """Which rows the model is run on, and what its outputs are."""


class MetricSpec(Spec):
    """A metric of your own."""

    identifier: Identifier
    """Name inside the datalayer."""
    object: Code
    """Callable `(targets, predictions)` that returns a number."""


class DatasetSpec(Spec):
    """An immutable snapshot of rows."""

    identifier: Identifier
    """Name inside the datalayer."""
    table: TableName
    """Identifier of the table that the rows were taken from."""
    filter: FilterDocument | None = None
    """Rows that were taken, as a portable query's filter; left out: all."""
    snapshot: ArtifactId | None = None
    """Id of the rows in the artifact store; left out until they are taken."""
