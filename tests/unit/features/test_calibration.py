"""Calibration: learning a symbol's own laws, also after a restart."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.features.laws import Calibrated, normal_laws
from tests.unit.features.records import copied
from volsvc.features import HORIZON_MINUTES, LEVELS, ResidualLaws
from volsvc.features.kernels import calibration as kernels
from volsvc.features.kernels.calibration import CALIBRATION, MEMORY, PRIOR
from volsvc.features.kernels.laws import quantile


def learnt(digest: str, minutes: int = 200) -> Calibrated:
    """Return a calibration after minutes of residuals of 0.5."""
    calibration = Calibrated(digest)
    for minute in range(minutes):
        calibration.add_realised(minute, (0.5,) * 4)
        calibration.issue(minute, (0.0,) * 4, (0.3,) * 4)
    return calibration


def test_a_symbol_learns_its_own_law() -> None:
    """The laws move from the pooled law to the symbol's own, in calm and in turbulence."""
    calibration = Calibrated("digest")
    assert not calibration.own
    rng = np.random.default_rng(2)
    for minute in range(int(MEMORY) * 2):
        turbulence = minute % 2
        realised = (rng.normal(1.0 if turbulence else -1.0, 0.2),) * len(HORIZON_MINUTES)
        calibration.add_realised(minute, realised)
        calibration.issue(minute, (0.0,) * len(HORIZON_MINUTES), (float((minute + 1) % 2),) * 4)
    assert calibration.own
    assert max(PRIOR) < MEMORY
    quantiles, own = calibration.pooled.quantiles[0], calibration.cumulated(0)
    calm, turbulent = (quantile(quantiles, own[0], own[1], weight, 0.5) for weight in (0.0, 1.0))
    assert calm == pytest.approx(-1.0, abs=0.25)
    assert turbulent == pytest.approx(1.0, abs=0.25)


def test_a_restored_calibration_continues_exactly() -> None:
    """A restored calibration continues to the last bit; that of another model is ignored."""
    first = learnt("a")
    stored = first.record.tobytes()
    same, other = (
        Calibrated(name, record=np.frombuffer(bytearray(stored), CALIBRATION)[0])
        for name in ("a", "b")
    )
    assert other.record.tobytes() == Calibrated("b").record.tobytes()
    for calibration in (first, same):
        for minute in range(200, 300):
            calibration.add_realised(minute, (0.1,) * 4)
    assert first.record.tobytes() == same.record.tobytes()
    assert first.record.tobytes() != stored


def test_a_model_is_forgotten_for_another() -> None:
    """A model that comes again goes on, but not after another one of its variant."""
    calibration = learnt("a")
    record, stored = calibration.record, calibration.record.tobytes()
    assert Calibrated("a", record=record).record.tobytes() == stored
    assert Calibrated("b", record=record).record.tobytes() == Calibrated("b").record.tobytes()
    assert Calibrated("a", record=record).record.tobytes() == Calibrated("a").record.tobytes()


def test_the_state_follows_each_minute() -> None:
    """It holds the newest minute, the forecasts that are pending and their turbulence."""
    calibration = Calibrated("digest")
    assert calibration.record.minute == -1
    assert not calibration.record.counts.any()
    assert not calibration.record.turbulence.any()
    assert np.isnan(calibration.record.issued).all()
    assert [len(issued) for issued in calibration.pending("issued")] == [*HORIZON_MINUTES]
    calibration.issue(7, (0.25,) * 4, (0.5,) * 4)
    assert calibration.record.minute == 7
    for horizon, issued, turbulence in zip(
        HORIZON_MINUTES,
        calibration.pending("issued"),
        calibration.pending("turbulence"),
        strict=True,
    ):
        assert (issued[7 % horizon], turbulence[7 % horizon]) == (0.25, 0.5)
        assert np.isnan(issued).sum() == horizon - 1
    calibration.add_realised(8, (0.5,) * 4)
    assert calibration.record.minute == 8
    assert calibration.record.counts[0].tolist() == [0.5, 0.5]


def test_own_laws_are_whole_laws() -> None:
    """They go from 0 to 1 although the pooled law leaves out some probability."""
    line = np.linspace(0.1, 0.9, len(LEVELS))
    laws = ResidualLaws(np.linspace(-2, 2, len(LEVELS)), np.array([line, line]))
    calibration = Calibrated("digest", [laws] * 4)
    expected = np.linspace(0, 1, len(LEVELS))
    own = calibration.cumulated(2)
    np.testing.assert_allclose(own / own[:, -1:], [expected, expected], atol=1e-12)


def test_a_residual_moves_the_laws_by_its_weight() -> None:
    """Each law is the mean of the pooled one and of the residuals, weighted by turbulence."""
    calibration = Calibrated("digest")
    pooled = copied(calibration.record).cumulated[0]
    calibration.issue(0, (0.0,) * 4, (0.25,) * 4)
    calibration.add_realised(1, (0.5,) * 4)
    place = np.searchsorted(normal_laws()[0].quantiles, 0.5)
    for law, weight in enumerate((0.75, 0.25)):
        above = np.arange(len(LEVELS)) >= place
        expected = (PRIOR[0] * pooled[law] + weight * above) / (PRIOR[0] + weight)
        np.testing.assert_allclose(calibration.cumulated(0)[law], expected, rtol=1e-12)


def test_each_horizon_has_enough_residuals_of_its_own() -> None:
    """A single horizon whose residuals do not outweigh its pooled law keeps a symbol pooled."""
    record = Calibrated("digest").record
    for index, prior in enumerate(PRIOR):
        record.counts[:] = PRIOR[:, np.newaxis] / 2
        assert kernels.is_own(record)
        record.counts[index, 1] = prior / 2 - 1e-6
        assert not kernels.is_own(record)
