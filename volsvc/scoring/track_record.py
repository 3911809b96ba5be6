"""Losses by day and reliability of past forecasts, beside an EWMA that is chosen in hindsight.

Pure: no I/O and no clock. Sums of several symbols add up.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES
from volsvc.scoring.past_outcomes import (
    Array,
    ObservedMinutes,
    TradedMinutes,
    are_due,
    brier,
    qlike,
    realised_after,
)
from volsvc.scoring.scores import DAY_MINUTES, FITTED, NUMBERS, REFERENCE

# Minutes. The best of them at a horizon, over all days, is what the models are compared with.
HALF_LIVES: Final = (5, 15, 60, 240, 1440)
# The models whose losses are compared: both variants, and an EWMA of each half-life.
MODELS: Final = (FITTED, REFERENCE, *(f"ewma_{minutes}" for minutes in HALF_LIVES))
# Bins of equal width of the probability of a spike.
BINS: Final = 10
_SIGMA, _LO, _HI, _THRESHOLD, _SCORE = (NUMBERS.index(name) for name in NUMBERS)


class Issued(NamedTuple):
    """Forecasts at the ends of minutes of one symbol.

    `served` are scores.NUMBERS of the model that served, of shape (minutes, horizons, NUMBERS).
    `sigmas` are those of both variants, of shape (2, minutes, horizons), NaN without a forecast.
    """

    minutes: TradedMinutes
    served: Array
    sigmas: Array


class TrackRecord:
    """Sums over forecasts that matured on some days, of any number of symbols."""

    def __init__(self, first_day: int, days: int) -> None:
        """Days count from the epoch, UTC."""
        self.first_day = first_day
        shape = (len(HORIZON_MINUTES), days)
        # By horizon, day and model: the number of forecasts, and their QLIKE.
        self.compared = np.zeros((*shape, len(MODELS)))
        self.qlike = np.zeros((*shape, len(MODELS)))
        # By horizon and day, of what was served: their number, covered outcomes and Brier scores.
        self.served = np.zeros((*shape, 3))
        # By horizon and bin: the number of forecasts, the sum of their scores, and the spikes.
        self.reliability = np.zeros((len(HORIZON_MINUTES), BINS, 3))

    def add(self, issued: Issued, floor_per_minute: float) -> None:
        """Add the forecasts of a symbol.

        Models are compared on the forecasts that each variant has made which forecast at all.
        """
        minutes = issued.minutes.minutes
        observed = issued.minutes.observed()
        realised = realised_after(minutes, observed, floor_per_minute)
        due = are_due(minutes) & ~np.isnan(realised)
        ewmas = np.array([ewma_after(minutes, observed, half_life) for half_life in HALF_LIVES])
        present = [sigmas for sigmas in issued.sigmas if not np.isnan(sigmas).all()]
        for index, horizon in enumerate(HORIZON_MINUTES):
            days = (minutes + horizon) // DAY_MINUTES - self.first_day
            scored = due[:, index] & (days >= 0) & (days < self.qlike.shape[1])
            self._add_served(index, days, scored, issued.served[:, index], realised[:, index])
            for sigmas in present:
                scored = scored & ~np.isnan(sigmas[:, index])
            scored &= ~np.isnan(ewmas[0])
            flat = np.maximum(ewmas, floor_per_minute) * horizon
            variances = np.concatenate([issued.sigmas[:, :, index] ** 2, flat])[:, scored]
            losses = qlike(realised[scored, index], variances)
            known = ~np.isnan(losses)
            for place in range(len(MODELS)):
                self._sum(self.compared[index, :, place], days[scored], known[place])
                self._sum(self.qlike[index, :, place], days[scored], np.nan_to_num(losses[place]))

    def _add_served(
        self,
        index: int,
        days: NDArray[np.int64],
        scored: NDArray[np.bool_],
        numbers: Array,
        realised: Array,
    ) -> None:
        days, numbers, volatility = days[scored], numbers[scored], np.sqrt(realised[scored])
        spikes = volatility > numbers[:, _THRESHOLD]
        covered = (numbers[:, _LO] <= volatility) & (volatility <= numbers[:, _HI])
        scores = numbers[:, _SCORE]
        parts = (np.ones(len(days)), covered, brier(scores, spikes))
        for place, part in enumerate(parts):
            self._sum(self.served[index, :, place], days, part)
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        for place, part in enumerate((np.ones(len(days)), scores, spikes)):
            self._sum(self.reliability[index, :, place], bins, part)

    @staticmethod
    def _sum(sums: Array, places: NDArray[np.int64], values: NDArray[np.generic]) -> None:
        sums += np.bincount(places, values, len(sums))


def ewma_after(issued: NDArray[np.int64], observed: ObservedMinutes, half_life: float) -> Array:
    """Return the EWMA of the variances of minutes up to some minutes, of shape (issued,).

    Silent minutes count as 0, minutes that were not observed do not count; NaN before the first
    one. It is a weighted mean from the first minute on, with weights that add up to 1.
    """
    steps = np.where(observed.breaks, 1, np.diff(observed.minutes, prepend=observed.minutes[:1]))
    # The number of observed minutes up to each one with trades.
    counts = np.cumsum(steps)
    decay = 2.0 ** (-1 / half_life)
    sums = np.empty(len(counts))
    carried, reached, start = 0.0, 0, 0
    while start < len(counts):
        # In parts, since powers of the decay leave the range of doubles.
        end = int(np.searchsorted(counts, counts[start] + DAY_MINUTES))
        places = counts[start:end] - reached
        added = np.cumsum((1 - decay) * observed.variances[start:end] * decay**-places)
        sums[start:end] = (carried + added) * decay**places
        carried, reached, start = sums[end - 1], counts[end - 1], end
    means = np.append(sums / (1 - decay**counts), np.nan)
    # The last place, for what is before the first one, is -1.
    found: Array = means[np.searchsorted(observed.minutes, issued, side="right") - 1]
    return found
