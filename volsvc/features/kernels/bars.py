"""Recorded bars added to the multi-scale states of their symbols."""

from __future__ import annotations

from typing import Any, Final

from volsvc.compiled import kernel
from volsvc.features.kernels import minutes, multiscale, multiscale_row
from volsvc.features.kernels import points as at_points

# Parkinson's estimator has the relative variance, 0.41, of a mean of so many squared returns.
RANGE_RETURNS: Final = 5.0
# The ratio of squared returns to ranges in liquid markets, and the bars for which it counts beside
# those of a symbol: in a day of them the ratio is off by some per cent.
PRIOR_RATIO: Final = 1.15
PRIOR_BARS: Final = 1_000.0


@kernel
def bar_points(state: Any, symbol: int, bars: Any, first: int, every_s: int, points: Any) -> Any:
    """Write the points of recorded bars from `first` on while there is room for those of one.

    `state` is the multi-scale state of the symbol in a row of the table. The points are the end of
    each bar and of each minute without trades in which a multiple of `every_s` falls, until silence
    counts as a gap of the feed.

    Returns the index of the first bar that was not added, and the number of points.
    """
    count = 0
    for index in range(first, len(bars)):
        if count + int(multiscale.MAX_SILENCE) + 1 > len(points):
            return index, count
        bar = bars[index]
        if state.minute >= 0:
            for minute in range(state.minute + 1, bar.minute):
                if multiscale.is_gap(state, minute + 1):
                    break
                if _is_on_grid(minute, every_s):
                    at_points.write_silent_minute(points[count], symbol, state, minute)
                    count += 1
        point = points[count]
        one_minute = minutes.parkinson(bar.high, bar.low)
        at_points.write_minute(point, symbol, state, bar, one_minute, 1.0)
        if _is_on_grid(bar.minute, every_s):
            point.kind = at_points.BAR_ON_GRID
            at_points.write_bar_quality(state, point.quality)
        count += 1
    return len(bars), count


@kernel
def past_points(state: Any, symbol: int, source: int, bars: Any, points: Any) -> int:
    """Add bars of before a symbol's next tick, and return the number of points at their ends.

    `state` is that of its ticks (TICKS), and `source` the place of the bars' origin. Bars that it
    holds already are left out. The minute under way is given up for its bar, and the next tick
    begins one. Variances are those of ranges, since ticks follow: see `_take_range`.
    """
    count = 0
    current = state.minute
    for index in range(len(bars)):
        bar = bars[index]
        begun = current.bar.minute if current.first_ns >= 0 else 0
        if bar.minute <= state.multiscale.minute or bar.minute < begun:
            continue
        current.first_ns = -1
        _take_range(state.warmed, multiscale.recent_variance(state.multiscale), bar)
        at_points.write_minute(points[count], symbol, state.multiscale, bar, bar.variance, 1.0)
        points[count].kind = at_points.PAST
        if state.warmed.minutes == 0:
            state.warmed.from_minute = bar.minute
        state.warmed.minutes += 1
        state.warmed.source = source
        count += 1
    return count


@kernel
def _take_range(warmed: Any, recent: float, bar: Any) -> None:
    """Make the variance of a bar that of its range; `recent` is the variance of a minute before it.

    A squared return holds a fifth of the information. Ranges are too small where trading is
    discrete, so they are scaled by the ratio of both in the symbol's bars so far.
    """
    span = minutes.parkinson(bar.high, bar.low)
    if recent > 0:
        warmed.squares += min(bar.variance / recent, multiscale.MAX_RELATIVE)
        warmed.spans += min(span / recent, multiscale.MAX_RELATIVE)
    squares = warmed.squares + PRIOR_RATIO * PRIOR_BARS
    variance = span * squares / (warmed.spans + PRIOR_BARS)
    bar.down = variance if bar.down > 0 else 0.0
    bar.variance = variance
    bar.returns = RANGE_RETURNS


@kernel
def _is_on_grid(minute: int, every_s: int) -> bool:
    """Return True if a multiple of `every_s` falls in the last minute before a minute's end."""
    return (minute + 1) * 60 % every_s < 60


@kernel
def bar_features(bars: Any, restart_minutes: int, states: Any, scales: Any) -> None:
    """Write the features at the end of every minute from the first bar to the last.

    `scales` has the shape (minutes, len(SCALE_NAMES)); `states` are two MULTISCALE of zeros to work
    with. The state is restarted with the first bar after `restart_minutes`, unless these are 0.
    """
    for place in range(len(states)):
        multiscale.start(states[place])
    state = states[0]
    start = bars[0].minute
    started = start
    for index in range(len(bars)):
        bar = bars[index]
        if index > 0:
            # The row of a silent minute is read before the next bar moves the clock.
            for minute in range(bars[index - 1].minute + 1, bar.minute):
                multiscale_row.row_after(state, minute, scales[minute - start])
        if restart_minutes > 0 and bar.minute - started >= restart_minutes:
            # The second one stays as it was started.
            states[0] = states[1]
            started = bar.minute
        multiscale.push(state, bar, 1.0)
        multiscale_row.row_after(state, bar.minute, scales[bar.minute - start])


@kernel
def bar_variances(bars: Any, variances: Any, spans: Any) -> None:
    """Write the realised variance and Parkinson's of each bar at its minute after the first bar."""
    start = bars[0].minute
    for index in range(len(bars)):
        bar = bars[index]
        variances[bar.minute - start] = bar.variance
        spans[bar.minute - start] = minutes.parkinson(bar.high, bar.low)
