"""Plot the recovery after a jump into docs/evaluation: `python -m tests.training`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.simulated import bars, jump
from tests.training.test_simulations import SIGMA, forecasts, minutes_of
from volsvc.models import HORIZONS_S, packaged
from volsvc.training.plots import plot_recovery
from volsvc.training.walkforward import DAY, calibrated, trailing_log_limit

OUT = Path(__file__).parents[2] / "docs" / "evaluation" / "recovery-after-a-jump.png"
# Minutes before and after the jump, and the horizon that is plotted: a quarter of an hour.
BEFORE, AFTER, COLUMN = 10 * DAY, 240, 2


def main() -> None:
    """Plot the forecasts over ten days of constant volatility and the hours after it trebles."""
    sigmas = jump(SIGMA, 3.0, BEFORE, AFTER + 60)
    minutes = minutes_of(bars(sigmas, seed=4))
    index = np.arange(3 * DAY, BEFORE + AFTER)
    variance = forecasts(packaged().model, minutes)[index]
    limits = np.column_stack([trailing_log_limit(minutes, h, index) for h in HORIZONS_S])
    _, low, high = calibrated(packaged().model, minutes, index, variance, limits)
    plotted = slice(BEFORE - 60 - index[0], None)
    unit = 1e4 / np.sqrt(HORIZONS_S[COLUMN] / 60)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    plot_recovery(
        (index - BEFORE)[plotted].astype(np.float64),
        1e4 * sigmas[index][plotted],
        unit * np.sqrt(variance[plotted, COLUMN]),
        unit * np.array([low[plotted, COLUMN], high[plotted, COLUMN]]),
        OUT,
    )
    print(OUT)


if __name__ == "__main__":
    main()
