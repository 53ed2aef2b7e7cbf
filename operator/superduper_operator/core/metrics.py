"""Prometheus metrics of the operator, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, platform_collector
from prometheus_client.process_collector import ProcessCollector

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What the operator counts. Gauges are read when they are asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Memory, processor time and open files of this process, and the Python that it runs on.
        ProcessCollector(registry=self.registry)
        platform_collector.PlatformCollector(registry=self.registry)
        self._seconds = Histogram(
            "superduper_operator_reconcile_seconds",
            "Time of a reconcile, by kind of object.",
            ["kind"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._results = self._counter(
            "reconciles", "Reconciles, by kind and result: ok, error, timeout.", "kind", "result"
        )
        self._waits = Histogram(
            "superduper_operator_queue_wait_seconds",
            "Time from when a key was due until its reconcile began.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._repairs = self._counter(
            "drift_repairs", "Children that somebody changed or deleted, put right again.", "kind"
        )
        self._errors = self._counter(
            "api_errors", "Refused requests to the API server; status 0: no answer.", "verb", "status"
        )
        self._objects = Gauge(
            "superduper_operator_objects",
            "Objects of a kind, by whether they are ready.",
            ["kind", "ready"],
            registry=self.registry,
        )
        self.read_objects: Callable[[], dict[tuple[str, str], int]] = dict

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"superduper_operator_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read each time that it is asked for."""
        Gauge(f"superduper_operator_{name}", text, registry=self.registry).set_function(read)

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """A reconcile ended: ``result`` is ok, error or timeout."""
        self._seconds.labels(kind).observe(seconds)
        self._results.labels(kind, result).inc()

    def waited(self, seconds: float) -> None:
        """A key waited so long to be reconciled."""
        self._waits.observe(seconds)

    def repaired(self, kind: str) -> None:
        """A child was put right."""
        self._repairs.labels(kind).inc()

    def refused(self, verb: str, status: int) -> None:
        """The API server refused a request, or gave no answer (0)."""
        self._errors.labels(verb, str(status)).inc()

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        self._objects.clear()
        for (kind, ready), count in self.read_objects().items():
            self._objects.labels(kind, ready).set(count)
        return generate_latest(self.registry)
