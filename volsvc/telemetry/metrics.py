"""The metrics of one daemon, in a registry of its own.

Names follow Prometheus' conventions; series exist from the start, so that a rate can be taken
before the first event. Counters of ticks are updated once a batch: an increment costs more than
all the rest of a tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

LATENCY_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    0.8,
    1,
    2.5,
    5,
    10,
)
ROW_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
INFERENCE_BUCKETS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.25)
# Where ticks come from; the topic's other producers may write anything there.
SOURCES = ("coinbase", "csv", "generator", "kraken", "ndjson", "parquet", "other")
# Every reason for which a tick is not processed.
REJECTIONS = (
    "duplicate",
    "late",
    "future",
    "id",
    "json",
    "key",
    "max_symbols",
    "not_a_tick",
    "null",
    "price",
    "quote",
    "row",
    "size",
    "symbol",
    "time",
    "too_large",
    "unknown_symbol",
    "version",
)


# What changes the model that serves.
TRIGGERS = ("alias", "guard", "registry", "rollback", "route", "settings", "sighup")


class _Lag(Collector):
    """Lag is absent while it is unknown: a false 0 would say that all is well."""

    def __init__(self) -> None:
        self.by_topic: dict[str, Mapping[int, tuple[int, float | None]]] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        records = self._family("records", "Records between a partition's end and what is processed")
        seconds = self._family("seconds", "Age of the newest processed record while others wait")
        for topic, lags in list(self.by_topic.items()):
            for partition, (count, age_s) in lags.items():
                records.add_metric((topic, str(partition)), count)
                if age_s is not None:
                    seconds.add_metric((topic, str(partition)), age_s)
        yield from (records, seconds)

    @staticmethod
    def _family(unit: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            f"volsvc_kafka_consumer_lag_{unit}", text, labels=("topic", "partition")
        )


class Metrics:
    """All metrics; each attribute is one family.

    Those called `count_…` or `time_…` give a family's series by its labels, from a table: the
    client makes texts of the labels and takes a lock each time.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._lag = _Lag()
        self.registry.register(self._lag)
        self._http()
        self._models()
        self._feed()
        self._kafka()

    def _http(self) -> None:
        self.request_duration = Histogram(
            "http_server_request_duration_seconds",
            "Time from the request's head to the end of the answer",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.time_request = cache(self.request_duration.labels)
        self.active_requests = self._gauge("http_server_active_requests", "Requests in flight")
        self.event_loop_lag = self._gauge(
            "volsvc_event_loop_lag_seconds", "How late a timer of the event loop last fired"
        )
        self.connections = self._gauge("volsvc_http_connections", "Connections that are open")
        self.tasks = self._gauge("volsvc_asyncio_tasks", "Tasks of the event loop")
        self.auth_refusals = self._counter(
            "volsvc_auth_refusals", "Requests whose key was not accepted", ("reason",)
        )
        for reason in ("missing", "unknown", "expired", "scope"):
            self.auth_refusals.labels(reason)
        self.stream_clients = self._gauge("volsvc_stream_clients", "Streams that are open")
        self.stream_dropped = self._counter(
            "volsvc_stream_events_dropped", "Events that slow streams did not get", ("reason",)
        )
        for reason in ("conflated", "overflow"):
            self.stream_dropped.labels(reason)
        self.build_info = self._gauge(
            "volsvc_build_info", "1, with the build as labels", ("version", "sha")
        )

    def _models(self) -> None:
        self.model_info = self._gauge(
            "volsvc_model_info", "1 for the model that serves", ("variant", "version")
        )
        self.fallback_active = self._gauge(
            "volsvc_fallback_active", "1 while another variant serves than was asked for"
        )
        self.swaps = self._counter(
            "volsvc_model_swaps", "Changes of the model that serves", ("trigger", "result")
        )
        for trigger in TRIGGERS:
            for result in ("ok", "refused"):
                self.swaps.labels(trigger, result)
        self.registry_polls = self._counter(
            "volsvc_registry_polls", "Looks at the model registry", ("result",)
        )
        for result in ("ok", "failed"):
            self.registry_polls.labels(result)
        self.registry_open = self._gauge(
            "volsvc_registry_breaker_open", "1 while the registry is left alone after failures"
        )
        self.journal_errors = self._counter(
            "volsvc_journal_errors", "Entries of the journal that could not be written"
        )
        self.predictions = self._counter(
            "volsvc_predictions", "Rows predicted, or requests refused", ("variant", "outcome")
        )
        self.count_predicted = cache(self.predictions.labels)
        self.predict_rows = Histogram(
            "volsvc_predict_rows",
            "Rows in a /predict request",
            buckets=ROW_BUCKETS,
            registry=self.registry,
        )
        self.inference_duration = Histogram(
            "volsvc_inference_duration_seconds",
            "Time of one vectorised model call",
            ("variant",),
            buckets=INFERENCE_BUCKETS,
            registry=self.registry,
        )
        self.time_inference = cache(self.inference_duration.labels)

    def _feed(self) -> None:
        self.ticks = self._counter("volsvc_ticks", "Ticks processed into features", ("source",))
        self.ticks_published = self._counter("volsvc_ticks_published", "Ticks put on the bus")
        self.rejected = self._counter(
            "volsvc_ticks_rejected", "Ticks and rows that were not processed", ("reason",)
        )
        for source in SOURCES:
            self.ticks.labels(source)
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        self.gaps = self._counter("volsvc_feed_gaps", "Gaps in a symbol's feed", ("symbol",))
        self.duplicates = self._counter(
            "volsvc_feed_duplicates", "Ticks of a symbol that had come before", ("symbol",)
        )
        self.late = self._counter(
            "volsvc_feed_late", "Ticks of a symbol older than its newest", ("symbol",)
        )
        self.future = self._counter(
            "volsvc_feed_future", "Ticks of a symbol from a clock far ahead", ("symbol",)
        )
        self.last_event = self._gauge(
            "volsvc_feed_last_event_timestamp_seconds",
            "Event time of the newest tick of a symbol",
            ("symbol",),
        )
        self.symbols = self._gauge("volsvc_symbols", "Symbols in the table")
        self.replay_lateness = self._gauge(
            "volsvc_replay_lateness_seconds", "How far a paced replay is behind its schedule"
        )
        self.restarts = self._counter(
            "volsvc_part_restarts", "Restarts after a transient error", ("part",)
        )
        for part in ("producer", "consumer", "replica"):
            self.restarts.labels(part)

    def _kafka(self) -> None:
        self.kafka_connected = self._gauge(
            "volsvc_kafka_connected", "1 while every client part reaches the broker"
        )
        self.kafka_retries = self._counter(
            "volsvc_kafka_retries", "Attempts that the broker did not answer", ("part",)
        )
        self.rebalances = self._counter("volsvc_kafka_rebalances", "Changes of the assignment")
        self.lost = self._counter(
            "volsvc_kafka_lost_records", "Records that retention deleted before they were read"
        )
        self.rewrites = self._counter(
            "volsvc_state_rewrites", "States written again over those of a stale owner"
        )
        self.dead_letters = self._counter(
            "volsvc_dlq_records", "Records sent to the dead-letter topic", ("reason",)
        )
        for reason in REJECTIONS[2:]:
            self.dead_letters.labels(reason)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def count_ticks(self, by_source: Mapping[str, int]) -> None:
        """Ticks processed, by where they came from."""
        for source, count in by_source.items():
            self.ticks.labels(source if source in SOURCES else "other").inc(count)

    def forget(self, symbol: str) -> None:
        """Drop the series of a symbol that is no longer kept."""
        per_symbol = (self.gaps, self.duplicates, self.late, self.future, self.last_event)
        for family in per_symbol:
            family.remove_by_labels({"symbol": symbol})

    def set_lag(self, topic: str, lags: Mapping[int, tuple[int, float | None]]) -> None:
        """Lag in records and seconds by partition; who is not named or None has no series."""
        self._lag.by_topic[topic] = lags

    def set_model(self, variant: str, version: str, *, fallback: bool) -> None:
        """Which model serves."""
        self.model_info.clear()
        self.model_info.labels(variant, version).set(1)
        self.fallback_active.set(fallback)
        for outcome in ("ok", "fallback", "invalid", "error"):
            self.predictions.labels(variant, outcome)
        self.inference_duration.labels(variant)
