"""The multi-scale state against sums over the whole past, and through a restart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.scales import Scales
from volsvc.domain.feature_names import WEEK
from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES
from volsvc.features.kernels.minutes import BAR, bars_of_prices, parkinson
from volsvc.features.kernels.multiscale import TINY

# Minutes from the epoch to 2026-01-05, a Monday.
START = 29_459_520
AT = {name: index for index, name in enumerate(SCALE_NAMES)}

# Minutes since the previous bar (too few for a gap), return, range, size.
moves = st.lists(
    st.tuples(st.integers(1, 4), st.floats(-0.02, 0.02), st.floats(0, 0.01), st.floats(0, 50)),
    min_size=2,
    max_size=60,
)


def bars_of(steps: Sequence[tuple[int, float, float, float]]) -> Any:
    """Return an array of BAR."""
    minutes, prices, minute, price = [], [], START, 100.0
    for gap, move, span, volume in steps:
        minute += gap
        price *= math.exp(move)
        minutes.append(minute)
        prices.append((price, price * math.exp(span), price, price, volume))
    bars = np.zeros(len(minutes), BAR)
    bars_of_prices(np.array(minutes), np.array(prices), math.nan, bars)
    return bars


def average(bars: Any, values: Sequence[float], half_life: float) -> float:
    """Return the weighted mean over all minutes, those without trades as zeros."""
    last = bars[-1].minute
    decay = 2.0 ** (-1 / half_life)
    weights = [decay ** (last - bar.minute) for bar in bars]
    minutes = last - bars[0].minute + 1
    total = math.fsum(w * v for w, v in zip(weights, values, strict=True))
    return float(total * (1 - decay) / (1 - decay**minutes))


@given(moves)
def test_averages_against_the_whole_past(steps: list[tuple[int, float, float, float]]) -> None:
    """Each running average is the weighted mean over all minutes, inside the first day."""
    bars = bars_of(steps)
    row = Scales(bars).row(bars[-1].minute)
    variances = [bar.variance for bar in bars]
    level = max(average(bars, variances, WEEK), FLOOR_PER_MINUTE)
    assert row[AT["level"]] * 60 == pytest.approx(level, rel=1e-9)
    for half in (1.5, 10, 90, 1440):
        expected = math.log(max(average(bars, variances, half), TINY) / level)
        assert row[AT[f"variance_{half:g}m"]] == pytest.approx(expected, rel=1e-7, abs=1e-7)
    ranges = [parkinson(bar.high, bar.low) for bar in bars]
    expected = math.log(max(average(bars, ranges, 6), TINY) / level)
    assert row[AT["range_6m"]] == pytest.approx(expected, rel=1e-7, abs=1e-7)
    under = max(average(bars, variances, 10), TINY)
    down = average(bars, [bar.down for bar in bars], 10) / under
    # Shrunk to 0.5 by the weight of the time before the first minute.
    unseen = 2.0 ** (-(bars[-1].minute - bars[0].minute + 1) / 10)
    shrunk = min(down, 20) * (1 - unseen) + 0.5 * unseen
    assert row[AT["down_10m"]] == pytest.approx(shrunk, rel=1e-7, abs=1e-9)
    active = average(bars, [1.0] * len(bars), 30)
    assert row[AT["active_30m"]] == pytest.approx(active, rel=1e-9)


@given(moves, st.integers(0, 60))
def test_a_restored_state_continues_exactly(
    steps: list[tuple[int, float, float, float]], cut: int
) -> None:
    """A state restored gives the same rows as the original, to the last bit."""
    bars = bars_of(steps)
    whole = Scales(bars[:cut])
    second = Scales(bars[:cut]).restored()
    for bar in bars[cut:]:
        whole.push(bar)
        second.push(bar)
    end = bars[-1].minute
    assert whole.row(end).tobytes() == second.row(end).tobytes()


@given(moves, st.floats(0.01, 100))
def test_features_do_not_depend_on_units(
    steps: list[tuple[int, float, float, float]], factor: float
) -> None:
    """Prices and sizes in other units give the same row."""
    bars = bars_of(steps)
    scaled = bars.copy()
    for name in ("close", "high", "low", "volume"):
        scaled[name] *= factor
    first, second = (Scales(b).row(bars[-1].minute) for b in (bars, scaled))
    assert np.allclose(first, second, rtol=1e-6, atol=1e-6)


def test_a_gap_of_the_feed_is_not_silence() -> None:
    """Hours without ticks of a symbol that trades every minute do not reduce its variance."""
    bars = bars_of([(1, 0.001, 0.001, 1.0)] * 300)
    state = Scales(bars)
    before = state.row(bars[-1].minute)
    assert state.is_gap(bars[-1].minute + 200)
    assert not state.is_gap(bars[-1].minute + 3)
    after = state.row(bars[-1].minute + 200)
    assert after[AT["level"]] == pytest.approx(before[AT["level"]], rel=0.03)
    assert after[AT["silence"]] == pytest.approx(math.log1p(200))
    jump = bars[-1].close * math.exp(0.02)
    late = bars_of([(1, 0.0, 0.0, 1.0)])[0]
    late.minute, late.close = bars[-1].minute + 200, jump
    late.high = late.low = jump
    late.variance = 0.02**2
    state.push(late)
    # The return over the gap holds 200 minutes of variance, of which little may count.
    fresh = state.row(late.minute)
    assert fresh[AT["variance_30m"]] < before[AT["variance_30m"]] + 1.0


def test_pending_minute_becomes_the_minute() -> None:
    """The row at the end of a pending minute equals the row after it, to the last bit."""
    bars = bars_of([(1, 0.001, 0.002, 1.0), (1, -0.002, 0.001, 2.0), (2, 0.003, 0.004, 3.0)])
    state = Scales(bars[:2])
    pending = state.within(bars[2], 1.0)
    state.push(bars[2])
    after = state.row(bars[2].minute)
    assert pending.tobytes() == after.tobytes()
