"""The steps of a simulated market, and its trades of the past."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np

from volsvc.domain import NS, Tick
from volsvc.domain.minute_bars import BarSeries

# Trades of a symbol that the exchange keeps, for REST and snapshots.
KEPT = 1_000_000


class Step(NamedTuple):
    """The ticks of one symbol that the exchange sends together."""

    symbol: str
    ticks: tuple[Tick, ...]


class Steps:
    """The ticks as steps, each of one symbol within `batch_ms` of event time.

    The steps depend on the ticks alone, not on the speed of the playback, so that a fault at a step
    concerns the same trades in every run. Trades without ids are numbered. `history` holds trades
    of the past, and `bars` those of before them by symbol, which only candles show.
    """

    def __init__(
        self,
        ticks: Iterable[Tick],
        batch_ms: int,
        history: Iterable[Tick] = (),
        bars: Mapping[str, BarSeries] | None = None,
    ) -> None:
        self._ticks = ticks
        self._bars = bars or {}
        self._batch_ns = batch_ms * 1_000_000
        self._ids: Counter[str] = Counter()
        self.past: dict[str, list[Tick]] = {}
        for tick in history:
            self.record(self._with_id(tick))

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps in the order of their times."""
        numbered = map(self._with_id, self._ticks)
        for _, window in groupby(numbered, key=lambda tick: tick.time_ns // self._batch_ns):
            by_symbol: dict[str, list[Tick]] = {}
            for tick in window:
                by_symbol.setdefault(tick.symbol, []).append(tick)
            for symbol, ticks in by_symbol.items():
                yield Step(symbol, tuple(ticks))

    def _with_id(self, tick: Tick) -> Tick:
        trade_id = tick.trade_id or self._ids[tick.symbol] + 1
        self._ids[tick.symbol] = trade_id
        return msgspec.structs.replace(tick, trade_id=trade_id)

    def record(self, tick: Tick) -> None:
        """Add a trade to the past, which REST and snapshots show."""
        trades = self.past.setdefault(tick.symbol, [])
        trades.append(tick)
        # Seldom and many at once: deleting at the front of a list moves all the rest.
        if len(trades) > 2 * KEPT:
            del trades[:KEPT]

    def newest(self, symbol: str, count: int) -> list[Tick]:
        """Return the newest trades of a symbol, oldest first."""
        return self.past.get(symbol, [])[-count:] if count else []

    def before(self, symbol: str, trade_id: int | None, count: int) -> list[Tick]:
        """Return the newest trades with ids below `trade_id` (None: all), oldest first."""
        trades = self.past.get(symbol, [])
        end = len(trades)
        if trade_id is not None:
            end = bisect_left(trades, trade_id, key=lambda tick: tick.trade_id or 0)
        return trades[max(0, end - count) : end]

    def candles(self, symbol: str, start_s: int, end_s: int, size_s: int) -> list[list[float]]:
        """Return candles from start to end, both inclusive, newest first, as Coinbase does.

        Each is [time, low, high, open, close, volume], the time in seconds since the epoch.
        """
        trades = self.past.get(symbol, [])
        first = bisect_left(trades, start_s * NS, key=lambda tick: tick.time_ns)
        last = bisect_left(trades, (end_s + size_s) * NS, key=lambda tick: tick.time_ns)
        candles = []
        for bucket, group in groupby(trades[first:last], lambda t: t.time_ns // (size_s * NS)):
            ticks = list(group)
            prices = [tick.price for tick in ticks]
            volume = sum(tick.size or 0.0 for tick in ticks)
            ends = (min(prices), max(prices), prices[0], prices[-1])
            candles.append([bucket * size_s, *ends, volume])
        older = self._bars.get(symbol)
        if older is None or size_s != 60:
            return candles[::-1]
        minutes, values = older.between(start_s // 60, end_s // 60 + 1)
        opened, high, low, close, volume = values.T
        rows = np.column_stack((minutes * 60, low, high, opened, close, volume))
        return [*candles[::-1], *rows[::-1].tolist()]
