"""Realised variances over each horizon, and their trailing quantile."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain.float_codec import pack
from volsvc.features import FLOOR_PER_MINUTE, HORIZON_MINUTES, RealisedVariances
from volsvc.features.realised import BIN, DECAY, MAX_GAIN, SPIKE_QUANTILE, TrailingQuantile

steps = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1e-3)), min_size=1, max_size=90)


@given(steps)
def test_realised_variance_of_each_horizon(minutes: list[tuple[int, float]]) -> None:
    """The value at each minute, silent ones included, is the sum over its horizon."""
    realised, found, at, seen = RealisedVariances(), {}, 1000, {}
    for gap, variance in minutes:
        at += gap
        seen[at] = variance
        for item in realised.close(at, variance, 2 * variance, gap=False):
            assert item.minute not in found
            found[item.minute] = item.log_realised
    first = min(seen)
    assert sorted(found) == list(range(first, at + 1))
    for minute, logs in found.items():
        for horizon, value in zip(HORIZON_MINUTES, logs, strict=True):
            if minute - horizon + 1 < first:
                assert math.isnan(value)
                continue
            inside = [seen.get(m, 0.0) for m in range(minute - horizon + 1, minute + 1)]
            total = math.fsum(inside) * (2 if horizon == 1 else 1)
            expected = math.log(max(total, FLOOR_PER_MINUTE * horizon))
            assert value == pytest.approx(expected, rel=1e-9)


def test_horizons_that_reach_into_a_gap_are_unknown() -> None:
    """After a gap of the feed only the horizons inside the observed minutes have a value."""
    realised = RealisedVariances()
    for minute in range(100):
        realised.close(minute, 1e-6, 1e-6, gap=False)
    (after,) = realised.close(130, 1e-6, 1e-6, gap=True)
    assert not math.isnan(after.log_realised[0])
    assert all(math.isnan(value) for value in after.log_realised[1:])


@given(st.lists(st.floats(-20, -5), min_size=1, max_size=400))
def test_trailing_quantile(values: list[float]) -> None:
    """The result is within a bin of the weighted quantile, before and after a restart."""
    quantile, other = TrailingQuantile(), TrailingQuantile()
    for value in values:
        quantile.add(value)
    other.restore(json.loads(json.dumps(quantile.dump())))
    assert other.value == quantile.value
    low = np.quantile(values, 0.9, method="lower")
    high = np.quantile(values, 0.9, method="higher")
    # Over 400 minutes weights decay by 2 %, which shifts it by less than one rank.
    assert low - 0.11 <= quantile.value <= high + 0.11


def expected_quantile(values: list[float]) -> float:
    """Return the weighted quantile of binned values; the newest has the weight 1."""
    weights: dict[int, float] = {}
    for age, value in enumerate(reversed(values)):
        place = math.floor(value / BIN)
        weights[place] = weights.get(place, 0.0) + DECAY**age
    above, total = 0.0, sum(weights.values())
    for place in sorted(weights, reverse=True):
        part = ((1 - SPIKE_QUANTILE) * total - above) / weights[place]
        if part <= 1:
            return (place + 1 - part) * BIN
        above += weights[place]
    return math.nan


@given(st.lists(st.floats(-20, -5), min_size=1, max_size=60))
def test_trailing_quantile_against_its_weights(values: list[float]) -> None:
    """It is interpolated in its bin, with weights that fade by age; values are counted."""
    quantile = TrailingQuantile()
    for count, value in enumerate(values, 1):
        quantile.add(value)
        assert quantile.count == count
    assert quantile.value == pytest.approx(expected_quantile(values), rel=1e-9)


def test_rescaled_weights_are_the_same_weights() -> None:
    """A series goes on as before after its weights have reached their bound."""
    near, far = TrailingQuantile(), TrailingQuantile()
    bins, weights = [-90, -80, -75], [30.0, 60.0, 12.0]
    gain = MAX_GAIN * (1 - 1e-3)
    near.restore([102, gain, bins, pack([weight * gain for weight in weights])])
    far.restore([102, 1.0, bins, pack(weights)])
    for step in range(100):
        for quantile in (near, far):
            quantile.add(-7.0 - step % 13 / 8)
        assert near.value == pytest.approx(far.value, rel=1e-9)
    # It did reach its bound.
    assert near.dump()[1] < 1.1


def test_weights_are_rescaled_above_their_bound() -> None:
    """A newest weight of just the bound is left as it is, and the next one becomes 1."""
    quantile = TrailingQuantile()
    quantile.restore([1, MAX_GAIN * DECAY, [-90], pack([1.0])])
    quantile.add(-7.0)
    assert quantile.dump()[1] == MAX_GAIN
    quantile.add(-7.0)
    assert quantile.dump()[1] == 1.0


def test_thresholds_are_the_quantiles_of_each_horizon() -> None:
    """They are NaN at first, then those of all realised variances so far, as are the counts."""
    realised, rng = RealisedVariances(), np.random.default_rng(1)
    assert all(map(math.isnan, realised.log_thresholds))
    assert realised.counts == (0,) * len(HORIZON_MINUTES)
    logs: list[list[float]] = [[] for _ in HORIZON_MINUTES]
    for minute in range(1000, 1090):
        (one,) = realised.close(minute, float(rng.exponential(1e-6)), 1e-6, gap=False)
        for seen, value in zip(logs, one.log_realised, strict=True):
            seen += [] if math.isnan(value) else [value]
        expected = [expected_quantile(seen) for seen in logs]
        assert realised.log_thresholds == pytest.approx(expected, nan_ok=True)
    assert realised.counts == tuple(len(seen) for seen in logs) == (90, 86, 76, 31)
    other = RealisedVariances()
    other.restore(json.loads(json.dumps(realised.dump())))
    assert other.log_thresholds == realised.log_thresholds
    assert other.counts == realised.counts
    again = other.close(1092, 1e-6, 2e-6, gap=False)
    assert again == realised.close(1092, 1e-6, 2e-6, gap=False)


@pytest.mark.parametrize("first", [0, 1, 5])
def test_the_first_minutes_of_the_epoch_count(first: int) -> None:
    """A series that starts in any minute has its first five minutes after five."""
    realised = RealisedVariances()
    for minute in range(first, first + 5):
        (one,) = realised.close(minute, 1e-6, 1e-6, gap=False)
    assert one.log_realised[1] == pytest.approx(math.log(5e-6))


def test_a_damaged_stored_state_is_refused() -> None:
    """Weights without a bin, or horizons without a quantile, raise ValueError."""
    with pytest.raises(ValueError, match="zip"):
        TrailingQuantile().restore([1, 1.0, [3], pack([1.0, 2.0])])
    state = RealisedVariances().dump()
    with pytest.raises(ValueError, match="zip"):
        RealisedVariances().restore({**state, "usual": state["usual"][:2]})
