"""What the parts of a daemon report, as health, metrics and one log line a change."""

from __future__ import annotations

from collections.abc import Mapping

from volsvc.daemon.feed_listener import FeedListener
from volsvc.domain import InvalidTickError
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Lag

# Faulty rows of a file that are logged one by one; the rest is counted.
LOGGED_ROWS = 10

log = get_logger(__name__)


class PartsListener:
    """Turns what the parts report into health, metrics and one log line a change."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self.feed = FeedListener(metrics, health)
        self._metrics = metrics
        self._health = health
        self._rows: dict[tuple[str, str], int] = {}

    def connected(self, part: str, up: bool, reason: str) -> None:
        """A client part reached the broker or lost it."""
        if not up:
            self._metrics.kafka_retries.labels(part).inc()
        if self._health.report(f"kafka:{part}", "ok" if up else "degraded", reason):
            if up:
                log.info("kafka_connected", part=part)
            else:
                log.warning("kafka_unreachable", part=part, reason=reason)
        parts = [c.status for name, c in self._health.checks.items() if name.startswith("kafka:")]
        self._metrics.kafka_connected.set(all(status == "ok" for status in parts))

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """How far each partition is behind its end."""
        self._metrics.set_lag(topic, lags)

    def rebalanced(self) -> None:
        """The assignment changed."""
        self._metrics.rebalances.inc()

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        """A row of a file was skipped."""
        self._metrics.rejected.labels(error.reason).inc()
        self._row("row_skipped", path, line, error)

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        """A row's time goes back; the consumer skips and counts it."""
        self._row("row_out_of_order", path, line, error)

    def _row(self, event: str, path: str, line: int, error: InvalidTickError) -> None:
        count = self._rows[event, path] = self._rows.get((event, path), 0) + 1
        if count <= LOGGED_ROWS:
            more = {"further": "counted, not logged"} if count == LOGGED_ROWS else {}
            log.warning(event, file=path, line=line, field=error.field, error=error.detail, **more)

    def late(self, seconds: float) -> None:
        """How far a paced replay is behind."""
        self._metrics.replay_lateness.set(seconds)

    def restarting(self, part: str, error: BaseException, delay_s: float) -> None:
        """A part failed and will run again."""
        self._metrics.restarts.labels(part).inc()
        log.warning("part_restarts", part=part, error=str(error), delay_s=round(delay_s, 3))
