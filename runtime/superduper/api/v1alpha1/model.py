"""Model: a function over a table's columns whose outputs are kept up to date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Discriminator, Field, StringConstraints, Tag

from superduper.api.v1alpha1.common import (
    ArgumentName,
    ArtifactId,
    Batch,
    Code,
    ComponentResource,
    ComponentSpec,
    Count,
    DeletionPolicy,
    FieldName,
    FieldType,
    FilterDocument,
    Flag,
    Identifier,
    Rule,
    Spec,
    TableName,
    Uri,
)
from superduper.api.v1alpha1.compute import Compute
from superduper.api.v1alpha1.conditions import Status


def _list_or_map(value: object) -> str:
    return "map" if isinstance(value, Mapping) else "list"


def _name_or_metric(value: object) -> str:
    return "metric" if isinstance(value, Mapping | NamedMetric) else "name"


def _auto_or_number(value: object) -> str:
    return "auto" if isinstance(value, str) else "number"


# The arm of each union is chosen by the value's form, so that an error speaks of what was meant.
InputFields = Annotated[
    Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=64), Tag("list")]
    | Annotated[dict[ArgumentName, FieldName], Field(min_length=1, max_length=64), Tag("map")],
    Discriminator(_list_or_map),
]
BatchSize = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[Batch, Tag("number")], Discriminator(_auto_or_number)
]


class Inputs(NamedTuple):
    """The fields that a callable is given: by position, and by argument name."""

    args: tuple[str, ...]
    kwargs: dict[str, str]

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields, positional ones first, each once."""
        return tuple(dict.fromkeys([*self.args, *self.kwargs.values()]))

    def to_spec(self) -> tuple[str, ...] | dict[str, str]:
        """As specs have it: a list where all are positional, else a map with positions as digits."""
        if not self.kwargs:
            return self.args
        return {**{str(position): field for position, field in enumerate(self.args)}, **self.kwargs}


def parse_inputs(inputs: tuple[str, ...] | Mapping[str, str]) -> Inputs:
    """A spec's ``inputs`` in one form. In a map, keys that are digits are positions."""
    if not isinstance(inputs, Mapping):
        return Inputs(tuple(inputs), {})
    positional = sorted((int(key), field) for key, field in inputs.items() if key.isdigit())
    return Inputs(
        tuple(field for _, field in positional), {key: field for key, field in inputs.items() if not key.isdigit()}
    )


def positions_without_gap(part: _TakesInputs) -> bool:
    """Whether positions in ``inputs`` run from 0 upwards."""
    if not isinstance(part.inputs, dict):
        return True
    positions = sorted(int(key) for key in part.inputs if key.isdigit())
    return positions == list(range(len(positions)))


POSITIONS_WITHOUT_GAP = Rule(
    "positions_without_gap", "positions in inputs must run from 0 without a gap", positions_without_gap, cel=None
)


class _TakesInputs(Spec):
    table: TableName
    """Identifier of the table, or `_outputs__MODEL` for the outputs of another model."""
    inputs: InputFields
    """Fields that the callable is given: a list, or a map from argument (or position) to field."""
    filter: FilterDocument | None = None
    """Rows that count, as a portable query's filter, as `{_fold: train}`; left out: all."""

    RULES: ClassVar[tuple[Rule, ...]] = (POSITIONS_WITHOUT_GAP,)

    @property
    def call(self) -> Inputs:
        """``inputs`` in one form, whichever way they were written."""
        return parse_inputs(self.inputs)


class Artifact(Spec):
    """A fitted model that is kept as a file."""

    uri: Uri
    """Where the file lies, as `file://./model.pkl` (beside the manifest) or `s3://bucket/model.pkl`."""
    format: Literal["pickle"] = "pickle"
    """What the file is."""


class Training(_TakesInputs):
    """How the model is fitted."""

    object: Code
    """Callable that is given the input columns as lists, then the target's, and returns the fitted model."""
    target: FieldName | None = None
    """Field to learn; left out: the callable is given the inputs only."""


class Predict(_TakesInputs):
    """Which rows the model is run on, and what its outputs are."""

    output: FieldType | None = None
    """What outputs are; left out: inferred from the first ones."""
    trigger: Literal["OnChange", "Manual"] = "OnChange"
    """When missing outputs are computed: as rows change, or when asked for."""
    batch_size: BatchSize = "auto"
    """Rows per batch; `auto` sizes batches by the time that they take."""
    batched: Flag = False
    """Whether the callable takes lists (one value per row) and returns a list, instead of single values."""


