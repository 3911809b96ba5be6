"""A live source on the simulated exchange, with the engine that processes its ticks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from prometheus_client import generate_latest

from tests.applied import rows_after
from tests.daemon import eventually, metric_sum
from volsvc.config.settings import FeatureSettings, SourceSettings
from volsvc.config.warmup import WarmupSettings
from volsvc.daemon.feed_listener import FeedListener
from volsvc.domain import NS, FeatureRow, SourceRow, Tick
from volsvc.domain.minute_bars import BarSeries
from volsvc.features import SymbolTable
from volsvc.simulator import Fault, Script, Simulator, Steps
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.source import LiveSource
from volsvc.sources.live.venue import Venue
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

START_NS = 1_790_000_000 * NS
SYMBOL = "BTC-USD"
# Watchdog timeouts short enough for a test; the simulator sends a heartbeat each 0.1 s.
WATCHED = {"heartbeat_timeout_s": 2.0, "data_timeout_s": 30, "reconnect_max_s": 0.3}


def trades(steps: int, per_step: int = 2, symbol: str = SYMBOL) -> list[Tick]:
    """Return trades, `per_step` of them in each step of a quarter of a second."""
    made = []
    for step in range(steps):
        for part in range(per_step):
            number = step * per_step + part
            time_ns = START_NS + step * 250_000_000 + part * 1_000_000
            price = 70_000 + 10 * math.sin(number / 7)
            side = "sell" if number % 3 else "buy"
            made.append(Tick(symbol, time_ns, price, size=0.25, side=side, trade_id=1_000 + number))
    return made


def exchange(
    ticks: Sequence[Tick],
    *faults: Fault,
    speed: float = math.inf,
    bars: Mapping[str, BarSeries] | None = None,
    **script: Any,
) -> Simulator:
    """Return a simulated exchange that plays these ticks."""
    made = Script(fault=faults, **{"heartbeat_s": 0.1, **script})
    return Simulator(Steps(ticks, made.batch_ms, bars=bars), made, speed=speed)


def settings(simulator: Simulator, **keys: Any) -> SourceSettings:
    """Return the settings of a source that connects to the simulator."""
    urls = {"ws_url": simulator.ws_url, "rest_url": simulator.rest_url}
    return SourceSettings(kind="coinbase", **{**urls, **WATCHED, **keys})


class Feed:
    """A live source with its ticks and the features that the daemon's engine makes of them."""

    def __init__(
        self,
        settings: SourceSettings,
        symbols: Sequence[str],
        venue: Venue,
        warmup: WarmupSettings | None = None,
    ) -> None:
        metrics = Metrics()
        self.health = Health()
        self.gaps: list[tuple[str, str, int]] = []
        self.rows: list[SourceRow] = []
        self.features: list[FeatureRow] = []
        self.table = SymbolTable(FeatureSettings())
        reporter = FeedListener(metrics, self.health, lambda *gap: self.gaps.append(gap))
        self._registry = metrics.registry
        self.source = LiveSource(venue, symbols, settings, reporter, warmup=warmup)

    async def run(self) -> None:
        """Process ticks until cancelled."""
        batches = self.source.batches(lambda row: False)
        try:
            async for batch in batches:
                self.rows += batch
                for row in batch:
                    self.features += rows_after(self.table, row.tick)
        finally:
            await batches.aclose()  # type: ignore[attr-defined]

    @property
    def ids(self) -> list[int | None]:
        """The trade ids in the order of arrival."""
        return [row.tick.trade_id for row in self.rows]

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        return metric_sum(generate_latest(self._registry).decode(), name)

    async def until(self, state: Callable[[], bool], what: str, within_s: float = 15) -> None:
        """Wait until a state is reached."""

        async def reached() -> bool:
            return state()

        await eventually(reached, within_s, what, every_s=0.005)


@asynccontextmanager
async def listening(
    source_settings: SourceSettings,
    symbols: Sequence[str] = (SYMBOL,),
    venue: Venue | None = None,
    warmup: WarmupSettings | None = None,
) -> AsyncIterator[Feed]:
    """Run a source while the context is open; raises the exception of a failed source."""
    feed = Feed(source_settings, symbols, venue or Coinbase(source_settings.feed), warmup)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


def now_trades(steps: int) -> list[Tick]:
    """Return trades of which the first happens now."""
    shift_ns = time.time_ns() - START_NS
    return [msgspec.structs.replace(t, time_ns=t.time_ns + shift_ns) for t in trades(steps)]
