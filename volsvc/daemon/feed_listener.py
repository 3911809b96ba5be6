"""Reports of a live feed as health, metrics, log lines and gap events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from volsvc.domain import FeedError, InvalidTickError
from volsvc.telemetry.health import Health
from volsvc.telemetry.limited_warnings import LimitedWarnings
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics

# Called with the symbol (empty for a whole connection), `messages` or `trades`, and their number.
GapListener = Callable[[str, str, int], None]

log = get_logger(__name__)


def ignore_gap(symbol: str, kind: str, missing: int) -> None:
    """Do nothing: the listener of commands that have no stream of events."""


class FeedListener:
    """Routes reports of a live feed to health, metrics, logs and a listener for gaps.

    Implements `sources.base.FeedEvents`.
    """

    def __init__(self, metrics: Metrics, health: Health, on_gap: GapListener = ignore_gap) -> None:
        self._rejected = metrics.ticks.rejected
        self._metrics = metrics.feed
        self._health = health
        self._on_gap = on_gap
        self._delivering: dict[int, bool] = {}
        self._rejections = LimitedWarnings(log, "feed_rejected")
        self._not_taken = LimitedWarnings(log, "feed_not_taken")

    def connecting(self, connection: int, symbols: Sequence[str]) -> None:
        """Report that a connection is being opened for the first time."""
        self._down(connection, symbols, "connecting")

    def delivering(self, connection: int, symbols: Sequence[str]) -> None:
        """Report the first data of a connection."""
        self._delivering[connection] = True
        self._metrics.connected.set(all(self._delivering.values()))
        self._health.silent.difference_update(symbols)
        self._health.report(_check(connection), "ok", f"{len(symbols)} symbols")
        log.info("feed_delivers", connection=connection, symbols=len(symbols))

    def not_taken(self, connection: int, symbols: Sequence[str], detail: str) -> None:
        """Report messages of a connection of which none gave a tick that could be taken."""
        self._down(connection, symbols, detail)
        self._not_taken.add("none taken", connection=connection, detail=detail)

    def disconnected(self, connection: int, symbols: Sequence[str], error: FeedError) -> None:
        """Report that a connection broke, was refused or fell silent."""
        self._metrics.reconnects.labels(error.reason).inc()
        delivered = self._delivering.get(connection, False)
        self._down(connection, symbols, f"{error.reason}: {error}")
        # Only the first failure is a warning; the attempts that follow are expected.
        if delivered:
            log.warning("feed_lost", connection=connection, reason=error.reason, detail=str(error))
        else:
            log.info("feed_not_back", connection=connection, reason=error.reason, detail=str(error))

    def _down(self, connection: int, symbols: Sequence[str], detail: str) -> None:
        self._delivering[connection] = False
        self._metrics.connected.set(0)
        self._health.silent.update(symbols)
        self._health.report(_check(connection), "degraded", detail)

    def unavailable(self, symbol: str, detail: str) -> None:
        """Report a symbol that the venue refuses; the others are not affected."""
        if self._health.report(f"feed:{symbol}", "degraded", detail):
            log.warning("feed_symbol_refused", symbol=symbol, detail=detail)

    def available(self, symbol: str) -> None:
        """Report a symbol that is confirmed, if the venue had refused it."""
        # Without a check until then, because there may be thousands of symbols.
        check = f"feed:{symbol}"
        if check in self._health.checks and self._health.report(check, "ok"):
            log.info("feed_symbol_confirmed", symbol=symbol)

    def message(self, kind: str) -> None:
        """Count a message."""
        self._metrics.messages.labels(kind).inc()

    def rejected_tick(self, error: InvalidTickError) -> None:
        """Count a message, or an entry of one, that is no valid tick."""
        self._rejected.labels(error.reason).inc()
        self._rejections.add(error.reason, field=error.field, error=error.detail)

    def gap(self, symbol: str, kind: str, missing: int) -> None:
        """Report messages of a connection or trades of a symbol that are lost."""
        self._metrics.missed.labels(kind).inc(missing)
        log.warning("feed_gap", symbol=symbol, kind=kind, missing=missing)
        self._on_gap(symbol, kind, missing)

    def backfilled(self, symbol: str, trades: int) -> None:
        """Report missed trades that came over REST."""
        self._metrics.backfilled.inc(trades)
        log.info("feed_backfilled", symbol=symbol, trades=trades)

    def warmed(self, symbol: str, minutes: int) -> None:
        """Report a symbol that begins with the venue's candles."""
        self._metrics.warmed.labels("warmed").inc()
        log.info("symbol_warmed", symbol=symbol, minutes=minutes)

    def not_warmed(self, symbol: str, reason: str) -> None:
        """Report a symbol that begins cold."""
        self._metrics.warmed.labels("cold").inc()
        # No fault of the service: the symbol's verdict says that it is cold, and here is why.
        self._health.report(f"warmup:{symbol}", "ok", f"begins cold: {reason}")
        log.warning("symbol_not_warmed", symbol=symbol, reason=reason)

    def delay(self, seconds: float) -> None:
        """Observe the time from a tick's event to its receipt."""
        self._metrics.delay.observe(max(0.0, seconds))
        if seconds < 0:
            self._metrics.negative_delay.inc()

    def rest(self, outcome: str) -> None:
        """Count a REST request by its outcome."""
        self._metrics.rest.labels(outcome).inc()


def _check(connection: int) -> str:
    return f"feed:{connection}"
