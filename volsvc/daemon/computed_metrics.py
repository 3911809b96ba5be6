"""Gauges that are computed at each scrape: ages of forecasts and the health of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.health import Health, Status

STATUSES: dict[Status, int] = {"ok": 0, "degraded": 1, "fail": 2}


class ComputedMetrics(Collector):
    """Ages by symbol and the health of the daemon.

    They change by themselves as time passes, so a stored value would soon be wrong.
    """

    def __init__(self, latest_store: LatestStore, health: Health) -> None:
        self._latest_store = latest_store
        self._health = health

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the ages by symbol, which the latest store bounds, and the health."""
        age = GaugeMetricFamily(
            "volsvc_forecast_age_seconds",
            "Time since the tick behind a symbol's newest answer was processed",
            labels=("symbol",),
        )
        now_s = time.time()
        for posted in self._latest_store:
            age.add_metric((posted.snapshot.row.symbol,), posted.age_s(now_s))
        yield age
        ready = not self._health.unready
        yield GaugeMetricFamily("volsvc_ready", "1 while /health/ready says so", ready)
        yield GaugeMetricFamily(
            "volsvc_health_status",
            "Worst check of /health: 0 ok, 1 degraded, 2 fail",
            STATUSES[self._health.status],
        )
