"""``Metric``: a number for how well predictions agree with targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from superduper import code as _code
from superduper.components.component import Component
from superduper.errors import ConfigError, MissingExtra, ModelError, nearest

if TYPE_CHECKING:
    from superduper.api.v1alpha1 import Code, MetricSpec


class Metric(Component):
    """A metric of one's own: ``object(targets, predictions)`` gives a number."""

    type_id = "metric"

    def __init__(self, identifier: str, object: Callable[..., Any] | Code, *, fetch: _code.Fetch | None = None) -> None:
        super().__init__(identifier)
        self.object, self._fetch = object, fetch

    def __call__(self, targets: Sequence[Any], predictions: Sequence[Any]) -> float:
        """Raises ModelError where the metric raises or gives no number."""
        from superduper.api.v1alpha1 import Code

        function = self.object
        if isinstance(function, Code):
            function = _code.load(function, self._fetch or _nothing, where=f"Metric {self.identifier!r} object")
        try:
            value = float(function(targets, predictions))
        except Exception as error:
            raise ModelError(f"the metric {self.identifier!r} raised {_code.describe(error)}") from error
        if not math.isfinite(value):
            raise ModelError(f"the metric {self.identifier!r} gave {value}, not a number")
        return value

    def spec(self) -> MetricSpec:
        from superduper.api.v1alpha1 import MetricSpec

        return MetricSpec(identifier=self.identifier, object=self._code("object", self.object))

    @classmethod
    def from_spec(cls, spec: MetricSpec, *, fetch: _code.Fetch | None = None) -> Metric:
        """The metric that the spec says."""
        return cls(spec.identifier, spec.object, fetch=fetch)


def _nothing(identifier: str) -> bytes:
    raise ModelError(f"the code {identifier} is in an artifact store; load the metric through its datalayer")


READY: dict[str, tuple[str, dict[str, Any]]] = {
    "accuracy": ("accuracy_score", {}),
    "balanced_accuracy": ("balanced_accuracy_score", {}),
    "f1": ("f1_score", {"average": "macro"}),
    "precision": ("precision_score", {"average": "macro", "zero_division": 0}),
    "recall": ("recall_score", {"average": "macro", "zero_division": 0}),
    "mse": ("mean_squared_error", {}),
    "rmse": ("root_mean_squared_error", {}),
    "mae": ("mean_absolute_error", {}),
    "r2": ("r2_score", {}),
}
"""Ready-made metrics: functions of ``sklearn.metrics``."""


def ready(name: str) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    """The ready-made metric of that name. Raises ConfigError, or MissingExtra where scikit-learn is absent."""
    if name not in READY:
        raise ConfigError(unknown(name))
    try:
        import sklearn.metrics
    except ImportError as error:
        raise MissingExtra("scikit-learn", "sklearn", f"the metric {name!r}") from error
    function, options = READY[name]
    score = getattr(sklearn.metrics, function)
    return lambda targets, predictions: float(score(targets, predictions, **options))


def unknown(name: str) -> str:
    """What to say of a name that is no metric."""
    return f"no metric {name!r}{nearest(name, READY)} (ready-made: {', '.join(READY)}; or give {{name, object}})"
