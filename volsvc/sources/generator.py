"""A seeded generator of ticks whose true volatility is known.

The efficient log price diffuses with variance rate sigma²(t), and jumps. sigma²(t) is a base level
times a daily pattern times the exponential of mean-reverting factors. Ticks arrive faster when it
is high: a Cox process, so they cluster. The quotes follow the efficient price once it has moved far
enough, as with the uncertainty zones of Robert and Rosenbaum (2011); trades bounce between them.

The hidden state lives on a grid of cells in time, not on ticks: arrivals depend on the volatility,
so the times of ticks are not known before it. Rates are constant inside a cell. So the integrals
of the variance and of the expected number of ticks are piecewise linear, and draws from them are
exact.

Parameters are estimates for Coinbase: ticks of 2025 and 2026 for the quotes and the tick rate,
one-minute bars of late 2025 for the daily pattern and the memory of volatility.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, repeat
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import NS, SourceError, Tick, is_symbol
from volsvc.domain.forecast import SECONDS_PER_YEAR

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DAY_S = 86_400
CELL_S = 0.25
# Cells of a block, which holds about a thousand ticks of a busy symbol.
CELLS = 1024
BLOCK_NS = round(CELLS * CELL_S * NS)
CLOCK_S = np.arange(CELLS + 1, dtype=np.float64) * CELL_S
HALF_LIVES_S = np.array([30.0, 600.0, 21_600.0, 259_200.0, 3.0])
DECAY = np.exp2(-CELL_S / HALF_LIVES_S)
# Stationary standard deviations of four factors of log volatility and, last, one of the tick rate
# alone.
SPREADS = np.array([0.25, 0.30, 0.30, 0.30, 0.40])
# UTC: the first hours of trading in the US are the most volatile.
PEAK_S = 15.5 * 3600
# Grid steps from the mid at which the quotes of a coarse grid move. Chosen so that the variance of
# the mid over 1 to 10 s is the true one: 0.75 adds up to 13 % by bounce, 1 takes up to 11 % by lag.
MOVE_THRESHOLD = 0.85


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """The parameters of one symbol's market.

    `volatility` is annualised: the root of the mean of sigma² over time, without jumps. Ticks
    arrive at `ticks_per_s` while sigma is at that level, and with elasticity `pace_link` to it;
    `daily_swing` shapes the `daily_factor`. The quotes follow a move of the log price beyond
    `follow` (and a step of the price grid). Their spread is one step, but after a share `wide` of
    their moves wider by `wide_by` of the price on average. A trade is on the side of the one before
    with probability `side_persistence`; its median value is `notional`, in the quote currency.
    Jumps have a standard deviation of `jump_scale` times the mean volatility of a minute.
    """

    start_price: float
    volatility: float = 0.6
    ticks_per_s: float = 2.0
    pace_link: float = 0.6
    daily_swing: float = 0.8
    follow: float = 5e-5
    wide: float = 0.12
    wide_by: float = 2e-5
    side_persistence: float = 0.86
    notional: float = 300.0
    jumps_per_day: float = 4.0
    jump_scale: float = 3.0

    @property
    def variance_rate(self) -> float:
        """Unconditional mean of sigma², in 1/s."""
        return self.volatility**2 / SECONDS_PER_YEAR

    @property
    def jump_deviation(self) -> float:
        """Standard deviation of a jump of the log price."""
        return self.jump_scale * math.sqrt(60 * self.variance_rate)


MARKETS = {
    "BTC-USD": MarketSpec(70_000.0, volatility=0.45, ticks_per_s=4.5),
    "ETH-USD": MarketSpec(2_000.0, volatility=0.6, ticks_per_s=4.5),
    "SOL-USD": MarketSpec(90.0, volatility=0.7, ticks_per_s=4.5),
}


def market_of(symbol: str) -> MarketSpec:
    """Return a known market, or one with a price (0.1 to 1,000) and a tick rate from the name."""
    if symbol in MARKETS:
        return MARKETS[symbol]
    second, first = divmod(_stable_hash(symbol), 2**32)
    price = float(f"{10 ** (4 * first / 2**32 - 1):.3g}")
    return MarketSpec(price, ticks_per_s=0.5 + 2 * second / 2**32)


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """The symbols to generate, the seed, and the event time after which the ticks begin."""

    symbols: tuple[str, ...]
    seed: int
    start_ns: int

    def __post_init__(self) -> None:
        """Raises SourceError for a name that cannot be a symbol."""
        for symbol in self.symbols:
            if not is_symbol(symbol):
                raise SourceError(f"{symbol!r} is not a valid symbol name")


class MarketStart(NamedTuple):
    """The price at which a symbol's market begins, and the trade id before its first."""

    price: float
    trade_id: int = 0


