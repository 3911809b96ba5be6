"""The Prometheus metrics of one daemon, in a registry of its own.

Names follow Prometheus' conventions; docs/metrics.md lists them. Series exist at 0 from the start,
but for those by symbol or by part.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from volsvc.telemetry.feed_metrics import FeedMetrics, KafkaMetrics, TickMetrics
from volsvc.telemetry.series import start_at_zero
from volsvc.telemetry.serving_metrics import HttpMetrics, ModelMetrics

# Parts of a daemon that are restarted after a transient error.
PARTS: Final = ("producer", "consumer", "replica")


class Metrics:
    """All metrics of a daemon, in groups."""

    def __init__(self) -> None:
        # Without the `_created` series, one more for every counter and histogram.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        # Not the global registry: a process may hold several daemons, as in tests.
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.process = ProcessMetrics(self.registry)
        self.http = HttpMetrics(self.registry)
        self.model = ModelMetrics(self.registry)
        self.ticks = TickMetrics(self.registry)
        self.feed = FeedMetrics(self.registry)
        self.kafka = KafkaMetrics(self.registry)
        self.store = StoreMetrics(self.registry)


class StoreMetrics:
    """Writes of the file in which an in-process daemon remembers its states."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.time_write = Histogram(
            "volsvc_store_write_seconds",
            "Time of a transaction",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
            registry=registry,
        )
        self.records = Counter(
            "volsvc_store_states", "States written, one a symbol and write", registry=registry
        )
        self.size = Gauge("volsvc_store_bytes", "Bytes that the file holds", registry=registry)
        self.minutes_lost = Counter(
            "volsvc_store_minutes_lost",
            "Rows of minutes for which the disk had no room for too long",
            registry=registry,
        )
        self.failures = Counter(
            "volsvc_store_failures",
            "Attempts to write that failed, each of which is repeated",
            registry=registry,
        )


class ProcessMetrics:
    """The build, the event loop, and restarts of the daemon's parts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self.build_info = gauge(
            "volsvc_build_info", "1, with the build as labels", ("version", "sha")
        )
        self.event_loop_lag = gauge(
            "volsvc_event_loop_lag_seconds", "How late a timer of the event loop last fired"
        )
        self.tasks = gauge("volsvc_asyncio_tasks", "Tasks of the event loop")
        self.restarts = Counter(
            "volsvc_part_restarts",
            "Restarts after a transient error",
            ("part",),
            registry=registry,
        )
        start_at_zero(self.restarts, PARTS)
        self.working = gauge(
            "volsvc_part_working",
            "0 from a restart of a part until it has done some of its work again",
            ("part",),
        )
        for part in PARTS:
            self.working.labels(part).set(1)
