"""A seeded generator of ticks whose true volatility is known.

The efficient log price diffuses with volatility sigma(t) and jumps now and then; the book follows
it in small steps, and trades bounce between bid and ask. sigma(t) is the product of a base level, a
daily pattern and the exponential of several mean-reverting factors (Ornstein-Uhlenbeck processes
from half a minute to days; exact transitions over irregular gaps). Arrivals cluster and quicken
with volatility, as a doubly stochastic process.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import NS, Tick

Floats = NDArray[np.float64]

BLOCK = 512
DAY_S = 86_400.0
SECONDS_PER_YEAR = 31_557_600.0
START_PRICES = {"BTC-USD": 70_000.0, "ETH-USD": 2_000.0, "SOL-USD": 90.0}
HALF_LIVES_S = np.array([30.0, 600.0, 21_600.0, 259_200.0])
SPREADS = np.array([0.25, 0.30, 0.35, 0.35])
"""Stationary standard deviations of the factors of log volatility."""


@dataclass(frozen=True, slots=True)
class Market:
    """How a generated market behaves; defaults are taken from recordings of Coinbase."""

    volatility: float = 0.6
    """Annualised: the root of the unconditional mean variance."""
    daily_swing: float = 0.5
    """Variance at the peak of the day (16:00 UTC) is 1 + this times its daily mean."""
    median_gap_s: float = 0.2
    gap_spread: float = 1.4
    """Standard deviation of the log of the gap between ticks."""
    cluster: float = 0.95
    """Persistence of the pace from tick to tick."""
    step: float = 6e-5
    """Move of the log price that makes the book follow."""
    side_persistence: float = 0.9
    jumps_per_day: float = 4.0
    jump_minutes: float = 9.0
    """Standard deviation of a jump, as the variance of so many minutes."""


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """What to generate: which symbols, from which seed, from which event time on."""

    symbols: tuple[str, ...]
    seed: int
    start_ns: int
    market: Market = Market()


class TruthTick(NamedTuple):
    """A tick with the truth behind it.

    `sigma` is the volatility of the efficient log price per sqrt(second) over the gap before the
    tick, `jump` its jump in that gap. So the integrated variance between two ticks of a symbol is
    the sum of sigma**2 times the gap in seconds, plus the sum of jump**2.
    """

    tick: Tick
    sigma: float
    jump: float


class _Block(NamedTuple):
    """A block of ticks of one symbol, as arrays."""

    time_ns: NDArray[np.int64]
    log_price: Floats
    sigma: Floats
    jump: Floats
    sells: NDArray[np.bool_]
    size: Floats


class Generator:
    """Endless ticks of several symbols, merged by event time.

    A symbol's ticks depend on the seed and its own name alone, not on which others are there.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        self._spec = spec

    def ticks(self) -> Iterator[TruthTick]:
        """Ticks from the start on; the same ones at every call."""
        streams = [_symbol_ticks(symbol, self._spec) for symbol in self._spec.symbols]
        return heapq.merge(*streams, key=lambda truth: truth.tick.time_ns)


def daily_factor(seconds: Floats, swing: float) -> Floats:
    """Variance at a UTC time of day relative to the day's mean; it averages to 1 over a day."""
    factor: Floats = 1 + swing * np.cos(2 * np.pi * (seconds / DAY_S - 16 / 24))
    return factor


def start_price(symbol: str) -> float:
    """A price for a market: a familiar one, or one between 1 and 1,000 by the symbol's name."""
    spread = zlib.crc32(symbol.encode()) / 2**32
    return START_PRICES.get(symbol, round(10 ** (3 * spread), 2))


def grid_of(price: float) -> float:
    """The price step of a market: about one part in a million, a power of ten."""
    return float(min(0.01, 10.0 ** np.floor(np.log10(price) - 5.5)))


