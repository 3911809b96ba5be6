"""A tick: one observation of one symbol's market."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One observation of a symbol.

    `time_ns` is the event time in nanoseconds since the epoch; `price` is the last trade price,
    `best_bid` and `best_ask` the book beside it where the feed has them. `trade_id` and `sequence`
    are the venue's, None where it sends none. `source` says where the tick came from and is no
    part of its identity.
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
        """The price that features see: the mid where both quotes are known, else the last."""
        if self.best_bid is not None and self.best_ask is not None:
            return (self.best_bid + self.best_ask) / 2
        return self.price


class SourceRow(NamedTuple):
    """A tick with its place in its source, so that a replay can go on where it stopped.

    `received_ns` is the wall-clock time at which a live source received it.
    """

    position: int
    tick: Tick
    received_ns: int | None = None
