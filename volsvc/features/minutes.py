"""Minute bars built from ticks, with realised variances on a 5 s grid of previous-tick prices.

Ticks are irregular in time and bounce between bid and ask, so returns are those of the prices in
force at the points of a grid. Below 5 s the bounce inflates the variance (Zhou 1996; Hansen and
Lunde 2006); above 5 s information is lost.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from volsvc.domain import NS
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.return_window import log_return

GRID_NS: Final = 5 * NS
MINUTE_NS: Final = 60 * NS
# The least part of a minute that counts as observed: averages divide by time.
MIN_FRACTION: Final = 1e-3
# Least variance of a minute: that of a return of half a basis point.
FLOOR_PER_MINUTE: Final = (0.5e-4) ** 2


class MinuteBar(NamedTuple):
    """Prices, variance and volume of a minute with trades.

    `minute` counts from the epoch, UTC. `variance` is the sum of squared log returns inside the
    minute and `down` its part from falling prices; from recorded bars both are based on the one
    return from close to close. `returns` is the number of returns behind them.
    """

    minute: int
    close: float
    high: float
    low: float
    variance: float
    down: float
    volume: float
    returns: float = 1.0


def parkinson(high: float, low: float) -> float:
    """Return the variance implied by a range, (ln high/low)**2 / (4 ln 2) (Parkinson 1980)."""
    return math.log(high / low) ** 2 / (4 * math.log(2)) if high > low else 0.0


class MinuteBuilder:
    """Builds the minutes of one symbol from its ticks.

    A late tick that was accepted counts at the time of the newest one.
    """

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
        """Add a tick; return the minute that it ended, if any, and the fraction of it observed."""
        step = time_ns // GRID_NS
        minute = time_ns // MINUTE_NS
        if self._first_ns is None:
            self._first_ns = time_ns
            self._step, self._sampled = step, price
            self._open(minute, price)
        ended = None
        if step > self._step:
            self._close_step()
            self._step = step
            if minute > self._minute:
                bar = self._bar(self._variance, self._down, self._returns)
                ended = bar, self._observed(self._minute + 1)
                self._open(minute, price)
        self._last = price
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._volume += size
        return ended

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

    def _observed(self, until_minute: float) -> float:
        assert self._first_ns is not None, "a bar needs a tick"
        # The first minute is observed from the first tick on only, perhaps for a nanosecond.
        observed = min(until_minute - self._minute, until_minute - self._first_ns / MINUTE_NS)
        return max(observed, MIN_FRACTION)

    def pending(self, time_ns: int) -> tuple[MinuteBar, float] | None:
        """Return the current minute up to its newest tick, and the fraction of it that has passed.

        None in the first minute of the symbol, which is too short for a variance.
        """
        if self._first_ns is None or time_ns - self._first_ns < MINUTE_NS:
            return None
        fraction = self._observed(time_ns / MINUTE_NS)
        return self._bar(*self._with_last_move(), self._returns + 1), fraction

    def dump(self) -> Any:
        """Return the whole state in a form that JSON holds without loss."""
        prices = (self._sampled, self._last, self._high, self._low)
        sums = (self._variance, self._down, self._volume, self._returns)
        return [self._first_ns, self._step, self._minute, pack(prices + sums)]

    def restore(self, state: Any) -> None:
        """Restore a state returned by `dump`."""
        self._first_ns, self._step, self._minute, packed = state
        self._sampled, self._last, self._high, self._low, *sums = unpack(packed).tolist()
        self._variance, self._down, self._volume, self._returns = sums


class Ohlcv(NamedTuple):
    """Prices and volume of a recorded bar of one minute."""

    open: float
    high: float
    low: float
    close: float
    volume: float


def bar_of_prices(minute: int, previous: float, bar: Ohlcv) -> MinuteBar:
    """Return the minute of a recorded bar.

    `previous` is the close of the bar before, NaN for the first.
    """
    move = log_return(bar.close, bar.open if math.isnan(previous) else previous)
    square = move * move
    high, low = max(bar.high, bar.close), min(bar.low, bar.close)
    down = square if move < 0 else 0.0
    return MinuteBar(minute, bar.close, high, low, square, down, bar.volume)
