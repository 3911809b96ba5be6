"""Causality of features and forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.simulated import bars, garch
from volsvc.features import MinuteBar
from volsvc.models import HORIZONS_S, packaged
from volsvc.models.base import matrix_of_scales
from volsvc.training.causality import CausalityError, check_causality
from volsvc.training.dataset import bar_rows

Array = NDArray[np.float64]
BARS = bars(garch(5e-4, 4_000, seed=1), seed=2)
# As in real recordings, some minutes are without trades, and there is an outage.
SEEN = [bar for i, bar in enumerate(BARS) if i % 7 and not 1_500 < i < 1_900]
CUTS = (2, 100, 1_300, 2_000, len(SEEN) - 1)


def features(seen: Iterator[MinuteBar]) -> Sequence[Array]:
    return [row.scales for row in bar_rows(seen)]


def forecasts(seen: Iterator[MinuteBar]) -> Sequence[Array]:
    rows = np.array(features(seen))
    return list(packaged().model.variances(matrix_of_scales(rows), HORIZONS_S))


@pytest.mark.parametrize("rows", [features, forecasts])
def test_features_and_forecasts_are_causal(rows: object) -> None:
    """Rows computed from all data and from the data up to their time are identical."""
    assert callable(rows)
    check_causality(rows, SEEN, CUTS)


def test_a_planted_leak_is_found() -> None:
    """A feature with the variance of the next minute, or with a mean of all data, is found."""

    def peeking(seen: Iterator[MinuteBar]) -> Sequence[Array]:
        known = list(bar_rows(seen))
        ahead = [row.variance for row in known[1:]] + [0.0]
        return [np.append(row.scales, peek) for row, peek in zip(known, ahead, strict=True)]

    def standardised(seen: Iterator[MinuteBar]) -> Sequence[Array]:
        rows = np.array(features(seen))
        return list(rows - np.nanmean(rows, axis=0))

    for leaky in (peeking, standardised):
        with pytest.raises(CausalityError, match="depends on later data"):
            check_causality(leaky, SEEN, CUTS)
