"""A seeded generator of ticks whose true volatility is known.

The efficient log price diffuses with variance rate sigma²(t), and jumps. sigma²(t) is a base level
times a daily pattern times the exponential of mean-reverting factors; ticks come quicker when it is
high (a Cox process, so they cluster). The book follows the efficient price once that has moved far
enough (as with the uncertainty zones of Robert and Rosenbaum 2011); trades bounce on it.

Hidden states live on a clock of cells, not on ticks: arrivals depend on the volatility, so the gaps
are not known before it. Rates are constant inside a cell, so that the integrals of variance and of
expected ticks are piecewise linear and what is drawn from them is exact.

Levels are those of Coinbase: ticks of 2025 and 2026 for book and pace, one-minute bars of late 2025
for the daily pattern and the memory of volatility.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
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
CELLS = 1024  # a block: about a thousand ticks of a busy symbol
BLOCK_NS = round(CELLS * CELL_S * NS)
CLOCK_S = np.arange(CELLS + 1, dtype=np.float64) * CELL_S
HALF_LIVES_S = np.array([30.0, 600.0, 21_600.0, 259_200.0, 3.0])
KEEP = np.exp2(-CELL_S / HALF_LIVES_S)
# Stationary deviations of four factors of log volatility and, last, one of the pace alone.
SPREADS = np.array([0.25, 0.30, 0.30, 0.30, 0.40])
PEAK_S = 15.5 * 3600  # UTC: the first hours of trading in the US are the most volatile
# Steps from the mid at which a coarse book moves. Chosen so that the variance of the mid over 1 to
# 10 s is the true one: 0.75 adds up to 13 % by bounce, 1 takes up to 11 % by lag.
RELUCTANCE = 0.85


@dataclass(frozen=True, slots=True)
class Market:
    """How one symbol's market behaves.

    `volatility` is annualised: the root of the mean of sigma² over time, jumps left out. Ticks come
    at `ticks_per_s` while sigma is at that level, and with elasticity `pace_link` to it;
    `daily_swing` shapes the `daily_factor`. The book follows a move of the log price beyond
    `follow` (and a step of the grid); its spread is one step, but after a share `wide` of its moves
    wider by `wide_by` of the price on average. A trade is on the side of the one before with
    probability `side_persistence`, and worth `notional` (median, quote currency). Jumps have a
    standard deviation of `jump_scale` times the mean volatility of a minute.
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


MARKETS = {
    "BTC-USD": Market(70_000.0, volatility=0.45, ticks_per_s=4.5),
    "ETH-USD": Market(2_000.0, volatility=0.6, ticks_per_s=4.5),
    "SOL-USD": Market(90.0, volatility=0.7, ticks_per_s=4.5),
}


def market_of(symbol: str) -> Market:
    """A familiar market, or one whose price (0.1 to 1,000) and pace follow from the name."""
    if symbol in MARKETS:
        return MARKETS[symbol]
    second, first = divmod(_stable_hash(symbol), 2**32)
    price = float(f"{10 ** (4 * first / 2**32 - 1):.3g}")
    return Market(price, ticks_per_s=0.5 + 2 * second / 2**32)


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """What to generate: which symbols, from which seed, after which event time."""

    symbols: tuple[str, ...]
    seed: int
    start_ns: int

    def __post_init__(self) -> None:
        """Raises SourceError for a name that no consumer would take."""
        for symbol in self.symbols:
            if not is_symbol(symbol):
                raise SourceError(f"{symbol!r} cannot be the name of a symbol")


class TruthTick(NamedTuple):
    """A tick with the truth about the gap since its symbol's previous tick (or the start).

    `sigma` is the volatility of the efficient log price per sqrt(second), without jumps: the root
    of the mean of sigma²(t) over the gap, nearly its instantaneous value. `jump` is the sum of the
    log jumps in the gap, 0.0 for most. So the integrated variance between two ticks is the sum,
    over the ticks after the first, of sigma² times the gap in seconds, and with the sum of jump²
    the quadratic variation. An interval that cuts a gap takes a proportional part of it.
    """

    tick: Tick
    sigma: float
    jump: float


