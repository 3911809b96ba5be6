"""Symbols that begin with bars forecast about as well as those that were watched."""

from __future__ import annotations

import numpy as np

from tests.training.warm_start import DAY, compare, generated, starts_in
from volsvc.models import packaged


def test_the_first_hour_is_as_good_as_any() -> None:
    """QLIKE of both is close at short horizons, and the variance has little bias."""
    ticks = generated(5, days=4, ticks_per_s=0.5)
    found = compare(packaged().model, ticks, starts_in(ticks, 2 * DAY, 97))
    for one in found[:2]:
        assert one.warmed.mean() < 1.05 * one.watched.mean()
    for one in found:
        assert abs(np.mean(one.log_ratio)) < 0.12
        assert np.std(one.log_ratio) < 0.15
        assert one.covered_warmed.mean() > 0.85