class TruthTick(NamedTuple):
    """A tick with the true volatility since its symbol's previous tick (or the start).

    `sigma` is the volatility of the efficient log price per sqrt(second), without jumps: the root
    of the mean of sigma²(t) over the gap, nearly its instantaneous value. `jump` is the sum of the
    log jumps in the gap, 0.0 for most. So the integrated variance between two ticks is the sum,
    over the ticks after the first, of sigma² times the gap in seconds. With the sum of jump² it is
    the quadratic variation. An interval that cuts a gap takes a proportional part of it.
    """

    tick: Tick
    sigma: float
    jump: float


class Generator:
    """Endless ticks of several symbols, merged by event time.

    A symbol's ticks depend on the seed, the start and its own name (and market) alone.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        markets: Callable[[str], MarketSpec] = market_of,
        starts: Mapping[str, MarketStart] | None = None,
    ) -> None:
        """A symbol that is not in `starts` begins at its market's price."""
        self._spec = spec
        self._markets = markets
        self._starts = starts or {}

    def ticks(self) -> Iterator[TruthTick]:
        """Yield ticks from the start on; the same ones at each call."""
        streams = map(self._ticks_of, self._spec.symbols)
        return heapq.merge(*streams, key=attrgetter("tick.time_ns"))

    def _ticks_of(self, symbol: str) -> Iterator[TruthTick]:
        market = self._markets(symbol)
        start = self._starts.get(symbol, MarketStart(market.start_price))
        return _ticks(symbol, market, self._spec, start)


def daily_factor(seconds: Floats, swing: float) -> Floats:
    """Return sigma² at UTC times of day, in seconds, relative to its mean over the day."""
    # exp(swing cos) over its mean I0(swing), the shape of a von Mises density: positive, mean 1.
    angle = 2 * np.pi * (seconds - PEAK_S) / DAY_S
    factor: Floats = np.exp(swing * np.cos(angle)) / np.i0(swing)
    return factor


def price_decimals(price: float) -> int:
    """Return the decimals of a market's prices: 2 as on Coinbase, more where 0.01 is over 2 bp."""
    return max(2, math.ceil(3.7 - math.log10(price)))


def random_source(spec: GeneratorSpec, symbol: str, *purpose: int) -> np.random.Generator:
    """Return the random numbers of a symbol's ticks, or of another purpose."""
    # SeedSequence takes no negative number, but the setting may be one.
    return np.random.default_rng([spec.seed % 2**64, _stable_hash(symbol), *purpose])


def draw_factors(rng: np.random.Generator) -> Floats:
    """Return the factors at the start, the first that is drawn for a symbol's ticks."""
    # From the stationary distribution, so that no warm-up is needed.
    return rng.normal(0.0, SPREADS)


def _stable_hash(name: str) -> int:
    """Return a hash of 64 bits."""
    # Python's own hash() of a text differs from process to process.
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _ticks(
    symbol: str, market: MarketSpec, spec: GeneratorSpec, start: MarketStart
) -> Iterator[TruthTick]:
    rng = random_source(spec, symbol)
    quotes, ids, selling = _Quotes(market, rng, start.price), count(start.trade_id + 1), False
    for time_ns, sigma, jump, log_price in _price_blocks(market, rng, spec.start_ns, start.price):
        ticks = len(time_ns)
        bid, ask = quotes.follow(np.exp(log_price))
        flips = np.cumsum(rng.random(ticks) > market.side_persistence)
        sells = (flips + selling) % 2 == 1
        selling = bool(sells[-1]) if ticks else selling
        price = np.where(sells, bid, ask)
        size = np.maximum((market.notional / price * rng.lognormal(0, 1.8, ticks)).round(8), 1e-8)
        columns = (time_ns, price, bid, ask, size, np.where(sells, "sell", "buy"))
        fields = (column.tolist() for column in columns)
        made = map(Tick, repeat(symbol), *fields, ids, repeat(None), repeat("generator"))
        yield from map(TruthTick, made, sigma.tolist(), jump.tolist())


def _price_blocks(
    market: MarketSpec, rng: np.random.Generator, start_ns: int, price: float
) -> Iterator[tuple[Integers, Floats, Floats, Floats]]:
    """Yield blocks, possibly empty, of tick times, sigma, jumps and efficient log prices."""
    last_ns, log_price = start_ns, math.log(price)
    # Both integrals (variance, jumps) at the last tick, relative to the start of the block.
    level = np.zeros(2)
    for begin_ns, variance, jumps, expected in _hidden_blocks(market, rng, start_ns):
        # Given their number, the arrivals of a Poisson process are uniform in its integrated rate.
        arrivals = np.sort(rng.uniform(0, expected[-1], rng.poisson(expected[-1])))
        offsets_ns = (np.interp(arrivals, expected, CLOCK_S) * NS).astype(np.int64)
        time_ns = _rising(begin_ns + offsets_ns, last_ns)
        seconds = (time_ns - begin_ns) / NS
        cells = np.searchsorted(CLOCK_S[1:-1], seconds, side="right")
        reached = np.array([np.interp(seconds, CLOCK_S, variance), jumps[cells]])
        levels = np.column_stack((level, reached))
        level = levels[:, -1] - (variance[-1], jumps[-1])
        spent, jump = np.diff(levels)
        # The term -spent / 2 keeps the mean of the price, not of its logarithm, constant.
        moves = np.sqrt(spent) * rng.normal(size=len(spent)) - spent / 2 + jump
        sigma = np.sqrt(spent * NS / np.diff(time_ns, prepend=last_ns))
        yield time_ns, sigma, jump, log_price + np.cumsum(moves)
        log_price += float(moves.sum())
        last_ns = int(time_ns.max(initial=last_ns))


