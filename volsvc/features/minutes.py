"""Minutes out of ticks: previous-tick prices on a 5 s grid, gathered into minutes.

Ticks come at irregular times and bounce, so returns are taken on a grid: the price that held at
each grid point. Below 5 s the bounce of trade prices shows; above, information is lost.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from volsvc.domain import NS
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.multiscale import MinuteBar
from volsvc.features.return_window import log_return

GRID_NS: Final = 5 * NS
MINUTE_NS: Final = 60 * NS
# Part of a minute that a tick at its very start counts for.
LEAST_FRACTION: Final = 1e-3


class MinuteBuilder:
    """Gathers the ticks of one symbol; event times never go back."""

    __slots__ = (
        "_down",
        "_first_ns",
        "_high",
        "_last",
        "_low",
        "_minute",
        "_returns",
        "_sampled",
        "_step",
        "_variance",
        "_volume",
    )

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._step = 0
        self._sampled = self._last = 0.0
        self._open(0, 0.0)

    def _open(self, minute: int, price: float) -> None:
        self._minute = minute
        self._high = self._low = price
        self._variance = self._down = self._volume = self._returns = 0.0

    def push(self, time_ns: int, price: float, size: float) -> tuple[MinuteBar, float] | None:
        """Add a tick; the minute that it ended, if any, with the fraction that was watched."""
        step = time_ns // GRID_NS
        minute = time_ns // MINUTE_NS
        if self._first_ns is None:
            self._first_ns = time_ns
            self._step, self._sampled = step, price
            self._open(minute, price)
        over = None
        if step > self._step:
            self._close_step()
            self._step = step
            if minute > self._minute:
                bar = self._bar(self._variance, self._down, self._returns)
                over = bar, self._watched(self._minute + 1)
                self._open(minute, price)
        self._last = price
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._volume += size
        return over

    def _close_step(self) -> None:
        self._variance, self._down = self._with_last_move()
        self._returns += 1
        self._sampled = self._last

    def _with_last_move(self) -> tuple[float, float]:
        move = log_return(self._last, self._sampled)
        square = move * move
        return self._variance + square, self._down + (square if move < 0 else 0.0)

    def _bar(self, variance: float, down: float, returns: float) -> MinuteBar:
        prices = self._last, self._high, self._low
        return MinuteBar(self._minute, *prices, variance, down, self._volume, returns)

    def _watched(self, until_minute: float) -> float:
        """Fraction of the minute under way that was watched until a time in minutes."""
        assert self._first_ns is not None, "a bar needs a tick"
        return min(until_minute - self._minute, until_minute - self._first_ns / MINUTE_NS)

    def pending(self, time_ns: int) -> tuple[MinuteBar, float] | None:
        """The minute under way at the time of its newest tick, and the fraction watched so far.

        None until a minute has been watched: less says nothing of a variance.
        """
        if self._first_ns is None or time_ns - self._first_ns < MINUTE_NS:
            return None
        fraction = max(self._watched(time_ns / MINUTE_NS), LEAST_FRACTION)
        return self._bar(*self._with_last_move(), self._returns + 1), fraction

    def dump(self) -> Any:
        """The whole state, as JSON can carry it without loss."""
        prices = (self._sampled, self._last, self._high, self._low)
        sums = (self._variance, self._down, self._volume, self._returns)
        return [self._first_ns, self._step, self._minute, pack(prices + sums)]

    def restore(self, state: Any) -> None:
        """Take over what `dump` gave."""
        self._first_ns, self._step, self._minute, packed = state
        self._sampled, self._last, self._high, self._low, *sums = unpack(packed).tolist()
        self._variance, self._down, self._volume, self._returns = sums


class Ohlcv(NamedTuple):
    """A recorded bar of one minute: prices, and the size traded."""

    open: float
    high: float
    low: float
    close: float
    volume: float


def bar_of_prices(minute: int, previous: float, bar: Ohlcv) -> MinuteBar:
    """A minute out of a recorded bar; `previous` is the close before it, NaN for the first."""
    move = log_return(bar.close, bar.open if math.isnan(previous) else previous)
    square = move * move
    high, low = max(bar.high, bar.close), min(bar.low, bar.close)
    down = square if move < 0 else 0.0
    return MinuteBar(minute, bar.close, high, low, square, down, bar.volume)
