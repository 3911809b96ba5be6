"""Which of two forecasters is better, by a test that may be looked at at any time.

Testing by betting (Waudby-Smith and Ramdas 2024; for forecasts Choe and Ramdas 2021): one starts
with a wealth of 1 and bets on each pair of losses that the challenger's is smaller. If it is not
better, the wealth is a supermartingale, and the probability that it ever reaches 1/LEVEL is at most
LEVEL (Ville), however often one looks and whenever one stops. The bets are a mixture of fixed
fractions, so that small differences are found by patience and large ones soon.

A pair of losses is a bounded difference: losses are cut at GREATEST_LOSS, so what is tested is the
mean of the cut QLIKE. Forecasts must not overlap: each loss is known before the next is forecast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from volsvc.domain.float_codec import pack, unpack

# Probability of ever recommending a challenger that is not better.
LEVEL: Final = 0.05
# QLIKE of a forecast that is a seventh of what came, or 150 times as much.
GREATEST_LOSS: Final = 4.0
# Parts of the wealth that are bet; each starts with the same share of it.
FRACTIONS: Final = tuple(2.0**-k for k in range(1, 8))


class SequentialTest:
    """The wealth of bets on the fitted model against the baseline, and the other way round."""

    __slots__ = ("_logs", "n")

    def __init__(self) -> None:
        self.n = 0
        self._logs = [[0.0] * len(FRACTIONS) for _ in range(2)]

    def add(self, reference: float, fitted: float) -> None:
        """A pair of losses on the same forecast, known before the next pair is forecast."""
        self.n += 1
        difference = min(reference, GREATEST_LOSS) - min(fitted, GREATEST_LOSS)
        edge = max(-1.0, difference / GREATEST_LOSS)
        for logs, sign in zip(self._logs, (edge, -edge), strict=True):
            for index, fraction in enumerate(FRACTIONS):
                logs[index] += math.log1p(fraction * sign)

    @property
    def for_fitted(self) -> float:
        """Ln of the wealth of who bets that the fitted model is better."""
        return _mean_wealth(self._logs[0])

    @property
    def for_reference(self) -> float:
        """Ln of the wealth of who bets that the baseline is better."""
        return _mean_wealth(self._logs[1])

    def dump(self) -> list[Any]:
        """The whole state, as JSON can carry it without loss."""
        return [self.n, *(pack(logs) for logs in self._logs)]

    def restore(self, state: Sequence[Any]) -> None:
        """Take over what `dump` gave."""
        self.n, *logs = state
        self._logs = [unpack(one).tolist() for one in logs]


def _mean_wealth(logs: Sequence[float]) -> float:
    """Ln of the mean of what `logs` are logarithms of."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(x - top) for x in logs) / len(logs))


def pooled(log_wealths: Sequence[float]) -> float:
    """Ln of the wealth of bets on many symbols that share the stake; 0 without a symbol."""
    return _mean_wealth(log_wealths) if log_wealths else 0.0
