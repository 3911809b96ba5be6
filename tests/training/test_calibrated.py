"""The calibration of the walk-forward evaluation: what is known at the end of each minute."""

from __future__ import annotations

import math

import numpy as np
import pytest

from volsvc.features import FLOOR_PER_MINUTE, HORIZON_MINUTES, SCALE_NAMES
from volsvc.features.kernels.calibration import PRIOR
from volsvc.features.kernels.laws import HIGH_LEVEL, LOW_LEVEL, bin_of
from volsvc.models import Baseline
from volsvc.training.dataset import Minutes
from volsvc.training.walkforward import calibrated

COUNT = 500
START = 29_459_520
RESIDUAL = -0.31
# Rows without trades: a minute, a few, and more than an hour, which counts as a gap.
SILENT = (range(40, 41), range(100, 107), range(200, 290))


@pytest.fixture(scope="module")
def symbol() -> Minutes:
    """A recording of ticks whose variances are as irregular as its silence."""
    rng = np.random.default_rng(7)
    variance = np.exp(rng.normal(-13, 3, COUNT))
    for silence in SILENT:
        variance[list(silence)] = 0.0
    unknown = np.full((COUNT, len(SCALE_NAMES)), np.nan)
    return Minutes("BTC-USD", "0", START, unknown, unknown, variance, variance, ticks=True)


@pytest.mark.parametrize("column", range(len(HORIZON_MINUTES)))
def test_bounds_rest_on_the_horizons_that_have_ended(symbol: Minutes, column: int) -> None:
    """A forecast counts from the last minute of its horizon on, and only if all were observed."""
    model, horizon = Baseline(), HORIZON_MINUTES[column]
    traded = [row for row in range(COUNT) if not any(row in silence for silence in SILENT)]
    observed = set(range(COUNT)) - set(SILENT[-1])

    def realised(row: int) -> float | None:
        ahead = range(row + 1, row + horizon + 1)
        total = math.fsum(symbol.variance[row] for row in ahead if row < COUNT)
        return max(total, FLOOR_PER_MINUTE * horizon) if observed.issuperset(ahead) else None

    # Far too much where nobody can tell.
    futures = {row: realised(row) for row in traded}
    forecasts = [1e3 if v is None else v * math.exp(-RESIDUAL) for v in futures.values()]
    variances = np.full((len(traded), len(HORIZON_MINUTES)), 1.0)
    variances[:, column] = forecasts
    # No forecast comes near its limit, so all of them are calm.
    limits = np.full_like(variances, 50.0)
    _, low, high = calibrated(model, symbol, np.array(traded), variances, limits)
    law = model.laws[column]
    pooled, place = np.diff(law.cumulated[0]), bin_of(law.quantiles, RESIDUAL)
    for row, at in enumerate(traded):
        known = sum(
            1 for before in traded if before + horizon <= at and futures[before] is not None
        )
        mass = PRIOR[column] * pooled
        mass[place] += known
        cumulated = np.concatenate(([0.0], np.cumsum(mass))) / mass.sum()
        bounds = np.interp([LOW_LEVEL, HIGH_LEVEL], cumulated, law.quantiles)
        found = [2 * math.log(b[row, column]) - math.log(forecasts[row]) for b in (low, high)]
        assert found == pytest.approx(bounds.tolist(), abs=1e-9), (row, known)
