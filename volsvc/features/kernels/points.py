"""Points in event time at which a symbol is forecast or learnt from, and the ticks of a batch."""

from __future__ import annotations

import math
from typing import Any, Final

from volsvc.compiled import kernel, record_type
from volsvc.domain.feature_names import SCALE_NAMES, WINDOW_NAMES
from volsvc.features.kernels import minutes, multiscale, multiscale_row, price_window

# The end of a bar of before a symbol's first tick: models are not judged by it.
PAST: Final = -1
# The end of a minute with trades, at which forecasts mature and new ones are issued.
MINUTE: Final = 0
# The same of a recorded bar, where its symbol is forecast as well: up to here kinds are ends of
# minutes, from here on a symbol is forecast.
BAR_ON_GRID: Final = 1
# A point of the publishing grid. Event time alone determines these.
GRID: Final = 2
# The newest tick of a symbol, when somebody asks.
NEWEST: Final = 3

SCALES_FROM: Final = len(WINDOW_NAMES)
WIDTH: Final = SCALES_FROM + len(SCALE_NAMES)

# Counts of a symbol's feed since its first tick, and the share of the window that is filled.
QUALITY = record_type(
    [
        ("gaps", "i8"),
        ("duplicates", "i8"),
        ("late", "i8"),
        ("future", "i8"),
        ("ticks", "i8"),
        ("bad_prints", "i8"),
        ("fill_ratio", "f8"),
        ("cold", "i8"),
        ("warm", "i8"),
        ("warmed", minutes.WARMED),
    ]
)
# `symbol` is the row of the table, `tick` the place of the point's tick in its batch, `at_ns` the
# time of the point: that of its tick, or a time of a grid at which a recording is forecast.
# `features` are the inputs of models; `row` is that of the window, at the end of a minute of ticks
# too. The bar and what follows belong to the end of a minute: the proxy of its variance a minute
# ahead, the part of it that was observed, and whether a gap precedes it.
POINT = record_type(
    [
        ("symbol", "i8"),
        ("kind", "i8"),
        ("tick", "i8"),
        ("at_ns", "i8"),
        ("row", price_window.ROW),
        ("features", "f8", (WIDTH,)),
        ("quality", QUALITY),
        ("bar", minutes.BAR),
        ("one_minute", "f8"),
        ("observed", "f8"),
        ("gap", "i8"),
    ]
)


@kernel
def write_minute(
    point: Any, symbol: int, state: Any, bar: Any, one_minute: float, observed: float
) -> None:
    """Add a completed minute, from ticks or a recorded bar, and write the point at its end.

    `state` is the multi-scale state.
    """
    point.symbol = symbol
    point.kind = MINUTE
    point.gap = 1 if multiscale.is_gap(state, bar.minute) else 0
    multiscale.push(state, bar, observed)
    minutes.copy_bar(bar, point.bar)
    point.at_ns = (bar.minute + 1) * minutes.MINUTE_NS
    point.one_minute = one_minute
    point.observed = observed
    point.features[:SCALES_FROM] = math.nan
    multiscale_row.row_after(state, bar.minute, point.features[SCALES_FROM:])


@kernel
def write_silent_minute(point: Any, symbol: int, state: Any, minute: int) -> None:
    """Write the point at the end of a minute without a recorded bar; `state` is the multi-scale."""
    point.symbol = symbol
    point.kind = GRID
    point.at_ns = (minute + 1) * minutes.MINUTE_NS
    point.features[:SCALES_FROM] = math.nan
    multiscale_row.row_after(state, minute, point.features[SCALES_FROM:])
    write_bar_quality(state, point.quality)


@kernel
def write_bar_quality(state: Any, quality: Any) -> None:
    """Write the counts of a symbol of recorded bars, which have no window of ticks to be filled."""
    quality.fill_ratio = 1.0
    quality.warm = 1 if state.elapsed >= multiscale.WARM_MINUTES else 0


@kernel
def write_newest(
    point: Any, symbol: int, kind: int, state: Any, prices: Any, times: Any, size: int
) -> None:
    """Write the point at the newest tick of a symbol; `state` is that of its ticks (TICKS).

    After bars it is the end of the newest one. The multi-scale features are NaN before the first of
    both. In the first minute they extrapolate
    what was seen, so forecasts take a prior beside them (models/kernels/cold.py).
    """
    point.symbol = symbol
    point.kind = kind
    row = point.row
    price_window.read_row(state.window, prices, times, size, row)
    current, scales = state.minute, state.multiscale
    after_bars = current.first_ns < 0 and scales.minute >= 0
    if after_bars:
        row.price = scales.close
        row.time_ns = (scales.minute + 1) * minutes.MINUTE_NS
    point.at_ns = row.time_ns
    features = point.features
    features[0] = row.ret_mean
    features[1] = row.ret_std
    features[2] = row.n
    features[3] = row.span_s
    # The bar of the point has no other use here.
    fraction = minutes.pending(current, row.time_ns, point.bar)
    if fraction > 0.0:
        multiscale_row.row_within(scales, point.bar, fraction, features[SCALES_FROM:])
    else:
        multiscale_row.row_after(scales, scales.minute, features[SCALES_FROM:])
    write_quality(state, size, row.time_ns, point.quality)


@kernel
def write_quality(state: Any, size: int, newest_ns: int, quality: Any) -> None:
    """Write the counts of a symbol's feed; `state` is that of its ticks up to `newest_ns`."""
    check = state.check
    quality.gaps = check.gaps
    quality.duplicates = check.duplicates
    quality.late = check.late
    quality.future = check.future
    unapplied = state.outside + state.next.present + state.prints.held.present
    quality.ticks = check.accepted - unapplied - state.prints.dropped
    quality.bad_prints = state.prints.dropped
    quality.fill_ratio = price_window.returns_inside(state.window, size) / (size - 1)
    # A minute of bars is as good as one that was watched.
    is_first = minutes.is_first(state.minute, newest_ns) and state.multiscale.elapsed < 1.0
    quality.cold = 1 if is_first else 0
    quality.warm = 1 if state.multiscale.elapsed >= multiscale.WARM_MINUTES else 0
    quality.warmed.source = state.warmed.source
    quality.warmed.from_minute = state.warmed.from_minute
    quality.warmed.minutes = state.warmed.minutes
