"""Sequential test of which of two forecasters is better, valid at any stopping time.

Testing by betting (Waudby-Smith and Ramdas 2024; for forecasts Choe and Ramdas 2021): start with a
wealth of 1 and bet on each pair of losses that the challenger's is smaller. If the challenger is
not better, the wealth is a supermartingale, so the probability that it ever reaches 1/LEVEL is at
most LEVEL (Ville's inequality), however often it is looked at and whenever the test is stopped. The
wealth is that of a mixture of fixed betting fractions: small fractions detect small differences in
the long run, large fractions detect large differences early.

Betting needs bounded differences, so losses are capped at MAX_LOSS and the test is about the mean
of the capped QLIKE. Forecasts must not overlap: each loss is known before the next forecast is
made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type

# Upper bound on the probability of ever recommending a challenger that is not better.
LEVEL: Final = 0.05
# QLIKE of a forecast that is a seventh of the outcome, or 150 times as much.
MAX_LOSS: Final = 4.0
# Betting fractions; each starts with the same share of the wealth.
FRACTIONS: Final = tuple(2.0**-k for k in range(1, 8))


_FRACTIONS = np.array(FRACTIONS)

# Ln of the wealth of each fraction, of bets on the fitted model against the baseline and of the
# opposite bets, after `n` pairs of losses.
TEST = record_type(
    [("n", "i8"), ("fitted", "f8", (len(FRACTIONS),)), ("reference", "f8", (len(FRACTIONS),))]
)


@kernel
def start(test: Any) -> None:
    """Begin a test anew."""
    test.n = 0
    test.fitted[:] = 0.0
    test.reference[:] = 0.0


@kernel
def add(test: Any, reference: float, fitted: float) -> None:
    """Add the losses of both models on one outcome.

    They must be known before the next pair is forecast.
    """
    test.n += 1
    edge = (min(reference, MAX_LOSS) - min(fitted, MAX_LOSS)) / MAX_LOSS
    for index in range(len(_FRACTIONS)):
        test.fitted[index] += math.log1p(_FRACTIONS[index] * edge)
        test.reference[index] += math.log1p(-_FRACTIONS[index] * edge)


def log_wealth_fitted(test: Any) -> float:
    """Return ln of the wealth of bets that the fitted model is better."""
    return _log_mean_exp(test.fitted.tolist())


def log_wealth_reference(test: Any) -> float:
    """Return ln of the wealth of bets that the baseline is better."""
    return _log_mean_exp(test.reference.tolist())


def _log_mean_exp(logs: Sequence[float]) -> float:
    # Shifted by the largest, since wealth may be beyond the range of a double.
    top = max(logs)
    return top + math.log(math.fsum(math.exp(x - top) for x in logs) / len(logs))


def pooled_log_wealth(log_wealths: Sequence[float]) -> float:
    """Return ln of the wealth of bets on symbols with equal stakes; 0 without symbols."""
    return _log_mean_exp(log_wealths) if log_wealths else 0.0
