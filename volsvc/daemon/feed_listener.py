"""What a live feed reports, as health, metrics, log lines and gap events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from volsvc.domain import FeedError, InvalidTickError
from volsvc.sources.base import FEED_MESSAGES, FEED_REASONS
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics

DELAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

# Hears of a gap: the symbol (empty: a whole connection), `messages` or `trades`, how many.
GapListener = Callable[[str, str, int], None]

log = get_logger(__name__)


class FeedMetrics:
    """The metrics of a live feed; they stand at 0 for other sources."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge(
            "volsvc_feed_connected",
            "1 while every connection to the venue delivers; 0 for a source that is not live",
            registry=registry,
        )
        self.reconnects = Counter(
            "volsvc_feed_reconnects",
            "Connections that ended, or could not be opened",
            ("reason",),
            registry=registry,
        )
        self.messages = Counter(
            "volsvc_feed_messages", "What the venue sent", ("kind",), registry=registry
        )
        self.missed = Counter(
            "volsvc_feed_missed",
            "Messages and trades that were lost for good",
            ("kind",),
            registry=registry,
        )
        self.backfilled = Counter(
            "volsvc_feed_backfilled_trades", "Missed trades fetched over REST", registry=registry
        )
        self.rest = Counter(
            "volsvc_feed_rest_requests", "REST requests", ("outcome",), registry=registry
        )
        self.delay = Histogram(
            "volsvc_tick_delay_seconds",
            "Time from a tick's event to its receipt",
            buckets=DELAY_BUCKETS,
            registry=registry,
        )
        self.negative_delay = Counter(
            "volsvc_negative_delay",
            "Ticks received before their event by our clock; their delay counts as 0",
            registry=registry,
        )
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        for reason in FEED_REASONS:
            self.reconnects.labels(reason)
        for kind in FEED_MESSAGES:
            self.messages.labels(kind)
        for kind in ("messages", "trades"):
            self.missed.labels(kind)
        for outcome in ("ok", "throttled", "failed"):
            self.rest.labels(outcome)


class FeedListener:
    """Knows which connections deliver; `gap_listeners` hear of every gap."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self.gap_listeners: list[GapListener] = []
        self._rejected = metrics.rejected
        self._feed = FeedMetrics(metrics.registry)
        self._health = health
        self._delivers: dict[int, bool] = {}

    def connecting(self, connection: int, symbols: Sequence[str]) -> None:
        """A connection is being opened for the first time."""
        self._down(connection, symbols, "connecting")

    def delivering(self, connection: int, symbols: Sequence[str]) -> None:
        """The first data of a connection have come."""
        self._delivers[connection] = True
        self._feed.connected.set(all(self._delivers.values()))
        self._health.silent.difference_update(symbols)
        self._health.report(_check(connection), "ok", f"{len(symbols)} symbols")
        log.info("feed_delivers", connection=connection, symbols=len(symbols))

    def disconnected(self, connection: int, symbols: Sequence[str], error: FeedError) -> None:
        """A connection broke, was refused or fell silent."""
        self._feed.reconnects.labels(error.reason).inc()
        delivered = self._delivers.get(connection, False)
        self._down(connection, symbols, f"{error.reason}: {error}")
        if delivered:
            log.warning("feed_lost", connection=connection, reason=error.reason, detail=str(error))
        else:
            log.info("feed_not_back", connection=connection, reason=error.reason, detail=str(error))

    def _down(self, connection: int, symbols: Sequence[str], detail: str) -> None:
        self._delivers[connection] = False
        self._feed.connected.set(0)
        self._health.silent.update(symbols)
        self._health.report(_check(connection), "degraded", detail)

    def unavailable(self, symbol: str, detail: str) -> None:
        """The venue refuses this symbol; the others go on."""
        if self._health.report(f"feed:{symbol}", "degraded", detail):
            log.warning("feed_symbol_refused", symbol=symbol, detail=detail)

    def message(self, kind: str) -> None:
        """A message came."""
        self._feed.messages.labels(kind).inc()

    def rejected_tick(self, error: InvalidTickError) -> None:
        """A message, or an entry of one, was no valid tick."""
        self._rejected.labels(error.reason).inc()
        log.debug("feed_rejected", field=error.field, error=error.detail)

    def gap(self, symbol: str, kind: str, missing: int) -> None:
        """So many messages of a connection or trades of a symbol are lost."""
        self._feed.missed.labels(kind).inc(missing)
        log.warning("feed_gap", symbol=symbol, kind=kind, missing=missing)
        for listener in self.gap_listeners:
            listener(symbol, kind, missing)

    def backfilled(self, symbol: str, trades: int) -> None:
        """Missed trades came over REST."""
        self._feed.backfilled.inc(trades)
        log.info("feed_backfilled", symbol=symbol, trades=trades)

    def delay(self, seconds: float) -> None:
        """Time from a tick's event to its receipt."""
        self._feed.delay.observe(max(0.0, seconds))
        if seconds < 0:
            self._feed.negative_delay.inc()

    def rest(self, outcome: str) -> None:
        """A REST request ended."""
        self._feed.rest.labels(outcome).inc()


def _check(connection: int) -> str:
    return f"feed:{connection}"
