"""The parts of a model's spec, written in Python as in YAML: dicts in, the API's types out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from superduper.components.metric import Metric

T = TypeVar("T", bound=BaseModel)

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Code
    from superduper.api.v1alpha1.compute import Compute
    from superduper.api.v1alpha1.model import Artifact, Predict, Training, Validation

    Coded = Callable[[str, Any], Code]
    """Takes the name of a field and a callable or Code; gives its Code and remembers it."""


def artifact(given: Artifact | Mapping[str, Any] | None) -> Artifact | None:
    """``{uri, format}``. Raises ManifestError, naming the field."""
    from superduper.api.v1alpha1.model import Artifact

    return _checked(Artifact, given, "artifact")


def predict(given: Predict | Mapping[str, Any] | None) -> Predict | None:
    """``{table, inputs, …}``. Raises ManifestError, naming the field."""
    from superduper.api.v1alpha1.model import Predict

    return _checked(Predict, given, "predict")


def compute(given: str | Compute | Mapping[str, Any] | None) -> Compute | None:
    """``local``, ``ray`` or ``dask://host:8786``, or ``{engine, workers, …}``. Raises ManifestError."""
    from superduper.api.v1alpha1.compute import Compute

    if isinstance(given, str):
        engine, found, address = given.partition("://")
        given = {"engine": engine, "address": address if found else None}
    return _checked(Compute, given, "compute")


def training(given: Training | Mapping[str, Any] | None, code: Coded) -> Training | None:
    """``{object, table, inputs, target}``, where object may be a callable. Raises ManifestError, naming the field."""
    from superduper.api.v1alpha1.model import Training

    if isinstance(given, Mapping) and "object" in given:
        given = {**given, "object": code("training.object", given["object"])}
    elif isinstance(given, Training):
        code("training.object", given.object)
    return _checked(Training, given, "training")


def validation(given: Validation | Mapping[str, Any] | None, code: Coded) -> Validation | None:
    """``{table, target, metrics}``, where a metric may be a ``Metric``. Raises ManifestError, naming the field."""
    from superduper.api.v1alpha1.model import Validation

    if isinstance(given, Mapping) and isinstance(given.get("metrics"), (list, tuple)):
        given = {**given, "metrics": [_metric(metric, code) for metric in given["metrics"]]}
    elif isinstance(given, Validation):
        for metric in given.metrics:
            _metric(metric, code)
    return _checked(Validation, given, "validation")


def _metric(metric: Any, code: Coded) -> Any:
    from superduper.api.v1alpha1.model import NamedMetric

    if isinstance(metric, Metric):
        return {"name": metric.identifier, "object": code(f"metric.{metric.identifier}", metric.object)}
    if isinstance(metric, NamedMetric):
        code(f"metric.{metric.name}", metric.object)
    elif isinstance(metric, Mapping) and "name" in metric and "object" in metric:
        return {**metric, "object": code(f"metric.{metric['name']}", metric["object"])}
    return metric


def _checked(type_: type[T], given: Any, where: str) -> T | None:
    from superduper.api.explain import checked

    return given if given is None or isinstance(given, type_) else checked(type_, given, where=where)
