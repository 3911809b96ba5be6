"""The trades of one symbol in the order of their ids, each once, across reconnects."""

from __future__ import annotations

from collections.abc import Iterable

from volsvc.domain import Tick
from volsvc.sources.base import KnownTick
from volsvc.sources.live.venue import TradeGap


class TradeSequencer:
    """Releases trades while no id is missing, and buffers the trades beyond a gap.

    A gap closes when its trades arrive, late or by back-fill, or when it is skipped.
    """

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._last: int | None = None
        self._newest_ns = 0
        self._buffer: dict[int, Tick] = {}
        self.duplicates = 0

    def resume(self, known: KnownTick | None) -> None:
        """Begin after a trade that an earlier run has left, unless trades have come already."""
        if self._last is None and known is not None:
            self._last, self._newest_ns = known.trade_id, known.time_ns

    def add(self, ticks: Iterable[Tick]) -> list[Tick]:
        """Add trades and return those that are released by them, in order."""
        ready: list[Tick] = []
        for tick in ticks:
            # A channel of tickers has no trade ids, so nothing can be missing from it.
            if tick.trade_id is None:
                ready.append(tick)
            elif self._last is None or self._is_restart(tick, self._last):
                self._buffer.clear()
                self._release(tick, tick.trade_id, ready)
            elif tick.trade_id <= self._last or tick.trade_id in self._buffer:
                self.duplicates += 1
            else:
                self._buffer[tick.trade_id] = tick
                self._release_buffered(ready)
        return ready

    @property
    def gap(self) -> TradeGap | None:
        """The first gap for which later trades are buffered."""
        if not self._buffer or self._last is None:
            return None
        return TradeGap(self._symbol, self._last + 1, min(self._buffer) - 1, self._newest_ns)

    @property
    def buffered(self) -> int:
        """The number of buffered trades."""
        return len(self._buffer)

    def skip_gap(self) -> list[Tick]:
        """Give up the first gap and return the buffered trades up to the next one."""
        ready: list[Tick] = []
        if self._buffer:
            self._last = min(self._buffer) - 1
            self._release_buffered(ready)
        return ready

    def _is_restart(self, tick: Tick, last: int) -> bool:
        # A lower id at a later time: the venue started its ids anew, and this is no repeat.
        return (
            tick.trade_id is not None and tick.trade_id <= last and tick.time_ns > self._newest_ns
        )

    def _release_buffered(self, ready: list[Tick]) -> None:
        while self._last is not None and (tick := self._buffer.pop(self._last + 1, None)):
            self._release(tick, self._last + 1, ready)

    def _release(self, tick: Tick, trade_id: int, ready: list[Tick]) -> None:
        self._last = trade_id
        self._newest_ns = max(self._newest_ns, tick.time_ns)
        ready.append(tick)
