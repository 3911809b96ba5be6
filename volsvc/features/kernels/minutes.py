"""Minute bars built from ticks, with realised variances on a 5 s grid of previous-tick prices.

Ticks are irregular in time and bounce between bid and ask, so returns are those of the prices in
force at the points of a grid. Below 5 s the bounce inflates the variance (Zhou 1996; Hansen and
Lunde 2006); above 5 s information is lost.
"""

from __future__ import annotations

import math
from typing import Any, Final

from volsvc.compiled import kernel, record_type
from volsvc.domain import NS
from volsvc.features.kernels.price_window import log_return

GRID_NS: Final = 5 * NS
MINUTE_NS: Final = 60 * NS
# The least part of a minute that counts as observed: averages divide by time.
MIN_FRACTION: Final = 1e-3
# Least variance of a minute: that of a return of half a basis point.
FLOOR_PER_MINUTE: Final = (0.5e-4) ** 2

# Prices, variance and volume of a minute with trades. `minute` counts from the epoch, UTC. `ticks`
# is 0 for a recorded bar.
# `variance` is the sum of squared log returns inside the minute and `down` its part from falling
# prices; from recorded bars both are based on the one return from close to close. `returns` is the
# number of returns behind them.
BAR = record_type(
    [
        ("minute", "i8"),
        ("close", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("variance", "f8"),
        ("down", "f8"),
        ("volume", "f8"),
        ("returns", "f8"),
        ("open", "f8"),
        ("ticks", "i8"),
    ]
)
# The recorded bars that a symbol has seen beside its ticks: their origin, as its place in
# state.BAR_SOURCES, the first minute, and their number, 0 for none. `squares` and `spans` are sums
# of their squared returns and of Parkinson's variances, both relative to the recent variance.
WARMED = record_type(
    [
        ("source", "i8"),
        ("from_minute", "i8"),
        ("minutes", "i8"),
        ("squares", "f8"),
        ("spans", "f8"),
    ]
)
# The minute under way. `first_ns` is the time of the symbol's first tick, -1 before it; `step` the
# newest step of the grid and `sampled` the price in force at its start.
CURRENT_MINUTE = record_type([("first_ns", "i8"), ("step", "i8"), ("sampled", "f8"), ("bar", BAR)])


@kernel
def parkinson(high: float, low: float) -> float:
    """Return the variance implied by a range, (ln high/low)**2 / (4 ln 2) (Parkinson 1980)."""
    if high > low:
        log_range = math.log(high / low)
        return log_range * log_range / (4 * math.log(2))
    return 0.0


@kernel
def start(current: Any) -> None:
    """Make a record of zeros a symbol without ticks."""
    current.first_ns = -1


@kernel
def open_minute(bar: Any, minute: int, price: float) -> None:
    """Start a minute at its first price."""
    bar.minute = minute
    bar.ticks = 0
    bar.open = price
    bar.high = price
    bar.low = price
    bar.variance = 0.0
    bar.down = 0.0
    bar.volume = 0.0
    bar.returns = 0.0


@kernel
def add_move(bar: Any, sampled: float) -> None:
    """Add the return from the last sampled price to the newest one."""
    move = log_return(bar.close, sampled)
    square = move * move
    bar.variance += square
    if move < 0:
        bar.down += square
    bar.returns += 1.0


@kernel
def is_over(current: Any, time_ns: int) -> bool:
    """Return True if a tick at a time ends the minute under way."""
    return bool(current.first_ns >= 0 and time_ns // MINUTE_NS > current.bar.minute)


@kernel
def close_step(current: Any, time_ns: int, price: float) -> bool:
    """Move the grid on to a tick's time; return True if that ends the minute under way.

    A late tick that was accepted counts at the time of the newest one. The minute that has ended
    stays in `current.bar` until `open_minute`.
    """
    step = time_ns // GRID_NS
    ends = is_over(current, time_ns)
    if current.first_ns < 0:
        current.first_ns = time_ns
        current.step = step
        current.sampled = price
        open_minute(current.bar, time_ns // MINUTE_NS, price)
    if step <= current.step:
        return False
    add_move(current.bar, current.sampled)
    current.sampled = current.bar.close
    current.step = step
    return ends


@kernel
def add_price(current: Any, price: float, size: float) -> None:
    """Add a tick to the minute under way."""
    bar = current.bar
    bar.ticks += 1
    bar.close = price
    if price > bar.high:
        bar.high = price
    elif price < bar.low:
        bar.low = price
    bar.volume += size


@kernel
def in_minutes(time_ns: int) -> float:
    """Return a time in minutes since the epoch."""
    # Not a quotient of integers, which numba rounds to doubles first.
    minute = time_ns // MINUTE_NS
    return minute + (time_ns - minute * MINUTE_NS) / MINUTE_NS


@kernel
def observed(current: Any, until_minute: float) -> float:
    """Return the part of the minute under way that was observed until a time in minutes."""
    # The first minute is observed from the first tick on only, perhaps for a nanosecond.
    since_first = until_minute - in_minutes(current.first_ns)
    return max(min(until_minute - current.bar.minute, since_first), MIN_FRACTION)


@kernel
def is_first(current: Any, time_ns: int) -> bool:
    """Return True in the first minute of the symbol, which is too short for a variance."""
    return bool(current.first_ns < 0 or time_ns - current.first_ns < MINUTE_NS)


@kernel
def pending_variance(current: Any, time_ns: int) -> float:
    """Return the variance of the minute up to its newest tick; 0.0 in the first minute."""
    if is_first(current, time_ns):
        return 0.0
    move = log_return(current.bar.close, current.sampled)
    variance: float = current.bar.variance + move * move
    return variance


@kernel
def pending(current: Any, time_ns: int, bar: Any) -> float:
    """Write the minute up to its newest tick into `bar`, and return the part that has passed.

    0.0 before the first tick of the symbol, and nothing is written.
    """
    if current.first_ns < 0:
        return 0.0
    copy_bar(current.bar, bar)
    add_move(bar, current.sampled)
    return observed(current, in_minutes(time_ns))


@kernel
def copy_bar(source: Any, target: Any) -> None:
    """Copy one BAR to another."""
    target.minute = source.minute
    target.ticks = source.ticks
    target.open = source.open
    target.close = source.close
    target.high = source.high
    target.low = source.low
    target.variance = source.variance
    target.down = source.down
    target.volume = source.volume
    target.returns = source.returns


@kernel
def bars_of_prices(minutes: Any, prices: Any, before: float, bars: Any) -> None:
    """Write recorded bars into an array of BAR.

    `prices` has the columns open, high, low, close and volume. The return of a bar is that from the
    close before it, that of the first bar from the close `before`, or from its open if that is NaN.
    """
    for index in range(len(minutes)):
        bar = bars[index]
        close = prices[index, 3]
        if index > 0:
            previous = prices[index - 1, 3]
        else:
            previous = prices[index, 0] if math.isnan(before) else before
        move = log_return(close, previous)
        bar.minute = minutes[index]
        bar.ticks = 0
        bar.open = prices[index, 0]
        bar.close = close
        bar.high = max(prices[index, 1], close)
        bar.low = min(prices[index, 2], close)
        bar.variance = move * move
        bar.down = move * move if move < 0 else 0.0
        bar.volume = prices[index, 4]
        bar.returns = 1.0
