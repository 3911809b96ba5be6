"""Draws the recovery after a jump into docs/evaluation: `python -m tests.training`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.simulated import bars, jump
from tests.training.test_simulations import SIGMA, forecasts, minutes_of
from volsvc.models import HORIZONS_S, packaged
from volsvc.training.plots import plot_recovery
from volsvc.training.walkforward import DAY, calibrated, trailing_log_limit

OUT = Path(__file__).parents[2] / "docs" / "evaluation" / "recovery-after-a-jump.png"
BEFORE, AFTER, COLUMN = 10 * DAY, 240, 2
"""Days before, minutes after, and the horizon that is drawn: a quarter of an hour."""


def main() -> None:
    """Ten days of constant volatility, then three times as much."""
    sigmas = jump(SIGMA, 3.0, BEFORE, AFTER + 60)
    minutes = minutes_of(bars(sigmas, seed=4))
    at = np.arange(3 * DAY, BEFORE + AFTER)
    variance = forecasts(packaged().model, minutes)[at]
    limits = np.column_stack([trailing_log_limit(minutes, h, at) for h in HORIZONS_S])
    _, low, high = calibrated(packaged().model, minutes, at, variance, limits)
    shown = slice(BEFORE - 60 - at[0], None)
    unit = 1e4 / np.sqrt(HORIZONS_S[COLUMN] / 60)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    plot_recovery(
        (at - BEFORE)[shown].astype(np.float64),
        1e4 * sigmas[at][shown],
        unit * np.sqrt(variance[shown, COLUMN]),
        unit * np.array([low[shown, COLUMN], high[shown, COLUMN]]),
        OUT,
    )
    print(OUT)


if __name__ == "__main__":
    main()