class _Path:
    """The hidden state of one symbol, advanced a block at a time."""

    def __init__(self, symbol: str, spec: GeneratorSpec) -> None:
        name = zlib.crc32(symbol.encode())
        self._rng = np.random.default_rng(np.random.SeedSequence([spec.seed, name]))
        self._market = spec.market
        self._time_ns = spec.start_ns
        self._log_price = float(np.log(start_price(symbol)))
        self._factors = self._rng.normal(0, SPREADS)
        self._pace = 0.0
        self._sell = False

    def block(self) -> _Block:
        """The next `BLOCK` ticks."""
        rng, market = self._rng, self._market
        gaps = self._gaps()
        # Strictly rising times, so that no two ticks of a symbol are ever taken for one.
        time_ns = self._time_ns + np.cumsum(np.maximum(1, np.rint(gaps * NS)).astype(np.int64))
        sigma = self._volatility(gaps, time_ns / NS)
        jump_spread = market.volatility * np.sqrt(60 * market.jump_minutes / SECONDS_PER_YEAR)
        happens = rng.random(BLOCK) < -np.expm1(-market.jumps_per_day * gaps / DAY_S)
        jump = np.where(happens, rng.normal(0, jump_spread, BLOCK), 0.0)
        moves = sigma * np.sqrt(gaps) * rng.normal(size=BLOCK) - sigma**2 * gaps / 2 + jump
        log_price = self._log_price + np.cumsum(moves)
        flips = np.cumsum(rng.random(BLOCK) > market.side_persistence) + self._sell
        sells = flips % 2 == 1
        self._time_ns, self._log_price = int(time_ns[-1]), float(log_price[-1])
        self._sell = bool(sells[-1])
        size = rng.lognormal(-4.0, 1.5, BLOCK).round(8) + 1e-8
        return _Block(time_ns, log_price, sigma, jump, sells, size)

    def _gaps(self) -> Floats:
        """Seconds between ticks: a persistent pace, quicker in a volatile market, and chance."""
        market, keep = self._market, self._market.cluster
        slow_pace = self._market.gap_spread * 0.6
        shocks = self._rng.normal(0, slow_pace * np.sqrt(1 - keep**2), BLOCK)
        pace = _recurrence(np.full(BLOCK, keep), shocks, self._pace)
        self._pace = float(pace[-1])
        chance = self._rng.normal(0, market.gap_spread * 0.8, BLOCK)
        volatile = 0.5 * self._factors[1:].sum()
        gaps: Floats = market.median_gap_s * np.exp(pace + chance - volatile)
        return np.clip(gaps, 1e-6, 60.0)

    def _volatility(self, gaps: Floats, seconds: Floats) -> Floats:
        """Volatility per sqrt(second) at each tick."""
        log_sigma = np.full(BLOCK, -np.sum(SPREADS**2))
        for index, (half_life, spread) in enumerate(zip(HALF_LIVES_S, SPREADS, strict=True)):
            keep = np.exp2(-gaps / half_life)
            shocks = spread * np.sqrt(-np.expm1(2 * np.log(keep))) * self._rng.normal(size=BLOCK)
            factor = _recurrence(keep, shocks, self._factors[index])
            self._factors[index] = factor[-1]
            log_sigma += factor
        daily = daily_factor(seconds, self._market.daily_swing)
        base = self._market.volatility / np.sqrt(SECONDS_PER_YEAR)
        sigma: Floats = base * np.sqrt(daily) * np.exp(log_sigma)
        return sigma


def _recurrence(keep: Floats, shocks: Floats, start: float) -> Floats:
    """x_i = keep_i x_(i-1) + shocks_i, from x_(-1) = `start`."""
    values = np.empty(len(keep))
    value = start
    for index, (k, s) in enumerate(zip(keep.tolist(), shocks.tolist(), strict=True)):
        value = k * value + s
        values[index] = value
    return values


def _symbol_ticks(symbol: str, spec: GeneratorSpec) -> Iterator[TruthTick]:
    path = _Path(symbol, spec)
    grid = grid_of(start_price(symbol))
    digits = max(0, round(-float(np.log10(grid))))
    book = float("-inf")
    bid = ask = 0.0
    trade_id = 0
    while True:
        block = path.block()
        columns = zip(*(column.tolist() for column in block), strict=True)
        for time_ns, log_price, sigma, jump, sells, size in columns:
            if abs(log_price - book) > spec.market.step:
                book = log_price
                bid = round(float(np.floor(np.exp(book) / grid)) * grid, digits)
                ask = round(bid + grid, digits)
            trade_id += 1
            price, side = (bid, "sell") if sells else (ask, "buy")
            tick = Tick(symbol, time_ns, price, bid, ask, size, side, trade_id, None, "generator")
            yield TruthTick(tick, sigma, jump)