class NamedMetric(Spec):
    """A metric of your own."""

    name: Identifier
    """Name under which its value is reported."""
    object: Code
    """Callable `(targets, predictions)` that returns a number."""


MetricRef = Annotated[
    Annotated[Identifier, Tag("name")] | Annotated[NamedMetric, Tag("metric")], Discriminator(_name_or_metric)
]


class Validation(Spec):
    """What the model is measured on, and how."""

    table: TableName
    """Identifier of the table."""
    inputs: InputFields | None = None
    """Fields that the model is given; left out: as in `predict`, or else as in `training`."""
    target: FieldName
    """Field that holds the right answer."""
    filter: FilterDocument | None = None
    """Rows that count, as a portable query's filter, as `{_fold: valid}`; left out: all."""
    metrics: Annotated[tuple[MetricRef, ...], Field(min_length=1, max_length=32)]
    """Ready-made metrics by name, as accuracy, f1, mse and r2, or your own as `{name, object}`."""
    dataset: Identifier | None = None
    """Name of an immutable snapshot that pins the rows; it is taken when there is none of that name."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        POSITIONS_WITHOUT_GAP,
        Rule(
            "metrics_differ",
            "each metric must have its own name",
            lambda validation: _distinct(validation.metrics),
            cel=None,
        ),
    )

    @property
    def call(self) -> Inputs | None:
        """``inputs`` in one form; None where they are taken from predict or training."""
        return None if self.inputs is None else parse_inputs(self.inputs)


def _distinct(metrics: tuple[str | NamedMetric, ...]) -> bool:
    names = [metric if isinstance(metric, str) else metric.name for metric in metrics]
    return len(set(names)) == len(names)


class ModelSpec(ComponentSpec):
    """A callable, a file or a training, and what it is run and measured on."""

    object: Code | None = None
    """Callable that predicts; together with training or artifact it is given the fitted model as its first
    argument."""
    artifact: Artifact | None = None
    """Fitted model that is kept as a file."""
    training: Training | None = None
    """How the model is fitted."""
    predict: Predict | None = None
    """Rows whose outputs are kept up to date; left out: it predicts when asked."""
    validation: Validation | None = None
    """What the model is measured on."""
    compute: Compute | None = None
    """Where it runs; left out: as the Datalayer says."""
    suspend: Flag = False
    """While true, nothing is run."""
    deletion_policy: DeletionPolicy = "Retain"
    """Whether the outputs are removed together with the object."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "at_least_one_of_object_artifact_training",
            "at least one of object, artifact and training must be given",
            lambda spec: spec.object is not None or spec.artifact is not None or spec.training is not None,
            cel="has(self.object) || has(self.artifact) || has(self.training)",
        ),
        Rule(
            "not_both_artifact_and_training",
            "artifact and training cannot be given together: both yield the fitted model",
            lambda spec: spec.artifact is None or spec.training is None,
            cel="!has(self.artifact) || !has(self.training)",
        ),
        Rule(
            "validation_knows_its_inputs",
            "validation.inputs is required where there is neither predict nor training",
            lambda spec: (
                spec.validation is None
                or spec.validation.inputs is not None
                or spec.predict is not None
                or spec.training is not None
            ),
            cel=None,
        ),
    )

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that it reads, each once: identifiers, or ``_outputs__MODEL``."""
        parts = (self.training, self.predict, self.validation)
        return tuple(dict.fromkeys(part.table for part in parts if part is not None))


class ModelStatus(Status):
    """What is there."""

    version: Count | None = None
    """Version inside the datalayer."""
    artifact: ArtifactId | None = None
    """Id of the fitted model in the artifact store."""
    rows: Count | None = None
    """Rows that should have outputs."""
    predicted: Count | None = None
    """Rows that have current outputs."""
    failed: Count | None = None
    """Rows whose prediction failed."""
    pending: Count | None = None
    """Rows that wait for their outputs."""
    pending_since: datetime | None = None
    """Since when rows have waited without a break; left out: none waits."""
    coverage: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Rows that have current outputs, of those that should: `1797/1797`."""
    job: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Name of the RayJob or Job that works for it, or worked last."""
    metrics: Annotated[dict[Identifier, float], Field(max_length=32)] = Field(default_factory=dict)
    """Value of each metric."""


class Model(ComponentResource):
    """A function over a table's columns whose outputs are kept up to date."""

    kind: Literal["Model"] = "Model"
    """Kind of the object."""
    spec: ModelSpec
    """What is wanted."""
    status: ModelStatus | None = None
    """What was observed; ignored when applied."""
