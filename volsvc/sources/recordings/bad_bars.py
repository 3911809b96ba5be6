"""Bars with a price far outside what the symbol's own recent law allows, and back again.

The rule is that of ticks (docs/feature_spec.md), with bars of a minute: one whose close is too far
from the one before is left out unless the next close is nearer to it than to that one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# A return up to this size is never a bad print: a book that was swept comes back within a minute.
LEAST_RETURN: Final = 0.02
# Least variance of a minute in the first hour, that of a volatility of 150 % a year.
PRIOR_VARIANCE: Final = 1.5**2 / (365.25 * 1440)
PRIOR_BARS: Final = 60
# Bars behind the variance: those of a day, and the last ones.
DAY: Final = 1440
LAST: Final = 5


def bad_prints(
    minutes: NDArray[np.int64], values: NDArray[np.float64], sigmas: float
) -> NDArray[np.int64]:
    """Return the indices of bars to be left out; `values` has the closes in its fourth column.

    The last bar is never one, because no other bar tells. None is if `sigmas` is 0.
    """
    closes = np.log(values[:, 3])
    returns = np.diff(closes, prepend=closes[:1])
    if not sigmas:
        return np.array([], dtype=np.int64)
    bad: list[int] = []
    for at in np.flatnonzero(np.abs(returns) > LEAST_RETURN).tolist():
        # After a bad print the return is measured from the bar before it.
        before = at - 2 if bad and bad[-1] == at - 1 else at - 1
        if at + 1 >= len(closes) or before < 0:
            continue
        gap = int(minutes[at] - minutes[before])
        limit = sigmas * np.sqrt(_variance(returns, before, bad) * gap)
        move = abs(closes[at] - closes[before])
        back = abs(closes[at + 1] - closes[before])
        if move > max(LEAST_RETURN, limit) and back < abs(closes[at + 1] - closes[at]):
            bad.append(at)
    return np.array(bad, dtype=np.int64)


def _variance(returns: NDArray[np.float64], last: int, bad: list[int]) -> float:
    """Return the variance of a minute that the bars up to the last one make plausible."""
    known = returns[max(0, last + 1 - DAY) : last + 1] ** 2
    first = last + 1 - len(known)
    # There and back again: both returns are those of the bad print.
    for index in bad:
        for moved in (index, index + 1):
            if first <= moved <= last:
                known[moved - first] = 0.0
    prior = PRIOR_VARIANCE if last < PRIOR_BARS else 0.0
    return float(max(known.mean(), known[-LAST:].mean(), prior))
