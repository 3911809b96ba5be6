"""Metrics of requests and of the models that answer them.

`time_...` and `count_...` return a family's series by its labels from a cache, because
`prometheus_client` converts labels to text and takes a lock at each call of `labels`.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from volsvc.telemetry.series import start_at_zero

# Seconds. Objectives of deploy/slo.yaml count the requests below 0.1 and 0.8 s, so both are bounds.
LATENCY_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8),
    *(1, 2.5, 5, 10),
)
INFERENCE_BUCKETS: Final = (
    *(5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2),
    *(0.1, 0.25),
)
ROW_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)

# Causes of a change of the active model.
TRIGGERS: Final = ("alias", "guard", "registry", "rollback", "route", "settings", "sighup")


class HttpMetrics:
    """Requests, connections, refused keys and event streams."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self.request_duration = Histogram(
            "http_server_request_duration_seconds",
            "Time from the request's head to the end of the answer",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.time_request = cache(self.request_duration.labels)
        self.active_requests = gauge("http_server_active_requests", "Requests in flight")
        self.connections = gauge("volsvc_http_connections", "Connections that are open")
        self.auth_refusals = counter(
            "volsvc_auth_refusals", "Requests whose key was not accepted", ("reason",)
        )
        start_at_zero(self.auth_refusals, ("missing", "unknown", "expired", "scope"))
        self.stream_clients = gauge("volsvc_stream_clients", "Streams that are open")
        self.stream_dropped = counter(
            "volsvc_stream_events_dropped", "Events that slow streams did not get", ("reason",)
        )
        start_at_zero(self.stream_dropped, ("conflated", "overflow"))


class ModelMetrics:
    """The active model, its changes and forecasts, and the model registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.info = gauge(
            "volsvc_model_info", "1 for the model that serves", ("variant", "version")
        )
        self.fallback_active = gauge(
            "volsvc_fallback_active", "1 while another variant serves than was asked for"
        )
        self.swaps = counter(
            "volsvc_model_swaps", "Changes of the model that serves", ("trigger", "result")
        )
        for trigger in TRIGGERS:
            for result in ("ok", "postponed", "refused"):
                self.swaps.labels(trigger, result)
        self.registry_polls = counter(
            "volsvc_registry_polls", "Looks at the model registry", ("result",)
        )
        start_at_zero(self.registry_polls, ("ok", "failed"))
        self.registry_open = gauge(
            "volsvc_registry_breaker_open", "1 while the registry is left alone after failures"
        )
        self.journal_errors = counter(
            "volsvc_journal_errors", "Entries of the journal that could not be written"
        )
        self.predictions = counter(
            "volsvc_predictions", "Rows predicted, or requests refused", ("variant", "outcome")
        )
        self.count_predicted = cache(self.predictions.labels)
        self.predict_rows = histogram(
            "volsvc_predict_rows", "Rows in a /predict request", buckets=ROW_BUCKETS
        )
        self.inference_duration = histogram(
            "volsvc_inference_duration_seconds",
            "Time of one vectorised model call",
            ("variant",),
            buckets=INFERENCE_BUCKETS,
        )
        self.time_inference = cache(self.inference_duration.labels)

    def set_active(self, variant: str, version: str, *, fallback: bool) -> None:
        """Set the active model, and create the series of its variant."""
        # Removes the series of the model before; it would stay at 1 beside the new one.
        self.info.clear()
        self.info.labels(variant, version).set(1)
        self.fallback_active.set(fallback)
        # Variants are not known in advance, so their series are created here and not at the start.
        for outcome in ("ok", "fallback", "invalid", "error"):
            self.predictions.labels(variant, outcome)
        self.inference_duration.labels(variant)