class Generator:
    """Endless ticks of several symbols, merged by event time.

    A symbol's ticks depend on the seed, the start and its own name (and market) alone.
    """

    def __init__(self, spec: GeneratorSpec, markets: Callable[[str], Market] = market_of) -> None:
        self._spec = spec
        self._markets = markets

    def ticks(self) -> Iterator[TruthTick]:
        """Ticks from the start on; the same ones at every call."""
        streams = [_ticks(name, self._markets(name), self._spec) for name in self._spec.symbols]
        return heapq.merge(*streams, key=attrgetter("tick.time_ns"))


def daily_factor(seconds: Floats, swing: float) -> Floats:
    """sigma² at a UTC time of day, in seconds, relative to its mean over the day.

    exp(swing cos) over its mean I0(swing), a von Mises bump: positive, and 1 on average.
    """
    angle = 2 * np.pi * (seconds - PEAK_S) / DAY_S
    factor: Floats = np.exp(swing * np.cos(angle)) / np.i0(swing)
    return factor


def price_decimals(price: float) -> int:
    """Decimals of a market's prices: 2 as on Coinbase, more where 0.01 is over 2 bp."""
    return max(2, math.ceil(3.7 - math.log10(price)))


def _stable_hash(name: str) -> int:
    """64 bits; Python's own hash() of a text changes from process to process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _ticks(symbol: str, market: Market, spec: GeneratorSpec) -> Iterator[TruthTick]:
    # SeedSequence takes no negative number, a setting may hold one.
    rng = np.random.default_rng([spec.seed % 2**64, _stable_hash(symbol)])
    book, ids, selling = _Book(market, rng), count(1), False
    for time_ns, sigma, jump, log_price in _walk(market, rng, spec.start_ns):
        ticks = len(time_ns)
        bid, ask = book.follow(np.exp(log_price))
        flips = np.cumsum(rng.random(ticks) > market.side_persistence)
        sells = (flips + selling) % 2 == 1
        selling = bool(sells[-1]) if ticks else selling
        price = np.where(sells, bid, ask)
        size = np.maximum((market.notional / price * rng.lognormal(0, 1.8, ticks)).round(8), 1e-8)
        columns = (time_ns, price, bid, ask, size, np.where(sells, "sell", "buy"))
        fields = (column.tolist() for column in columns)
        made = map(Tick, repeat(symbol), *fields, ids, repeat(None), repeat("generator"))
        yield from map(TruthTick, made, sigma.tolist(), jump.tolist())


def _walk(
    market: Market, rng: np.random.Generator, start_ns: int
) -> Iterator[tuple[Integers, Floats, Floats, Floats]]:
    """Blocks, maybe empty, of tick times, sigma, jumps and efficient log prices."""
    last_ns, log_price = start_ns, math.log(market.start_price)
    level = np.zeros(2)  # of both integrals at the last tick, relative to the block's begin
    for begin_ns, variance, jumps, expected in _hidden(market, rng, start_ns):
        arrivals = np.sort(rng.uniform(0, expected[-1], rng.poisson(expected[-1])))
        offsets_ns = (np.interp(arrivals, expected, CLOCK_S) * NS).astype(np.int64)
        time_ns = _rising(begin_ns + offsets_ns, last_ns)
        seconds = (time_ns - begin_ns) / NS
        cells = np.searchsorted(CLOCK_S[1:-1], seconds, side="right")
        reached = np.array([np.interp(seconds, CLOCK_S, variance), jumps[cells]])
        levels = np.column_stack((level, reached))
        level = levels[:, -1] - (variance[-1], jumps[-1])
        spent, jump = np.diff(levels)
        # The mean of the price, not of its logarithm, stays where it is.
        moves = np.sqrt(spent) * rng.normal(size=len(spent)) - spent / 2 + jump
        sigma = np.sqrt(spent * NS / np.diff(time_ns, prepend=last_ns))
        yield time_ns, sigma, jump, log_price + np.cumsum(moves)
        log_price += float(moves.sum())
        last_ns = int(time_ns.max(initial=last_ns))


def _hidden(
    market: Market, rng: np.random.Generator, start_ns: int
) -> Iterator[tuple[int, Floats, Floats, Floats]]:
    """Blocks of hidden state: the begin; integrals of sigma², the jumps and the pace.

    Jumps are at the begin of a cell, with shape (CELLS,); the others have shape (CELLS + 1,).
    """
    factors = rng.normal(0.0, SPREADS)  # their stationary law
    scale = (SPREADS * np.sqrt(1 - KEEP**2))[:, None]
    jump_scale = market.jump_scale * math.sqrt(60 * market.variance_rate)
    for begin_ns in count(start_ns, BLOCK_NS):
        paths = _mean_reverting(factors, scale * rng.normal(size=(len(SPREADS), CELLS)))
        factors = paths[:, -1]
        # E exp(2x) = exp(2 var x) of a centred normal: taken off, so that the mean is 1.
        log_sigma = paths[:-1].sum(axis=0) - np.sum(SPREADS[:-1] ** 2)
        daily = daily_factor(begin_ns % (DAY_S * NS) / NS + CLOCK_S[:-1], market.daily_swing)
        relative = daily * np.exp(2 * log_sigma)
        pace = market.ticks_per_s * relative ** (market.pace_link / 2) * np.exp(paths[-1])
        happens = rng.random(CELLS) < market.jumps_per_day * CELL_S / DAY_S
        jumps = np.cumsum(happens * rng.normal(0.0, jump_scale, CELLS))
        yield begin_ns, _integral(market.variance_rate * relative), jumps, _integral(pace)


def _mean_reverting(start: Floats, shocks: Floats) -> Floats:
    """x_i = KEEP x_(i-1) + shocks_i from x_(-1) = `start`, one factor a row; (5, CELLS).

    By doubling: after a pass x_i holds the shocks of twice as many cells.
    """
    path = shocks.copy()
    path[:, 0] += KEEP * start
    reach = 1
    while reach < CELLS:
        path[:, reach:] += (KEEP**reach)[:, None] * path[:, :-reach]
        reach *= 2
    return path


def _integral(rate: Floats) -> Floats:
    """Integral over the clock of a rate that is constant in each cell; shape (CELLS + 1,)."""
    return np.concatenate(([0.0], np.cumsum(rate * CELL_S)))


def _rising(times: Integers, last: int) -> Integers:
    """Times moved up by as few nanoseconds as make each later than the one before."""
    steps = np.arange(len(times))
    rising: Integers = np.maximum.accumulate(np.maximum(times - steps, last + 1)) + steps
    return rising


class _Book:
    """The best quotes of one symbol, in steps of its price grid."""

    def __init__(self, market: Market, rng: np.random.Generator) -> None:
        self._market, self._rng = market, rng
        self._per_unit = 10.0 ** price_decimals(market.start_price)
        self._bid, self._spread = round(market.start_price * self._per_unit), 1.0

    def follow(self, prices: Floats) -> tuple[Floats, Floats]:
        """Bid and ask beside each of these efficient prices."""
        market, bid, spread = self._market, self._bid, self._spread
        steps = prices * self._per_unit
        wide = self._rng.random(len(steps)) < market.wide
        drawn = 1 + np.rint(wide * self._rng.exponential(market.wide_by * steps))
        quotes = []
        for price, width in zip(steps.tolist(), drawn.tolist(), strict=True):
            away = abs(price - bid - spread / 2)
            if away > max(RELUCTANCE, market.follow * price):
                bid, spread = max(1, round(price - width / 2)), width
            quotes.append((bid, bid + spread))
        self._bid, self._spread = bid, spread
        both = np.array(quotes, dtype=np.float64).reshape(-1, 2) / self._per_unit
        return both[:, 0], both[:, 1]