def _hidden_blocks(
    market: MarketSpec, rng: np.random.Generator, start_ns: int
) -> Iterator[tuple[int, Floats, Floats, Floats]]:
    """Yield blocks of hidden state: their start; integrals of sigma², jumps and tick rate.

    Jumps are at the start of a cell, with shape (CELLS,); the others have shape (CELLS + 1,).
    """
    factors = draw_factors(rng)
    scale = (SPREADS * np.sqrt(1 - DECAY**2))[:, None]
    for begin_ns in count(start_ns, BLOCK_NS):
        paths = mean_reverting(factors, DECAY, scale * rng.normal(size=(len(SPREADS), CELLS)))
        factors = paths[:, -1]
        clock_s = begin_ns % (DAY_S * NS) / NS + CLOCK_S[:-1]
        relative = relative_variance(market, clock_s, paths[:-1])
        pace = market.ticks_per_s * relative ** (market.pace_link / 2) * np.exp(paths[-1])
        happens = rng.random(CELLS) < market.jumps_per_day * CELL_S / DAY_S
        jumps = np.cumsum(happens * rng.normal(0.0, market.jump_deviation, CELLS))
        yield begin_ns, _integral(market.variance_rate * relative), jumps, _integral(pace)


def relative_variance(market: MarketSpec, clock_s: Floats, factors: Floats) -> Floats:
    """Return sigma² relative to its mean, at UTC times of day and with factors of log volatility.

    Shapes are (cells,) and (4, cells).
    """
    # E exp(2x) = exp(2 var x) of a centred normal x; subtracted, so that the mean is 1.
    log_sigma = factors.sum(axis=0) - np.sum(SPREADS[:-1] ** 2)
    relative: Floats = daily_factor(clock_s, market.daily_swing) * np.exp(2 * log_sigma)
    return relative


def mean_reverting(start: Floats, decay: Floats, shocks: Floats) -> Floats:
    """Return paths x_i = decay x_(i-1) + shocks_i from x_(-1) = `start`.

    Shapes are (factors,), (factors,) and (factors, cells).
    """
    # By doubling, without a loop over cells: after each pass x_i holds the shocks of twice as many
    # cells.
    path = shocks.copy()
    path[:, 0] += decay * start
    reach = 1
    while reach < path.shape[1]:
        path[:, reach:] += (decay**reach)[:, None] * path[:, :-reach]
        reach *= 2
    return path


def _integral(rate: Floats) -> Floats:
    """Return the integral over time of a rate that is constant in each cell; shape (CELLS + 1,)."""
    return np.concatenate(([0.0], np.cumsum(rate * CELL_S)))


def _rising(times: Integers, last: int) -> Integers:
    """Return the times, increased by as few nanoseconds as make each later than the one before."""
    steps = np.arange(len(times))
    rising: Integers = np.maximum.accumulate(np.maximum(times - steps, last + 1)) + steps
    return rising


class _Quotes:
    """The best quotes of one symbol, in steps of its price grid."""

    def __init__(self, market: MarketSpec, rng: np.random.Generator, price: float) -> None:
        self._market, self._rng = market, rng
        self._per_unit = 10.0 ** price_decimals(market.start_price)
        self._bid, self._spread = round(price * self._per_unit), 1.0

    def follow(self, prices: Floats) -> tuple[Floats, Floats]:
        """Return bid and ask for each of these efficient prices."""
        market, bid, spread = self._market, self._bid, self._spread
        steps = prices * self._per_unit
        wide = self._rng.random(len(steps)) < market.wide
        drawn = 1 + np.rint(wide * self._rng.exponential(market.wide_by * steps))
        quotes = []
        # Not vectorised: each quote depends on the one before.
        for price, width in zip(steps.tolist(), drawn.tolist(), strict=True):
            away = abs(price - bid - spread / 2)
            if away > max(MOVE_THRESHOLD, market.follow * price):
                bid, spread = max(1, round(price - width / 2)), width
            quotes.append((bid, bid + spread))
        self._bid, self._spread = bid, spread
        both = np.array(quotes, dtype=np.float64).reshape(-1, 2) / self._per_unit
        return both[:, 0], both[:, 1]
