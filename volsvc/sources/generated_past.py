"""Minute bars of the generator's market before its ticks.

The hidden process is the generator's, in coarser cells, and runs backwards from where the ticks
begin: its factors are normal and mean-reverting, so their law is the same in both directions. So
volatility and price go on without a step.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from volsvc.domain import NS
from volsvc.domain.minute_bars import BarSeries
from volsvc.sources.generator import (
    DAY_S,
    HALF_LIVES_S,
    SPREADS,
    Floats,
    GeneratorSpec,
    Integers,
    MarketSpec,
    draw_factors,
    market_of,
    mean_reverting,
    price_decimals,
    random_source,
    relative_variance,
)

CELL_S: Final = 5
CELLS: Final = 60 // CELL_S
# The factors of log volatility; that of the tick rate alone is gone within a cell.
_SPREADS, _HALF_LIVES_S = SPREADS[:-1], HALF_LIVES_S[:-1]
_DECAY = np.exp2(-CELL_S / _HALF_LIVES_S)
# Mean of exp(x) of the factor of the tick rate.
_PACE: Final = math.exp(float(SPREADS[-1]) ** 2 / 2)
# The maximum of a path that is seen n times a second is lower by 0.5826 of the deviation between
# two looks (Broadie, Glasserman and Kou 1997).
_UNSEEN: Final = 0.5826
# Sizes are lognormal with this deviation of the logarithm.
_SIZE_SPREAD: Final = 1.8


def past_bars(symbol: str, spec: GeneratorSpec, days: int) -> BarSeries:
    """Return the bars of the days before the ticks of a symbol begin at its market's price."""
    market = market_of(symbol)
    rng = random_source(spec, symbol, 1)
    factors = draw_factors(random_source(spec, symbol))[:-1]
    end_s = spec.start_ns // NS
    first = end_s // 60 - days * DAY_S // 60
    # From the newest cell to the oldest.
    starts_s = np.arange(end_s // CELL_S - 1, first * CELLS - 1, -1) * CELL_S
    cells = len(starts_s)
    scale = (_SPREADS * np.sqrt(1 - _DECAY**2))[:, None]
    paths = mean_reverting(factors, _DECAY, scale * rng.normal(size=(len(_SPREADS), cells)))
    relative = relative_variance(market, (starts_s % DAY_S).astype(float), paths)
    pace = market.ticks_per_s * relative ** (market.pace_link / 2) * _PACE
    variance = market.variance_rate * relative * CELL_S
    happens = rng.random(cells) < market.jumps_per_day * CELL_S / DAY_S
    jumps = happens * rng.normal(0.0, market.jump_deviation, cells)
    moves = np.sqrt(variance) * rng.normal(size=cells) - variance / 2 + jumps
    # Of the start and the end of each cell.
    start = math.log(market.start_price) - np.cumsum(moves)
    end = start + moves
    # The extremes of a Brownian bridge, without what no tick shows.
    spans = np.sqrt(moves**2 - 2 * variance * np.log(rng.random((2, cells))))
    unseen = _UNSEEN * np.sqrt(variance / (CELL_S * pace))
    high = np.maximum((start + end + spans[0]) / 2 - unseen, np.maximum(start, end))
    low = np.minimum((start + end - spans[1]) / 2 + unseen, np.minimum(start, end))
    # Cells of whole minutes, oldest first.
    whole = cells // CELLS * CELLS
    columns = (c[::-1][:whole].reshape(-1, CELLS) for c in (start, high, low, end, pace))
    start, high, low, end, pace = columns
    logs = (start[:, 0], high.max(axis=1), low.min(axis=1), end[:, -1])
    prices = [np.exp(log).round(price_decimals(market.start_price)) for log in logs]
    trades = rng.poisson(pace.sum(axis=1) * CELL_S)
    minutes = first + np.arange(len(trades))
    traded = trades > 0
    values = np.column_stack((*prices, _volumes(market, rng, prices[3], trades)))
    return BarSeries(minutes[traded], values[traded])


def _volumes(
    market: MarketSpec, rng: np.random.Generator, price: Floats, trades: Integers
) -> Floats:
    """Return sums of sizes of which mean and variance are those of the generator's."""
    mean = market.notional / price * math.exp(_SIZE_SPREAD**2 / 2)
    shape = trades / math.expm1(_SIZE_SPREAD**2)
    volumes: Floats = rng.gamma(shape) * mean * math.expm1(_SIZE_SPREAD**2)
    return volumes
