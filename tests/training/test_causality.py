"""Causality of features and forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.simulated import bars, garch
from volsvc.models import HORIZONS_S, packaged
from volsvc.models.base import matrix_of_scales
from volsvc.training.causality import CausalityError, check_causality
from volsvc.training.dataset import bar_rows

Array = NDArray[np.float64]
BARS = bars(garch(5e-4, 4_000, seed=1), seed=2)
# As in real recordings, some minutes are without trades, and there is an outage.
SEEN = BARS[[bool(i % 7) and not 1_500 < i < 1_900 for i in range(len(BARS))]]
CUTS = (2, 100, 1_300, 2_000, len(SEEN) - 1)


def features(seen: Any) -> Array:
    return bar_rows(seen).scales


def forecasts(seen: Any) -> Array:
    return packaged().model.variances(matrix_of_scales(features(seen)), HORIZONS_S)


@pytest.mark.parametrize("rows", [features, forecasts])
def test_features_and_forecasts_are_causal(rows: object) -> None:
    """Rows computed from all data and from the data up to their time are identical."""
    assert callable(rows)
    check_causality(rows, SEEN, CUTS)


def test_a_planted_leak_is_found() -> None:
    """A feature with the variance of the next minute, or with a mean of all data, is found."""

    def peeking(seen: Any) -> Array:
        known = bar_rows(seen)
        return np.column_stack([known.scales, np.append(known.variance[1:], 0.0)])

    def standardised(seen: Any) -> Array:
        rows = features(seen)
        return np.asarray(rows - np.nanmean(rows, axis=0))

    for leaky in (peeking, standardised):
        with pytest.raises(CausalityError, match="depends on later data"):
            check_causality(leaky, SEEN, CUTS)
