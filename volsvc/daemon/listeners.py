"""Routes reports of the daemon's parts to logs, metrics and health."""

from __future__ import annotations

from collections.abc import Mapping

from volsvc.daemon.feed_listener import FeedListener, GapListener, ignore_gap
from volsvc.domain import InvalidTickError
from volsvc.telemetry.health import Health, Status
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Lag

# Faulty rows of a file that are logged one by one; the rest is only counted.
LOGGED_ROWS = 10

log = get_logger(__name__)


class PartsListener:
    """Routes reports of the daemon's parts to metrics, health and one log line per change.

    Implements `BusEvents` of the transport, `SourceEvents` of sources, `StoreEvents` and
    `RestartListener`; `feed` implements `FeedEvents`.
    """

    def __init__(self, metrics: Metrics, health: Health, on_gap: GapListener = ignore_gap) -> None:
        self.feed = FeedListener(metrics, health, on_gap)
        self._metrics = metrics
        self._health = health
        self._rows: dict[tuple[str, str], int] = {}

    def connected(self, part: str, up: bool, reason: str) -> None:
        """Report that a client part reached the broker or lost it."""
        if not up:
            self._metrics.kafka.retries.labels(part).inc()
        # Clients report every attempt; only a change of status is worth a line.
        if self._health.report(f"kafka:{part}", "ok" if up else "degraded", reason):
            if up:
                log.info("kafka_connected", part=part)
            else:
                log.warning("kafka_unreachable", part=part, reason=reason)
        parts = [c.status for name, c in self._health.checks.items() if name.startswith("kafka:")]
        self._metrics.kafka.connected.set(all(status == "ok" for status in parts))

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """Set the lag of each partition of a topic."""
        self._metrics.kafka.set_lag(topic, lags)

    def rebalanced(self) -> None:
        """Count a change of the assignment."""
        self._metrics.kafka.rebalances.inc()

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        """Report a row of a file that was skipped."""
        self._metrics.ticks.rejected.labels(error.reason).inc()
        self._log_row("row_skipped", path, line, error)

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        """Report a row whose time goes back; the consumer skips and counts it."""
        self._log_row("row_out_of_order", path, line, error)

    def _log_row(self, event: str, path: str, line: int, error: InvalidTickError) -> None:
        count = self._rows[event, path] = self._rows.get((event, path), 0) + 1
        if count <= LOGGED_ROWS:
            more = {"further": "counted, not logged"} if count == LOGGED_ROWS else {}
            log.warning(event, file=path, line=line, field=error.field, error=error.detail, **more)

    def ended(self, path: str, rejected: int) -> None:
        """Report the number of rows that were skipped, most of which were not logged."""
        if rejected:
            log.warning("rows_skipped", file=path, rows=rejected)

    def late(self, seconds: float) -> None:
        """Set how far a paced replay is behind its schedule."""
        self._metrics.ticks.replay_lateness.set(seconds)

    def store(self, status: Status, detail: str) -> None:
        """Report whether the store can be written."""
        is_first = "store" not in self._health.checks
        if self._health.report("store", status, detail):
            if status != "ok":
                log.warning("store_degraded", detail=detail)
            elif not is_first:
                log.info("store_writes_again")

    def stored(self, seconds: float, records: int) -> None:
        """Count a transaction of the store."""
        self._metrics.store.time_write.observe(seconds)
        self._metrics.store.records.inc(records)

    def store_size(self, size_bytes: int) -> None:
        """Set the size of the store."""
        self._metrics.store.size.set(size_bytes)

    def minutes_lost(self, rows: int) -> None:
        """Count rows of minutes that were given up."""
        self._metrics.store.minutes_lost.inc(rows)
        log.error("minutes_lost", rows=rows)

    def not_stored(self) -> None:
        """Count an attempt to write to the store that failed."""
        self._metrics.store.failures.inc()

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        """Report a part that failed and will run again."""
        self._metrics.process.restarts.labels(part).inc()
        self._metrics.process.working.labels(part).set(0)
        self._health.report(part, "degraded", f"restarts after: {error}")
        log.warning("part_restarts", part=part, error=str(error), delay_s=round(delay_s, 3))

    def working(self, part: str) -> None:
        """Report a part that works again."""
        self._metrics.process.working.labels(part).set(1)
        self._health.report(part, "ok")
        log.info("part_works", part=part)
