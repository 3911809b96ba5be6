"""The verdict on a fit, in figures and words."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulated import bars, constant
from tests.training.test_simulations import SIGMA, minutes_of
from volsvc.models import HORIZONS_S, BarAdapter, Baseline
from volsvc.models.base import matrix_of_scales
from volsvc.training.fit import HeldOut, Sample
from volsvc.training.verdict import HorizonComparison, compare, verdict_of
from volsvc.training.walkforward import DAY


def held_out(factor: float) -> tuple[HeldOut, ...]:
    """Return twelve days on which a fit forecasts the baseline times a factor, plus noise."""
    minutes = minutes_of(bars(constant(SIGMA, 14 * DAY), seed=3))
    index = np.arange(2 * DAY, 14 * DAY, 4)
    scales, minute = minutes.scales[index], minutes.minute[index]
    variances = BarAdapter(Baseline()).variances(matrix_of_scales(scales), HORIZONS_S)
    rng = np.random.default_rng(1)
    # The baseline is right on average, so that any factor makes a forecast worse.
    noise = rng.gamma(5, 1 / 5, variances.shape)
    return tuple(
        HeldOut(
            Sample(scales, variances[:, column] * noise[:, column], minute),
            np.log(variances[:, column] * factor),
        )
        for column in range(len(HORIZONS_S))
    )


def test_a_fit_that_is_worse_everywhere() -> None:
    """Three times the right variance is worse than the baseline on every day."""
    found = compare(held_out(3.0), Baseline())
    assert [(c.horizon_s, c.days) for c in found] == [(h, 12) for h in HORIZONS_S]
    assert all(c.loss > c.other_loss and c.t > 2 for c in found)
    assert verdict_of("the baseline", found)[0] == (
        "the candidate is worse than the baseline at 60 s, 300 s, 900 s, 3600 s"
    )


def test_a_fit_that_is_the_same() -> None:
    """Equal losses have no t, and are called so."""
    found = compare(held_out(1.0), Baseline())
    assert all(c.loss == pytest.approx(c.other_loss) for c in found)
    assert verdict_of("ml-1", found)[0] == "the candidate is not clearly different from ml-1"


@pytest.mark.parametrize(
    ("ts", "words"),
    [
        ((-3.0, -2.5), "better than ml-1 at 60 s, 300 s, and nowhere clearly worse"),
        ((-3.0, 1.9), "better than ml-1 at 60 s, and nowhere clearly worse"),
        ((2.1, -9.0), "worse than ml-1 at 60 s, better at 300 s"),
        ((-2.0, 2.0), "not clearly different from ml-1"),
        ((float("nan"), float("nan")), "not clearly different from ml-1"),
    ],
)
def test_words(ts: tuple[float, float], words: str) -> None:
    """A difference counts if its t is beyond 2; a horizon that is worse comes first."""
    found = [HorizonComparison(h, 20, 0.19, 0.2, t) for h, t in zip((60.0, 300.0), ts, strict=True)]
    verdict, first, _ = verdict_of("ml-1", found)
    assert verdict == f"the candidate is {words}"
    assert "60 s: QLIKE 0.1900 against 0.2000 (-5.0%) on 20 held-out days" in first
