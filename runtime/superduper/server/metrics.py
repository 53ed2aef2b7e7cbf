"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import Scope

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]


class Metrics:
    """The figures of one server process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        of_request = ["method", "route", "status"]
        self.requests = Counter("superduper_requests", "Requests answered.", of_request, registry=registry)
        self.seconds = Histogram(
            "superduper_request_seconds", "How long answers took.", ["method", "route"], registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600),
        )  # fmt: skip
        self.active = Gauge("superduper_requests_active", "Requests being answered.", registry=registry)
        self.received = Counter("superduper_received_bytes", "Bytes of requests' bodies.", registry=registry)
        self.sent = Counter("superduper_sent_bytes", "Bytes of answers' bodies.", registry=registry)
        self.rows = Counter("superduper_rows", "Rows inserted and sent.", ["what"], registry=registry)
        self.pending = Gauge("superduper_pending_rows", "Rows without a current output.", ["model"], registry=registry)
        self.working = Gauge("superduper_background_active", "Background work under way.", ["kind"], registry=registry)
        self.worked = Counter(
            "superduper_background_runs", "Background work that ended.", ["kind", "result"], registry=registry
        )
        self.scan = Gauge(
            "superduper_scan_seconds",
            "How long the last look at all objects took, or one that is not done after a minute.",
            registry=registry,
        )
        self.connected = Gauge("superduper_connected", "1 while the stores answer.", registry=registry)

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """One request is over."""
        route = getattr(scope.get("route"), "path", "") or ("other" if status != 401 else "refused")
        self.requests.labels(scope["method"], route, str(status)).inc()
        self.seconds.labels(scope["method"], route).observe(seconds)

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self.registry)
