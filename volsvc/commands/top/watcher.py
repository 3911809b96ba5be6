"""Polling a daemon and drawing its state until Ctrl-C."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from volsvc.backoff import Backoff
from volsvc.client import Client, ClientError
from volsvc.commands.models import client_of, daemon_url
from volsvc.commands.top.objectives import SERIES
from volsvc.commands.top.view import (
    CHANGES,
    SORTS,
    SPARK_POINTS,
    DaemonSnapshot,
    Fields,
    ViewOptions,
    render,
)
from volsvc.config.settings import Settings, SettingsError

# Seconds between polls of health, models, quality, drift and metrics, which change slowly.
SLOW_POLL_S: Final = 5.0
MAX_WAIT_S: Final = 10.0
# The metrics that the view shows: /metrics answers with these alone.
METRICS: Final = (
    *SERIES,
    "volsvc_ticks_total",
    "volsvc_ticks_rejected_total",
    "volsvc_kafka_consumer_lag_records",
)
# Symbols whose sparkline begins with the daemon's history: one request each.
MAX_SEEDED: Final = 20
# Lines of the screen around the rows of the table of markets.
OTHER_LINES: Final = 18


@dataclass(frozen=True, slots=True)
class TopOptions:
    """Options of `volsvc top`; with `once` the view is printed once."""

    url: str | None
    key_file: Path | None
    symbols: Sequence[str]
    sort: str
    horizon_s: float | None
    every_s: float
    once: bool


class Watcher:
    """Polls a daemon, and keeps its newest answers in `snapshot`."""

    def __init__(self, client: Client, url: str, symbols: Sequence[str] = ()) -> None:
        self.snapshot = DaemonSnapshot(url)
        self._client = client
        self._symbols = symbols
        self._slow_at = -SLOW_POLL_S
        self._lost_at: float | None = None

    def poll(self, now_s: float) -> bool:
        """Poll the daemon, and return whether it answered; `now_s` is a monotonic time."""
        try:
            latest = self._latest()
            if not self.snapshot.latest:
                self._seed(latest)
            self.snapshot.update_latest(latest)
            # A daemon that comes back may be another one: everything is read again.
            if self._lost_at is not None or now_s - self._slow_at >= SLOW_POLL_S:
                self._poll_slow()
                self._slow_at = now_s
        except ClientError as error:
            self._lost_at = now_s if self._lost_at is None else self._lost_at
            self.snapshot.error = str(error)
            self.snapshot.lost_s = now_s - self._lost_at
            return False
        self._lost_at = self.snapshot.lost_s = None
        return True

    def _latest(self) -> list[Fields]:
        if not self._symbols:
            entries = self._client.latest_all().symbols
        else:
            entries = [self._client.latest(symbol) for symbol in self._symbols]
        return [entry.model_dump() for entry in entries]

    def _seed(self, latest: Sequence[Fields]) -> None:
        """Begin the sparklines with the prices that the daemon still has."""
        for symbol in [entry["symbol"] for entry in latest[:MAX_SEEDED]]:
            # Of a group, only the instance that owns the symbol has its history.
            with contextlib.suppress(ClientError):
                history = self._client.history(symbol, limit=SPARK_POINTS)
                self.snapshot.prices[symbol] = [forecast.price for forecast in history.forecasts]

    def _poll_slow(self) -> None:
        snapshot, client = self.snapshot, self._client
        snapshot.models = client.models().model_dump()
        snapshot.quality = client.quality().model_dump()
        snapshot.drift = client.drift().model_dump()
        snapshot.changes = client.model_history(limit=CHANGES).model_dump()["entries"]
        snapshot.metrics = client.metrics(*METRICS).text
        snapshot.health = client.health().model_dump()


def run_top(settings: Settings, options: TopOptions) -> None:
    """Show a daemon until Ctrl-C, or once; then raises ClientError if it does not answer."""
    if options.sort not in SORTS:
        raise SettingsError(f"--sort: {options.sort!r} is not one of {', '.join(SORTS)}")
    with client_of(settings, options.url, options.key_file) as client:
        watcher = Watcher(client, daemon_url(settings, options.url), options.symbols)
        console = Console()
        if options.once:
            if not watcher.poll(time.monotonic()):
                raise ClientError(watcher.snapshot.error)
            view = ViewOptions(options.sort, options.horizon_s, rows=10_000)
            console.print(render(watcher.snapshot, view))
            return
        with contextlib.suppress(KeyboardInterrupt):
            _show(watcher, options, console)


def _show(watcher: Watcher, options: TopOptions, console: Console) -> None:
    backoff = Backoff(options.every_s, max(MAX_WAIT_S, options.every_s))
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            answered = watcher.poll(time.monotonic())
            rows = max(3, console.height - OTHER_LINES)
            view = ViewOptions(options.sort, options.horizon_s, rows)
            live.update(render(watcher.snapshot, view), refresh=True)
            if answered:
                backoff.reset()
            time.sleep(options.every_s if answered else backoff.delay_s())
