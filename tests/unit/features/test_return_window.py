"""Mean and deviation of the returns of a window against brute force."""

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import PLAIN_PYTHON
from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.prices import PriceWindow
from tests.unit.features.ticks import START_NS
from volsvc.features import Buffers
from volsvc.features.kernels.apply import TICK

# Ticks of a block.
BLOCK = 1_000 if PLAIN_PYTHON else 100_000

prices = st.floats(min_value=1e-9, max_value=1e9, allow_nan=False, allow_infinity=False)
repeated = st.lists(st.sampled_from([69705.9, 69705.91, 69705.92, 1e-3, 1e6]), max_size=200)


def brute_force(window: list[float]) -> tuple[float, float, int]:
    """Return mean, sample standard deviation and count of log returns, computed in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        logs = [Decimal(price).ln() for price in window]
        returns = [b - a for a, b in pairwise(logs)]
        n = len(returns)
        mean = sum(returns, Decimal(0)) / n if n else Decimal(0)
        square = sum(((r - mean) ** 2 for r in returns), Decimal(0))
        std = (square / (n - 1)).sqrt() if n > 1 else Decimal(0)
        return float(mean), float(std), n


def assert_agrees(found: tuple[float, float, int], kept: list[float]) -> None:
    mean, std, n = brute_force(kept)
    found_mean, found_std, found_n = found
    scale = max((abs(math.log(b / a)) for a, b in pairwise(kept)), default=0.0)
    assert n == found_n
    assert std == pytest.approx(found_std, rel=1e-12, abs=1e-15 * scale)
    # The mean may cancel to nearly 0, where only its error relative to the moves is bounded.
    assert mean == pytest.approx(found_mean, rel=1e-12, abs=1e-15 * scale)


@given(st.lists(prices, max_size=120), st.integers(2, 40))
def test_any_prices(values: list[float], size: int) -> None:
    """Mean and deviation agree with a brute-force computation for any prices."""
    window = PriceWindow(size)
    for index, price in enumerate(values):
        window.push(price)
        if index % 7 == 0 or index == len(values) - 1:
            assert_agrees(window.numbers, values[: index + 1][-size:])


@given(repeated, st.integers(2, 20))
def test_repeated_prices(values: list[float], size: int) -> None:
    """Returns of zero count like any others."""
    window = PriceWindow(size)
    for index, price in enumerate(values):
        window.push(price)
        assert_agrees(window.numbers, values[: index + 1][-size:])


@given(st.lists(prices, min_size=3, max_size=300), st.integers(2, 50))
def test_results_depend_on_the_prices_alone(values: list[float], size: int) -> None:
    """A window filled from the prices of another has the same results to the last bit."""
    window, refilled = PriceWindow(size), PriceWindow(size, more=0)
    for price in values:
        window.push(price)
    for price in window.contents()[0].tolist():
        refilled.push(price)
    for other in (refilled, window.restored()):
        assert (other.numbers, other.sums) == (window.numbers, window.sums)


def test_a_flat_window_has_no_deviation() -> None:
    """A flat window has a deviation of exactly 0 after an outlier has left it."""
    window = PriceWindow(50)
    for price in [70_000.0, 1e-6, 3e9, 70_000.01] + [70_000.02] * 60:
        window.push(price)
    assert window.numbers == (0.0, 0.0, 49)


@pytest.mark.parametrize(("low", "high"), [(3.0, 6.0), (35_000.0, 70_000.0), (100.0, 250.0)])
def test_a_large_move_and_back_is_no_move(low: float, high: float) -> None:
    """A price that doubles, or more, and falls back has a mean return of exactly 0."""
    window = PriceWindow(50)
    for price in (low, high, low):
        window.push(price)
    mean, std, n = window.numbers
    assert (mean, n) == (0.0, 2)
    assert std == pytest.approx(math.sqrt(2) * math.log(high / low))


def test_first_ticks() -> None:
    """Mean and deviation are 0 while they are not defined."""
    window = PriceWindow(50)
    assert window.numbers == (0.0, 0.0, 0)
    window.push(100.0)
    assert window.numbers == (0.0, 0.0, 0)
    window.push(101.0)
    mean, std, n = window.numbers
    assert (std, n) == (0.0, 1)
    assert mean == pytest.approx(math.log(1.01))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_unit_of_prices_does_not_matter(seed: int) -> None:
    """Prices in another unit (a power of two, which is exact) give the same returns."""
    rng = np.random.default_rng(seed)
    values = 70_000 * np.exp(np.cumsum(rng.normal(0, 3e-5, 200)))
    here, there = PriceWindow(50), PriceWindow(50)
    for price in values.tolist():
        here.push(price)
        there.push(price * 1024)
    assert here.numbers == there.numbers


@pytest.mark.parametrize("blocks", [10, pytest.param(100, marks=pytest.mark.long)])
def test_millions_of_updates(blocks: int) -> None:
    """After ten million updates the results are those of the window, within 1e-12."""
    rng = np.random.default_rng(7)
    one = OneSymbol(window_size=50, bad_print_sigmas=0)
    buffers = Buffers(64)
    kept: list[float] = []
    price, batch = 70_000.0, np.zeros(BLOCK, TICK)
    batch["time_ns"], batch["trade_id"] = START_NS, np.arange(BLOCK)
    for _ in range(blocks):
        moves = rng.normal(0, 3e-5, BLOCK) * (rng.random(BLOCK) < 0.3)
        moves[BLOCK // 2] = 0.05
        values = (price * np.exp(np.cumsum(moves))).round(2)
        price = 70_000.0 if not 1_000 < values[-1] < 1e6 else float(values[-1])
        kept = values.tolist()
        batch["price"] = values
        batch["trade_id"] += BLOCK
        batch["identity"] = batch["trade_id"]
        assert one.table.apply(batch, 0, buffers).next == len(batch)
        row = one.row
        assert row is not None
        assert_agrees((row.ret_mean, row.ret_std, row.n), kept[-50:])
    assert one.quality.ticks == blocks * BLOCK
