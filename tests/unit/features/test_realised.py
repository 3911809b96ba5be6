"""Realised variances over each horizon, and their trailing quantile."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.features import FLOOR_PER_MINUTE, HORIZON_MINUTES, RealisedVariances
from volsvc.features.realised import TrailingQuantile

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
