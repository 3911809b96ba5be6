"""Tests of the generator: it is repeatable, and its volatility is the stated one."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from volsvc.domain import NS
from volsvc.sources.generator import (
    MARKETS,
    Generator,
    GeneratorSpec,
    MarketSpec,
    TruthTick,
    daily_factor,
)

START = 1_767_571_200 * NS
MANY = 60_000


def generated(*symbols: str, seed: int = 7, count: int = MANY) -> list[TruthTick]:
    return list(islice(Generator(GeneratorSpec(symbols, seed, START)).ticks(), count))


@pytest.fixture(scope="module")
def btc() -> list[TruthTick]:
    return generated("BTC-USD")


def log_mid(ticks: list[TruthTick]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    quotes = [(item.tick.best_bid or 0) + (item.tick.best_ask or 0) for item in ticks]
    return np.log(np.array(quotes) / 2)


def test_a_seed_repeats() -> None:
    """The same seed gives the same ticks, another seed other ticks."""
    assert generated("BTC-USD", count=2_000) == generated("BTC-USD", count=2_000)
    assert generated("BTC-USD", count=100) != generated("BTC-USD", count=100, seed=8)


def test_a_symbol_depends_on_itself_alone() -> None:
    """A symbol's ticks do not depend on the other symbols; all are merged by time."""
    both = generated("BTC-USD", "NEW-USD", count=5_000)
    alone = generated("NEW-USD", count=500)
    assert [i for i in both if i.tick.symbol == "NEW-USD"][:500] == alone[:500]
    assert all(a.tick.time_ns <= b.tick.time_ns for a, b in pairwise(both))


def test_ticks_are_those_of_a_market(btc: list[TruthTick]) -> None:
    """Times rise, quotes are not crossed, trades are at bid or ask, trade ids are consecutive."""
    for previous, item in pairwise(btc):
        tick = item.tick
        assert tick.time_ns > previous.tick.time_ns
        assert tick.best_bid is not None
        assert tick.best_ask is not None
        assert 0 < tick.best_bid < tick.best_ask
        assert tick.price == (tick.best_bid if tick.side == "sell" else tick.best_ask)
        assert tick.size is not None
        assert tick.size > 0
        assert tick.trade_id == (previous.tick.trade_id or 0) + 1


@pytest.mark.parametrize("symbol", [*MARKETS, "FOO-USD"])
@pytest.mark.parametrize("seed", [1, 2])
def test_realised_variance_is_the_true_one(symbol: str, seed: int) -> None:
    """The realised variance of 10 s returns of the mid over hours is the stated variance."""
    ticks = generated(symbol, seed=seed)
    times = np.array([item.tick.time_ns for item in ticks])
    gaps_s = np.diff(times) / NS
    truth = np.array([item.sigma**2 for item in ticks[1:]]) @ gaps_s
    truth += sum(item.jump**2 for item in ticks[1:])
    grid = np.arange(times[0], times[-1], 10 * NS)
    held = log_mid(ticks)[np.searchsorted(times, grid, side="right") - 1]
    assert (np.diff(held) ** 2).sum() == pytest.approx(truth, rel=0.12)


def test_moves_are_those_of_real_ticks(btc: list[TruthTick]) -> None:
    """Gaps, the share of unchanged mids and window deviations are those of recorded ticks."""
    gaps_s = np.diff([item.tick.time_ns for item in btc]) / NS
    moves = np.diff(log_mid(btc))
    assert 0.05 < np.median(gaps_s) < 0.4
    assert gaps_s.mean() > 1.3 * np.median(gaps_s), "arrivals cluster"
    assert 0.5 < (moves == 0).mean() < 0.95
    windows = moves[: len(moves) // 49 * 49].reshape(-1, 49).std(axis=1, ddof=1)
    assert 1e-5 < np.median(windows) < 6e-5


def test_volatility_clusters_and_follows_the_day() -> None:
    """Volatility varies, is autocorrelated, and has a daily pattern of mean 1."""
    ticks = generated("BTC-USD", count=200_000)
    minutes = np.array([(item.tick.time_ns - START) // (60 * NS) for item in ticks])
    sigma2 = np.array([item.sigma**2 for item in ticks])
    level = np.log([sigma2[minutes == m].mean() for m in np.unique(minutes)])
    assert np.std(level) > 0.3
    assert np.corrcoef(level[:-1], level[1:])[0, 1] > 0.5
    day = daily_factor(np.arange(86_400.0), 0.8)
    assert day.mean() == pytest.approx(1)
    assert day.max() / day.min() > 2


def test_jumps_are_stated() -> None:
    """The ticks of a market with frequent jumps carry them."""
    jumpy = MarketSpec(100.0, jumps_per_day=2_000.0)
    spec = GeneratorSpec(("A",), 1, START)
    ticks = list(islice(Generator(spec, lambda _: jumpy).ticks(), 20_000))
    jumps = [item.jump for item in ticks if item.jump]
    hours = (ticks[-1].tick.time_ns - START) / NS / 3_600
    assert len(jumps) == pytest.approx(2_000 / 24 * hours, rel=0.2)
    assert np.std(jumps) == pytest.approx(3 * np.sqrt(60 * jumpy.variance_rate), rel=0.2)
