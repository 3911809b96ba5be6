"""The tick: one observation of the market of one symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    # The client imports this package, and must not need numpy.
    from volsvc.domain.minute_bars import PastBars


# Without gc: a tick holds no references that could form a cycle, and a poll holds thousands.
class Tick(msgspec.Struct, frozen=True, gc=False):
    """One observation of a symbol.

    `time_ns` is the event time in nanoseconds since the epoch. `price` is the last trade price;
    `best_bid` and `best_ask` are the best quotes at that time, None if the feed sends none.
    `trade_id` and `sequence` are the venue's, None if it sends none. `source` names the origin of
    the tick and is not part of its identity.
    """

    symbol: str
    time_ns: int
    price: float
    best_bid: float | None = None
    best_ask: float | None = None
    size: float | None = None
    side: str | None = None
    trade_id: int | None = None
    sequence: int | None = None
    source: str = ""

    @property
    def feature_price(self) -> float:
        """Price used by the features: the mid if both quotes are known, else the last price."""
        if self.best_bid is not None and self.best_ask is not None:
            return (self.best_bid + self.best_ask) / 2
        return self.price


class SourceRow(NamedTuple):
    """A tick with its position in its source, from which a replay can be resumed.

    `received_ns` is the wall-clock time at which a live source received the tick. `past` are bars
    of the symbol from before the tick.
    """

    position: int
    tick: Tick
    received_ns: int | None = None
    past: PastBars | None = None
