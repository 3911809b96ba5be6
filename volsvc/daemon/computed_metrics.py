"""Gauges that are computed at each scrape: times and ages by symbol, health of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from volsvc.domain import NS
from volsvc.features import SymbolTable
from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.health import Health, Status

STATUSES: dict[Status, int] = {"ok": 0, "degraded": 1, "fail": 2}


class ComputedMetrics(Collector):
    """Times and ages by symbol, and the health of the daemon.

    They change with each tick or by themselves as time passes, and are read a few times a minute.
    """

    def __init__(self, table: SymbolTable, latest_store: LatestStore, health: Health) -> None:
        self._table = table
        self._latest_store = latest_store
        self._health = health

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield ages and times by symbol, which the table and the store bound, and the health."""
        age = GaugeMetricFamily(
            "volsvc_forecast_age_seconds",
            "Time since the tick behind a symbol's newest answer was processed",
            labels=("symbol",),
        )
        now_s = time.time()
        for symbol, processed_s in self._latest_store.processed():
            age.add_metric((symbol,), max(0.0, now_s - processed_s))
        yield age
        event = GaugeMetricFamily(
            "volsvc_feed_last_event_timestamp_seconds",
            "Event time of the newest tick of a symbol",
            labels=("symbol",),
        )
        rows = self._table.rows_with_ticks
        times = (self._table.newest_ns(rows) / NS).tolist()
        for row, time_s in zip(rows.tolist(), times, strict=True):
            event.add_metric((self._table.symbol(row),), time_s)
        yield event
        ready = not self._health.unready
        yield GaugeMetricFamily("volsvc_ready", "1 while /health/ready says so", ready)
        yield GaugeMetricFamily(
            "volsvc_health_status",
            "Worst check of /health: 0 ok, 1 degraded, 2 fail",
            STATUSES[self._health.status],
        )
