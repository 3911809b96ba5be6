"""Trades of one symbol in the order of their ids, each once, across reconnects and back-fills."""

from __future__ import annotations

from collections.abc import Iterable

from volsvc.domain import Tick
from volsvc.sources.live.venue import TradeGap


class TradeSequencer:
    """Passes trades on as long as no id misses, else holds back what is beyond the hole.

    The hole closes when its trades come, late or from REST, or is given up.
    """

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._last: int | None = None
        self._newest_ns = 0
        self._held: dict[int, Tick] = {}
        self.duplicates = 0

    def offer(self, ticks: Iterable[Tick]) -> list[Tick]:
        """Take trades in; returns those that may be passed on, in their order."""
        ready: list[Tick] = []
        for tick in ticks:
            if tick.trade_id is None:
                ready.append(tick)
            elif self._last is None or self._starts_anew(tick, self._last):
                self._held.clear()
                self._pass(tick, tick.trade_id, ready)
            elif tick.trade_id <= self._last or tick.trade_id in self._held:
                self.duplicates += 1
            else:
                self._held[tick.trade_id] = tick
                self._release(ready)
        return ready

    @property
    def gap(self) -> TradeGap | None:
        """The first ids that miss, while later trades are held back for them."""
        if not self._held or self._last is None:
            return None
        return TradeGap(self._symbol, self._last + 1, min(self._held) - 1, self._newest_ns)

    @property
    def held(self) -> int:
        """Trades that are held back."""
        return len(self._held)

    def give_up(self) -> list[Tick]:
        """Pass on what is held back up to the next hole, without what misses."""
        ready: list[Tick] = []
        if self._held:
            self._last = min(self._held) - 1
            self._release(ready)
        return ready

    def _starts_anew(self, tick: Tick, last: int) -> bool:
        """A lower id at a later time: the venue counts anew, these are no repeats."""
        return (
            tick.trade_id is not None and tick.trade_id <= last and tick.time_ns > self._newest_ns
        )

    def _release(self, ready: list[Tick]) -> None:
        while self._last is not None and (tick := self._held.pop(self._last + 1, None)):
            self._pass(tick, self._last + 1, ready)

    def _pass(self, tick: Tick, trade_id: int, ready: list[Tick]) -> None:
        self._last = trade_id
        self._newest_ns = max(self._newest_ns, tick.time_ns)
        ready.append(tick)
