"""`volsvc top`: a running daemon in the terminal."""

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
from volsvc.commands.top.view import SORTS, SPARK_POINTS, Fields, Seen, Wanted, render
from volsvc.config.settings import Settings, SettingsError

# Seconds between looks at what changes slowly: health, models, quality, drift, metrics.
SLOW_S: Final = 5.0
MOST_WAIT_S: Final = 10.0
ASKED: Final = (
    *SERIES,
    "volsvc_ticks_total",
    "volsvc_ticks_rejected_total",
    "volsvc_kafka_consumer_lag_records",
)
# Symbols whose line begins with what the daemon remembers.
MOST_SEEDED: Final = 20
# Lines of the screen that are not rows of the table of markets.
OTHER_LINES: Final = 18


@dataclass(frozen=True, slots=True)
class TopOptions:
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

    def __init__(self, client: Client, url: str, symbols: Sequence[str] = ()) -> None:
        self.seen = Seen(url)
        self._client = client
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
        except ClientError as error:
            self._lost_at = now_s if self._lost_at is None else self._lost_at
            self.seen.fault = str(error)
            self.seen.lost_s = now_s - self._lost_at
            return False
        self._lost_at = self.seen.lost_s = None
        return True

    def _latest(self) -> list[Fields]:
        if not self._symbols:
            found = self._client.latest_all().symbols
        else:
            found = [self._client.latest(symbol) for symbol in self._symbols]
        return [one.model_dump() for one in found]

    def _seed(self, latest: Sequence[Fields]) -> None:
        """Prices from before we looked, where this daemon has them."""
        for symbol in [one["symbol"] for one in latest[:MOST_SEEDED]]:
            with contextlib.suppress(ClientError):
                history = self._client.history(symbol, limit=SPARK_POINTS)
                self.seen.prices[symbol] = [said.price for said in history.forecasts]

    def _look_slowly(self) -> None:
        seen, client = self.seen, self._client
        seen.models, seen.quality = client.models().model_dump(), client.quality().model_dump()
        seen.drift = client.drift().model_dump()
        seen.changes = client.model_history(limit=4).model_dump()["entries"]
        seen.metrics = client.metrics(*ASKED).text
        seen.health = client.health().model_dump()


def run_top(settings: Settings, options: TopOptions) -> None:
    """Show a daemon until Ctrl-C; raises ClientError when the first and only look fails."""
    if options.sort not in SORTS:
        raise SettingsError(f"--sort: {options.sort!r} is none of {', '.join(SORTS)}")
    with client_of(settings, options.url, options.key_file) as client:
        watcher = Watcher(client, daemon_url(settings, options.url), options.symbols)
        console = Console()
        if options.once:
            if not watcher.look(time.monotonic()):
                raise ClientError(watcher.seen.fault)
            console.print(render(watcher.seen, Wanted(options.sort, options.horizon_s, 10_000)))
            return
        with contextlib.suppress(KeyboardInterrupt):
            _show(watcher, options, console)


def _show(watcher: Watcher, options: TopOptions, console: Console) -> None:
    backoff = Backoff(options.every_s, max(MOST_WAIT_S, options.every_s))
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            answered = watcher.look(time.monotonic())
            rows = max(3, console.height - OTHER_LINES)
            wanted = Wanted(options.sort, options.horizon_s, rows)
            live.update(render(watcher.seen, wanted), refresh=True)
            if answered:
                backoff.reset()
            time.sleep(options.every_s if answered else backoff.delay_s())
