"""Calibration: learning a symbol's own laws, dump and restore."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.unit.features.laws import normal_laws
from volsvc.features import (
    HORIZON_MINUTES,
    Calibration,
    RealisedAtMinute,
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
