"""Realised variances over each horizon, and their trailing quantile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.records import close_minute, copied, started
from volsvc.features import FLOOR_PER_MINUTE, HORIZON_MINUTES
from volsvc.features.kernels import realised as kernels
from volsvc.features.kernels.realised import (
    BIN,
    BINS,
    DECAY,
    FIRST_BIN,
    MAX_GAIN,
    REALISED,
    SPIKE_QUANTILE,
    TRAILING_QUANTILE,
)


def new_state() -> Any:
    return started(REALISED, kernels.start)


def quantile_of(
    values: Iterable[float] = (), gain: float = 1.0, weights: Mapping[int, float] | None = None
) -> Any:
    """Return a trailing quantile with weights by bin, after more values."""
    quantile = np.zeros(1, TRAILING_QUANTILE)[0]
    quantile.gain = gain
    for place, weight in (weights or {}).items():
        quantile.weights[place - FIRST_BIN] = weight
    for value in values:
        kernels.add_value(quantile, value)
    return quantile


# No realised variance is below the floor of a minute.
logs = st.floats(math.log(FLOOR_PER_MINUTE), -5)
steps = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1e-3)), min_size=1, max_size=90)


@given(steps)
def test_realised_variance_of_each_horizon(minutes: list[tuple[int, float]]) -> None:
    """The value at each minute, silent ones included, is the sum over its horizon."""
    realised, found, at, seen = new_state(), {}, 1000, {}
    for gap, variance in minutes:
        at += gap
        seen[at] = variance
        for minute, logs in close_minute(realised, at, variance, 2 * variance, gap=False):
            assert minute not in found
            found[minute] = logs
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
    realised = new_state()
    for minute in range(100):
        close_minute(realised, minute, 1e-6, 1e-6, gap=False)
    ((_, after),) = close_minute(realised, 130, 1e-6, 1e-6, gap=True)
    assert not math.isnan(after[0])
    assert all(math.isnan(value) for value in after[1:])


@given(st.lists(logs, min_size=1, max_size=400))
def test_trailing_quantile(values: list[float]) -> None:
    """The result is within a bin of the weighted quantile, before and after a restart."""
    quantile = quantile_of(values)
    found = kernels.value(quantile)
    assert kernels.value(copied(quantile)) == found
    low = np.quantile(values, 0.9, method="lower")
    high = np.quantile(values, 0.9, method="higher")
    # Over 400 minutes weights decay by 2 %, which shifts it by less than one rank.
    assert low - 0.11 <= found <= high + 0.11


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


@given(st.lists(logs, min_size=1, max_size=60))
def test_trailing_quantile_against_its_weights(values: list[float]) -> None:
    """It is interpolated in its bin, with weights that fade by age; values are counted."""
    quantile = quantile_of()
    assert math.isnan(kernels.value(quantile))
    for count, value in enumerate(values, 1):
        kernels.add_value(quantile, value)
        assert quantile.count == count
    assert kernels.value(quantile) == pytest.approx(expected_quantile(values), rel=1e-9)


def test_rescaled_weights_are_the_same_weights() -> None:
    """A series goes on as before after its weights have reached their bound."""
    weights = {-90: 30.0, -80: 60.0, -75: 12.0}
    gain = MAX_GAIN * (1 - 1e-3)
    near = quantile_of(gain=gain, weights={at: weight * gain for at, weight in weights.items()})
    far = quantile_of(weights=weights)
    for step in range(100):
        for quantile in (near, far):
            kernels.add_value(quantile, -7.0 - step % 13 / 8)
        assert kernels.value(near) == pytest.approx(kernels.value(far), rel=1e-9)
    # It did reach its bound.
    assert near.gain < 1.1


def test_weights_are_rescaled_above_their_bound() -> None:
    """A newest weight of just the bound is left as it is, and the next one becomes 1."""
    quantile = quantile_of([-7.0], MAX_GAIN * DECAY, {-90: 1.0})
    assert quantile.gain == MAX_GAIN
    kernels.add_value(quantile, -7.0)
    assert quantile.gain == 1.0


@pytest.mark.parametrize(("value", "place"), [(-1e3, 0), (-30.0, 0), (50.0, BINS - 1)])
def test_values_outside_the_bins_count_in_the_outermost_ones(value: float, place: int) -> None:
    """No value, however small or large, leads beyond the weights."""
    weights = quantile_of([value]).weights
    assert np.flatnonzero(weights).tolist() == [place]


def test_thresholds_are_the_quantiles_of_each_horizon() -> None:
    """They are NaN at first, then those of all realised variances so far, as are the counts."""
    realised, rng = new_state(), np.random.default_rng(1)
    assert all(map(math.isnan, realised.log_thresholds))
    assert realised.quantiles["count"].tolist() == [0] * len(HORIZON_MINUTES)
    logs: list[list[float]] = [[] for _ in HORIZON_MINUTES]
    for minute in range(1000, 1090):
        variance = float(rng.exponential(1e-6))
        ((_, found),) = close_minute(realised, minute, variance, 1e-6, gap=False)
        for seen, value in zip(logs, found, strict=True):
            seen += [] if math.isnan(value) else [value]
        expected = [expected_quantile(seen) for seen in logs]
        assert realised.log_thresholds.tolist() == pytest.approx(expected, nan_ok=True)
    counts = realised.quantiles["count"].tolist()
    assert counts == [len(seen) for seen in logs] == [90, 86, 76, 31]
    other = copied(realised)
    again = close_minute(other, 1092, 1e-6, 2e-6, gap=False)
    assert again == close_minute(realised, 1092, 1e-6, 2e-6, gap=False)
    assert other.tobytes() == realised.tobytes()


@pytest.mark.parametrize("first", [0, 1, 5])
def test_the_first_minutes_of_the_epoch_count(first: int) -> None:
    """A series that starts in any minute has its first five minutes after five."""
    realised = new_state()
    for minute in range(first, first + 5):
        ((_, logs),) = close_minute(realised, minute, 1e-6, 1e-6, gap=False)
    assert logs[1] == pytest.approx(math.log(5e-6))
