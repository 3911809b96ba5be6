"""Calibration: learning a symbol's own laws, dump and restore."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.unit.features.laws import normal_laws
from volsvc.domain.float_codec import pack
from volsvc.features import (
    HORIZON_MINUTES,
    LEVELS,
    Calibration,
    RealisedAtMinute,
    ResidualLaws,
    VariantCalibrations,
)
from volsvc.features.calibration import MEMORY, PRIOR


def test_a_symbol_learns_its_own_law() -> None:
    """The laws move from the pooled law to the symbol's own, in calm and in turbulence."""
    calibration = Calibration("digest", normal_laws())
    assert not calibration.own
    rng = np.random.default_rng(2)
    for minute in range(int(MEMORY) * 2):
        turbulence = minute % 2
        realised = (rng.normal(1.0 if turbulence else -1.0, 0.2),) * len(HORIZON_MINUTES)
        calibration.add_realised(RealisedAtMinute(minute, realised))
        calibration.issue(minute, (0.0,) * len(HORIZON_MINUTES), (float((minute + 1) % 2),) * 4)
    assert calibration.own
    assert max(PRIOR) < MEMORY
    calm, turbulent = (calibration.laws(0).mixed(weight).bounds()[1] for weight in (0.0, 1.0))
    assert calm == pytest.approx(-1.0, abs=0.25)
    assert turbulent == pytest.approx(1.0, abs=0.25)


def test_a_restored_calibration_continues_exactly() -> None:
    """A restored calibration continues to the last bit; that of another model is ignored."""
    first = Calibration("a", normal_laws())
    for minute in range(200):
        first.add_realised(RealisedAtMinute(minute, (0.5,) * 4))
        first.issue(minute, (0.0,) * 4, (0.3,) * 4)
    stored = json.loads(json.dumps(first.dump()))
    same, other, fresh = (Calibration(name, normal_laws()) for name in ("a", "b", "b"))
    same.restore(stored)
    other.restore(stored)
    for calibration in (first, same):
        for minute in range(200, 300):
            calibration.add_realised(RealisedAtMinute(minute, (0.1,) * 4))
    assert first.laws(3).cumulated.tobytes() == same.laws(3).cumulated.tobytes()
    assert other.laws(3).cumulated.tobytes() == fresh.laws(3).cumulated.tobytes()


def test_a_stored_calibration_is_kept_until_its_model_comes() -> None:
    """A stored calibration is used by the first model of its variant, and only once."""
    first = VariantCalibrations()
    calibration = first.get("ml", "a", normal_laws())
    for minute in range(200):
        calibration.add_realised(RealisedAtMinute(minute, (0.5,) * 4))
        calibration.issue(minute, (0.0,) * 4, (0.3,) * 4)
    stored = json.loads(json.dumps(first.dump()))
    second = VariantCalibrations()
    second.restore(stored)
    assert second.dump() == stored
    assert second.get("ml", "a", normal_laws()).dump() == stored["ml"]
    second.get("ml", "b", normal_laws())
    assert second.get("ml", "a", normal_laws()).dump() != stored["ml"]


def test_a_dump_follows_each_minute() -> None:
    """A dump holds the newest minute, the forecasts that are pending and their turbulence."""
    calibration = Calibration("digest", normal_laws())
    fresh = calibration.dump()
    assert (fresh["digest"], fresh["minute"], fresh["counts"]) == ("digest", None, [[0.0, 0.0]] * 4)
    zeros = [pack([0.0] * horizon) for horizon in HORIZON_MINUTES]
    assert fresh["storms"] == zeros
    assert fresh["issued"] == [pack([math.nan] * horizon) for horizon in HORIZON_MINUTES]
    calibration.issue(7, (0.25,) * 4, (0.5,) * 4)
    issued = calibration.dump()
    assert (issued["minute"], issued["issued"][0], issued["storms"][0]) == (
        7,
        pack([0.25]),
        pack([0.5]),
    )
    calibration.add_realised(RealisedAtMinute(8, (0.5,) * 4))
    assert (calibration.dump()["minute"], calibration.dump()["counts"][0]) == (8, [0.5, 0.5])


def test_own_laws_are_whole_laws() -> None:
    """They go from 0 to 1 although the pooled law leaves out some probability; they are kept."""
    line = np.linspace(0.1, 0.9, len(LEVELS))
    laws = ResidualLaws(np.linspace(-2, 2, len(LEVELS)), np.array([line, line]))
    calibration = Calibration("digest", [laws] * 4)
    own = calibration.laws(2)
    expected = np.linspace(0, 1, len(LEVELS))
    np.testing.assert_allclose(own.cumulated, [expected, expected], atol=1e-12)
    assert calibration.laws(2) is own


def test_a_model_has_one_calibration() -> None:
    """It is found again by its variant and digest; another model's is a new one."""
    variants = VariantCalibrations()
    first = variants.get("ml", "a", normal_laws())
    assert variants.get("ml", "a", normal_laws()) is first
    assert variants.get("baseline", "a", normal_laws()) is not first
    second = variants.get("ml", "b", normal_laws())
    assert (first.digest, second.digest) == ("a", "b")
    assert set(variants.dump()) == {"ml", "baseline"}


def test_a_damaged_stored_calibration_is_refused() -> None:
    """Pending forecasts of more horizons than there are raise ValueError at the next minute."""
    calibration = Calibration("a", normal_laws())
    calibration.issue(7, (0.0,) * 4, (0.3,) * 4)
    state = calibration.dump()
    calibration.restore({**state, "issued": [*state["issued"], pack([0.0])]})
    with pytest.raises(ValueError, match="zip"):
        calibration.add_realised(RealisedAtMinute(8, (0.5,) * 4))
