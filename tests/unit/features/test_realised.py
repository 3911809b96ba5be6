"""What the market did, how large that usually is, and how forecasts turned out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.features import (
    HORIZON_MINUTES,
    LEVELS,
    Calibration,
    RealisedVariances,
    ResidualLaws,
    Settled,
)
from volsvc.features.calibration import MEMORY, PRIOR, storm_weight
from volsvc.features.multiscale import FLOOR_PER_MINUTE
from volsvc.features.realised import LONGEST, TrailingQuantile

steps = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1e-3)), min_size=1, max_size=90)


@given(steps)
def test_realised_variance_of_each_horizon(minutes: list[tuple[int, float]]) -> None:
    """What is settled at each minute, silent ones included, is the sum over its horizon."""
    outcomes, settled, at, seen = RealisedVariances(), {}, 1000, {}
    for gap, variance in minutes:
        at += gap
        seen[at] = variance
        for item in outcomes.close(at, variance, 2 * variance, gap=False):
            assert item.minute not in settled
            settled[item.minute] = item.log_realised
    first = min(seen)
    assert sorted(settled) == list(range(first, at + 1))
    for minute, logs in settled.items():
        for ahead, value in zip(HORIZON_MINUTES, logs, strict=True):
            if minute - ahead + 1 < first:
                assert math.isnan(value)
                continue
            inside = [seen.get(m, 0.0) for m in range(minute - ahead + 1, minute + 1)]
            total = math.fsum(inside) * (2 if ahead == 1 else 1)
            expected = math.log(max(total, FLOOR_PER_MINUTE * ahead))
            assert value == pytest.approx(expected, rel=1e-9)


def test_a_gap_settles_nothing() -> None:
    """What reaches into a gap of the feed was not seen, and is not judged."""
    outcomes = RealisedVariances()
    for minute in range(100):
        outcomes.close(minute, 1e-6, 1e-6, gap=False)
    (after,) = outcomes.close(130, 1e-6, 1e-6, gap=True)
    assert not math.isnan(after.log_realised[0])
    assert all(math.isnan(value) for value in after.log_realised[1:])


@given(st.lists(st.floats(-20, -5), min_size=1, max_size=400))
def test_trailing_quantile(values: list[float]) -> None:
    """Within a bin of the weighted quantile of everything, before and after a restart."""
    usual, other = TrailingQuantile(), TrailingQuantile()
    for value in values:
        usual.add(value)
    other.restore(json.loads(json.dumps(usual.dump())))
    assert other.value == usual.value
    low = np.quantile(values, 0.9, method="lower")
    high = np.quantile(values, 0.9, method="higher")
    # Over 400 minutes the fading is a fifth of a per cent.
    assert low - 0.11 <= usual.value <= high + 0.11


def laws() -> list[ResidualLaws]:
    rng = np.random.default_rng(1)
    residuals, storm = rng.normal(-0.3, 1.0, 20_000), rng.uniform(0, 1, 20_000)
    return [ResidualLaws.of_residuals(residuals, storm) for _ in HORIZON_MINUTES]


def test_pooled_law_is_the_empirical_one() -> None:
    """Bounds and probabilities of a law are those of what it was made of."""
    law = laws()[0].mixed(0.5)
    low, median, high = law.bounds()
    assert (low, median, high) == pytest.approx((-0.3 - 1.645, -0.3, -0.3 + 1.645), abs=0.05)
    assert float(law.above(-0.3)) == pytest.approx(0.5, abs=0.01)
    assert float(law.above(-99.0)) == 1.0
    assert float(law.above(99.0)) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=len(LEVELS) - 1),
    st.floats(0, 1),
    st.one_of(st.floats(-20, 20), st.integers(0, len(LEVELS) - 1)),
)
def test_a_law_read_in_places_is_the_mixed_law(
    masses: list[tuple[float, float]], storm: float, residual: float
) -> None:
    """To the last bit, in bins without mass and on the quantiles too."""
    quantiles = np.linspace(-2, 3, len(LEVELS))
    at = quantiles[residual] if isinstance(residual, int) else residual
    cumulated = np.zeros((2, len(LEVELS)))
    np.cumsum(np.array(masses[: len(LEVELS) - 1]).T, axis=1, out=cumulated[:, 1:])
    own = ResidualLaws(quantiles, cumulated / np.maximum(cumulated[:, -1:], 1e-300))
    reading, mixed = own.reading(storm), own.mixed(storm)
    assert reading.bounds() == mixed.bounds()
    assert reading.above(float(at)) == float(mixed.above(at))


def test_laws_refuse_what_is_none() -> None:
    """Quantiles and probabilities have to rise."""
    good = laws()[0]
    with pytest.raises(ValueError, match="rising"):
        ResidualLaws(good.quantiles[::-1], good.cumulated)
    with pytest.raises(ValueError, match="must rise"):
        ResidualLaws(good.quantiles, good.cumulated[:, ::-1])


def test_a_symbol_learns_its_own_law() -> None:
    """From the pooled law to the symbol's own, which has another centre; storms apart from calm."""
    calibration = Calibration("digest", laws())
    assert not calibration.own
    rng = np.random.default_rng(2)
    for minute in range(int(MEMORY) * 2):
        storm = minute % 2
        realised = (rng.normal(1.0 if storm else -1.0, 0.2),) * len(HORIZON_MINUTES)
        calibration.settle(Settled(minute, realised))
        calibration.issue(minute, (0.0,) * len(HORIZON_MINUTES), (float((minute + 1) % 2),) * 4)
    assert calibration.own
    assert max(PRIOR) < MEMORY
    calm, stormy = (calibration.laws(0).mixed(weight).bounds()[1] for weight in (0.0, 1.0))
    assert calm == pytest.approx(-1.0, abs=0.25)
    assert stormy == pytest.approx(1.0, abs=0.25)


def test_calibration_of_another_model_is_of_no_use() -> None:
    """A restored calibration goes on to the bit; one of another model starts afresh."""
    first = Calibration("a", laws())
    for minute in range(200):
        first.settle(Settled(minute, (0.5,) * 4))
        first.issue(minute, (0.0,) * 4, (0.3,) * 4)
    stored = json.loads(json.dumps(first.dump()))
    same, other, fresh = (Calibration(name, laws()) for name in ("a", "b", "b"))
    same.restore(stored)
    other.restore(stored)
    for calibration in (first, same):
        for minute in range(200, 300):
            calibration.settle(Settled(minute, (0.1,) * 4))
    assert first.laws(3).cumulated.tobytes() == same.laws(3).cumulated.tobytes()
    assert other.laws(3).cumulated.tobytes() == fresh.laws(3).cumulated.tobytes()


def test_storm_weight() -> None:
    """From far below a spike to at one, continuously."""
    limits = np.zeros(5)
    weights = storm_weight(np.array([-9.0, -2.0, -1.0, 0.0, 3.0]), limits)
    assert weights.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert HORIZON_MINUTES[-1] == LONGEST
    assert LEVELS[0] == 0.0
    assert LEVELS[-1] == 1.0
