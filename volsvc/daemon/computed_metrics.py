"""What is read when somebody scrapes: how old answers are, and how the daemon is."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from volsvc.pipeline.latest_store import LatestStore
from volsvc.telemetry.health import Health, Status

STATUSES: dict[Status, int] = {"ok": 0, "degraded": 1, "fail": 2}


class ComputedMetrics(Collector):
    """Gauges that would be wrong a second after they were set, and so are computed."""

    def __init__(self, latest_store: LatestStore, health: Health) -> None:
        self._latest_store = latest_store
        self._health = health

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Ages by symbol, which the board bounds, and the state of the whole."""
        age = GaugeMetricFamily(
            "volsvc_forecast_age_seconds",
            "Time since the tick behind a symbol's newest answer was processed",
            labels=("symbol",),
        )
        now_s = time.time()
        for posted in self._latest_store:
            age.add_metric((posted.snapshot.row.symbol,), posted.age_s(now_s))
        ready = self._health.ready and not self._health.draining
        yield age
        yield GaugeMetricFamily("volsvc_ready", "1 while /health/ready says so", ready)
        yield GaugeMetricFamily(
            "volsvc_health_status",
            "Worst check of /health: 0 ok, 1 degraded, 2 fail",
            STATUSES[self._health.status],
        )
