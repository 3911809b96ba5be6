"""Outcomes of forecasts that were kept, derived at once from the minutes that followed them.

The same outcomes as `scores.mature` finds minute by minute, as arrays. Pure: no I/O and no clock.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES
from volsvc.scoring.scores import ISSUE_EVERY

Array = NDArray[np.float64]

# Minutes that must follow a forecast for its outcome to be known: the longest horizon, and a
# silence at its end, which is none of a gap only if a minute with trades ends it.
FOLLOWING: Final = 2 * HORIZON_MINUTES[-1]
_MINUTES: Final = np.array(HORIZON_MINUTES)
_ISSUE_EVERY: Final = np.array([ISSUE_EVERY[horizon] for horizon in HORIZON_MINUTES])


class TradedMinutes(NamedTuple):
    """Minutes with trades of one symbol, which rise; arrays of shape (n,).

    `minutes` count from the epoch. `variances` are realised. Ticks are missing before those with
    `gaps`; of those with `partial` only a part was observed.
    """

    minutes: NDArray[np.int64]
    variances: Array
    gaps: NDArray[np.bool_]
    partial: NDArray[np.bool_]

    def observed(self) -> ObservedMinutes:
        """Return the minutes that were observed in full."""
        whole = ~self.partial
        minutes = self.minutes[whole]
        # A symbol whose first minute is partial has begun anew there.
        begun = np.cumsum(self.partial)[whole]
        silence = np.diff(minutes, prepend=minutes[:1])
        breaks = self.gaps[whole] | (silence > HORIZON_MINUTES[-1])
        breaks |= np.diff(begun, prepend=begun[:1] - 1) > 0
        starts = np.maximum.accumulate(np.where(breaks, np.arange(len(minutes)), 0))
        return ObservedMinutes(minutes, self.variances[whole], breaks, minutes[starts])


class ObservedMinutes(NamedTuple):
    """Minutes with trades that were observed in full; arrays of shape (n,).

    Between two of them the variance is 0, unless the later one has `breaks`: what is before it was
    not observed. `since` is the minute of the last break.
    """

    minutes: NDArray[np.int64]
    variances: Array
    breaks: NDArray[np.bool_]
    since: NDArray[np.int64]


def realised_after(
    issued: NDArray[np.int64], observed: ObservedMinutes, floor_per_minute: float
) -> Array:
    """Return the realised variance over each horizon after some minutes.

    Of shape (issued, horizons), at least `floor_per_minute` a minute; NaN where the horizon was not
    observed in full, or is not over.
    """
    minutes = observed.minutes
    first = np.searchsorted(minutes, issued + 1)[:, None]
    ends = issued[:, None] + _MINUTES
    # The first minute with trades from the end on: until it comes, a silence may become a gap.
    closing = np.searchsorted(minutes, ends)
    since = np.append(observed.since, np.iinfo(np.int64).max)[closing]
    last = np.searchsorted(minutes, ends, side="right")
    # Summed for each: differences of a running sum would have the errors of its past.
    bounds = np.stack(np.broadcast_arrays(first, last), axis=-1).ravel()
    sums = np.add.reduceat(np.append(observed.variances, 0.0), bounds)[::2].reshape(ends.shape)
    # Without a minute between its bounds, `reduceat` returns the one at the first.
    sums = np.where(first < last, sums, 0.0)
    floored = np.maximum(sums, floor_per_minute * _MINUTES)
    return np.where(since <= issued[:, None] + 1, floored, np.nan)


def are_due(minutes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which forecasts issued at the ends of minutes are scored, of shape (n, horizons)."""
    due: NDArray[np.bool_] = (minutes[:, None] + 1) % _ISSUE_EVERY == 0
    return due


def qlike(realised: Array, forecast: Array) -> Array:
    """Return RV/h - ln(RV/h) - 1, a loss robust to noise of the proxy (Patton 2011)."""
    ratio = realised / forecast
    return np.asarray(ratio - np.log(ratio) - 1)


def brier(scores: Array, spikes: NDArray[np.bool_]) -> Array:
    """Return the squared errors of the probabilities of a spike."""
    return np.asarray((scores - spikes) ** 2)
