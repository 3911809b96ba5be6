"""`volsvc top`: a running daemon in the terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rich.console import Console
from rich.live import Live

from volsvc.config import Settings, SettingsError
from volsvc.model_admin import Daemon, DaemonError, daemon_url
from volsvc.supervisor import Backoff
from volsvc.top_objectives import SERIES
from volsvc.top_view import SORTS, SPARK_POINTS, Seen, Wanted, render

SLOW_S: Final = 5.0
"""Seconds between looks at what changes slowly: health, models, quality, drift, metrics."""
MOST_WAIT_S: Final = 10.0
ASKED: Final = (
    *SERIES,
    "volsvc_ticks_total",
    "volsvc_ticks_rejected_total",
    "volsvc_kafka_consumer_lag_records",
)
MOST_SEEDED: Final = 20
"""Symbols whose line begins with what the daemon remembers."""
OTHER_LINES: Final = 18
"""Lines of the screen that are not rows of the table of markets."""


@dataclass(frozen=True, slots=True)
class TopOrder:
    """What to show of which daemon, and how often; `once` prints and ends."""

    url: str | None
    key_file: Path | None
    symbols: Sequence[str]
    sort: str
    horizon_s: float | None
    every_s: float
    once: bool


class Watcher:
    """Asks a daemon, and keeps what it said last."""

    def __init__(self, daemon: Daemon, url: str, symbols: Sequence[str] = ()) -> None:
        self.seen = Seen(url)
        self._daemon = daemon
        self._symbols = symbols
        self._slow_at = -SLOW_S
        self._lost_at: float | None = None

    def look(self, now_s: float) -> bool:
        """Ask once, at a time of a clock that does not go back; false when nothing answered."""
        try:
            latest = self._latest()
            if not self.seen.latest:
                self._seed(latest)
            self.seen.take_latest(latest)
            if self._lost_at is not None or now_s - self._slow_at >= SLOW_S:
                self._look_slowly()
                self._slow_at = now_s
        except DaemonError as error:
            self._lost_at = now_s if self._lost_at is None else self._lost_at
            self.seen.fault = str(error)
            self.seen.lost_s = now_s - self._lost_at
            return False
        self._lost_at = self.seen.lost_s = None
        return True

    def _get(self, path: str) -> Any:
        return self._daemon.call("GET", path)

    def _latest(self) -> list[Any]:
        if not self._symbols:
            return list(self._get("/latest")["symbols"])
        return [self._get(f"/latest/{quote(symbol, safe='')}") for symbol in self._symbols]

    def _seed(self, latest: Sequence[Any]) -> None:
        """Prices from before we looked, where this daemon has them."""
        for symbol in [one["symbol"] for one in latest[:MOST_SEEDED]]:
            with contextlib.suppress(DaemonError):
                history = self._get(f"/history/{quote(symbol, safe='')}?limit={SPARK_POINTS}")
                self.seen.prices[symbol] = [said["price"] for said in history["forecasts"]]

    def _look_slowly(self) -> None:
        seen = self.seen
        seen.models, seen.quality = self._get("/models"), self._get("/quality")
        seen.drift = self._get("/drift")
        seen.changes = self._get("/models/history?limit=4")["entries"]
        names = "&".join(f"name[]={name}" for name in ASKED)
        seen.metrics = self._daemon.text("GET", f"/metrics?{names}")
        seen.health = self._health()

    def _health(self) -> Any:
        """The answer of /health, which is an error when the whole has failed."""
        try:
            return self._get("/health")
        except DaemonError as error:
            check = {"status": "fail", "detail": str(error)}
            return {"status": "fail", "checks": {"service": check}}


def run_top(settings: Settings, order: TopOrder) -> None:
    """Show a daemon until Ctrl-C; raises DaemonError when the first and only look fails."""
    if order.sort not in SORTS:
        raise SettingsError(f"--sort: {order.sort!r} is none of {', '.join(SORTS)}")
    url = daemon_url(settings, order.url)
    watcher = Watcher(Daemon(url, order.key_file), url, order.symbols)
    console = Console()
    if order.once:
        if not watcher.look(time.monotonic()):
            raise DaemonError(watcher.seen.fault)
        console.print(render(watcher.seen, Wanted(order.sort, order.horizon_s, 10_000)))
        return
    with contextlib.suppress(KeyboardInterrupt):
        _show(watcher, order, console)


def _show(watcher: Watcher, order: TopOrder, console: Console) -> None:
    backoff = Backoff(order.every_s, max(MOST_WAIT_S, order.every_s))
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            answered = watcher.look(time.monotonic())
            rows = max(3, console.height - OTHER_LINES)
            wanted = Wanted(order.sort, order.horizon_s, rows)
            live.update(render(watcher.seen, wanted), refresh=True)
            if answered:
                backoff.reset()
            time.sleep(order.every_s if answered else backoff.delay_s())
