"""How far realised volatility falls from what was forecast, learnt from each symbol's own past.

A model brings the pooled laws of its residuals ln RV - ln forecast; a symbol's own laws are kept as
the share of residuals in each of the pooled laws' bins, with exponential forgetting. So a new
symbol has the pooled laws, and an old one its own. There are two laws a horizon, of calm and of
storm, mixed by how near the forecast is to what counts as a spike: a minute after silence may hold
anything, a storm goes on as storms do. Everything moves with event time: a forecast is issued at
the end of each minute with trades, and settled when the minutes of its horizon are over.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import COVERAGE
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.realised import HORIZON_MINUTES, Settled

Array = NDArray[np.float64]

_TAIL_LEVELS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.065, 0.08)
_MIDDLE_LEVELS = tuple(level / 40 for level in range(4, 37))
# Probabilities at which a pooled law is given.
LEVELS: Final[Array] = np.array(
    (0.0, *_TAIL_LEVELS, *_MIDDLE_LEVELS, *(1 - level for level in reversed(_TAIL_LEVELS)), 1.0)
)
# Residuals, one a minute, that a symbol's own law rests on.
MEMORY: Final = 3000.0
# Residuals that the pooled law counts for at each horizon: more where windows overlap more.
PRIOR: Final = tuple(200.0 * math.sqrt(minutes) for minutes in HORIZON_MINUTES)
# How far the outermost bins reach beyond the quantiles at 0.5 and 99.5 %, in log variance.
TAIL: Final = 1.5


# How far below a spike, in log variance, a forecast begins to count as storm; at a spike it is.
STORM_FROM: Final = 2.0


def storm_weight(log_variance: Array, log_limit: Array) -> Array:
    """How much of storm is in forecasts, from 0 to 1, by how near they are to a spike."""
    return np.clip((log_variance - log_limit) / STORM_FROM + 1, 0.0, 1.0)


class ResidualLaw(NamedTuple):
    """A law of ln RV - ln forecast: probabilities `cumulated` at rising `quantiles`.

    Both have the shape (len(LEVELS),); between them it is linear.
    """

    quantiles: Array
    cumulated: Array

    def above(self, residual: Array | float) -> Array:
        """P(ln RV - ln forecast > residual), for each."""
        return np.asarray(1 - np.interp(residual, self.quantiles, self.cumulated))

    def bounds(self) -> tuple[float, float, float]:
        """The central interval of probability COVERAGE about the median: low, median, high."""
        low, median, high = np.interp(_BOUNDS, self.cumulated, self.quantiles).tolist()
        return low, median, high


_BOUNDS = ((1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2)


class LawReading(NamedTuple):
    """A ResidualLaw in plain numbers, mixed only where it is read; the same to the last bit."""

    calm: list[float]
    stormy: list[float]
    quantiles: list[float]
    storm: float

    def _cumulated(self, place: int) -> float:
        calm = self.calm[place]
        return calm + (self.stormy[place] - calm) * self.storm

    def above(self, residual: float) -> float:
        """See `ResidualLaw.above`."""
        xs = self.quantiles
        place = bisect_right(xs, residual) - 1
        if place < 0:
            return 1 - self._cumulated(0)
        if place >= len(xs) - 1:
            return 1 - self._cumulated(len(xs) - 1)
        low, high = self._cumulated(place), self._cumulated(place + 1)
        slope = (high - low) / (xs[place + 1] - xs[place])
        return 1 - (slope * (residual - xs[place]) + low)

    def bounds(self) -> tuple[float, float, float]:
        """See `ResidualLaw.bounds`."""
        low, median, high = map(self._quantile, _BOUNDS)
        return low, median, high

    def _quantile(self, level: float) -> float:
        ys, calm, stormy, storm = self.quantiles, self.calm, self.stormy, self.storm
        # bisect_right over `_cumulated`, whose calls would take twice the time.
        place, end = 0, len(ys)
        while place < end:
            middle = (place + end) // 2
            if level < calm[middle] + (stormy[middle] - calm[middle]) * storm:
                end = middle
            else:
                place = middle + 1
        place -= 1
        if place < 0 or place >= len(ys) - 1:
            return ys[max(place, 0)]
        x = self._cumulated(place)
        slope = (ys[place + 1] - ys[place]) / (self._cumulated(place + 1) - x)
        return slope * (level - x) + ys[place]


class ResidualLaws:
    """The laws of calm and of storm at one horizon, on the same quantiles."""

    __slots__ = ("_plain_quantiles", "cumulated", "quantiles")

    def __init__(self, quantiles: Array, cumulated: Array) -> None:
        """`quantiles` of shape (len(LEVELS),), `cumulated` of shape (2, len(LEVELS)).

        Raises ValueError when either does not rise.
        """
        if quantiles.shape != LEVELS.shape or not (np.diff(quantiles) > 0).all():
            raise ValueError(f"a residual law needs {len(LEVELS)} rising quantiles")
        if cumulated.shape != (2, len(LEVELS)) or not (np.diff(cumulated, axis=1) >= 0).all():
            raise ValueError("probabilities of a residual law must rise")
        self.quantiles = quantiles
        self.cumulated = cumulated
        self._plain_quantiles = quantiles.tolist()

    def with_cumulated(self, cumulated: Array) -> ResidualLaws:
        """Other laws on these quantiles, which they share: there are some for each symbol."""
        laws = copy(self)
        laws.cumulated = cumulated
        return laws

    @classmethod
    def of_residuals(cls, residuals: Array, storm: Array) -> ResidualLaws:
        """The empirical laws of residuals with their storm weights, both of shape (n,)."""
        inner = np.quantile(residuals, LEVELS[1:-1])
        edges = np.concatenate(([inner[0] - TAIL], inner, [inner[-1] + TAIL]))
        # Ties (many windows at the floor) would leave bins of no width.
        quantiles = np.maximum.accumulate(edges) + np.arange(len(edges)) * 1e-9
        at = np.clip(np.searchsorted(quantiles, residuals) - 1, 0, len(LEVELS) - 2)
        masses = [
            # As much as a tenth of the pooled law keeps a rare state from an empty one.
            np.bincount(at, weight, len(LEVELS) - 1) / max(weight.sum(), 1e-9) + 0.1 * _POOLED
            for weight in (1 - storm, storm)
        ]
        cumulated = [np.concatenate(([0.0], np.cumsum(mass))) for mass in masses]
        return cls(quantiles, np.array([total / total[-1] for total in cumulated]))

    def mixed(self, storm: float) -> ResidualLaw:
        """The law at a storm weight."""
        calm, stormy = self.cumulated
        return ResidualLaw(self.quantiles, calm + (stormy - calm) * storm)

    def reading(self, storm: float) -> LawReading:
        """The law at a storm weight, to be read in a few places: cheaper than `mixed`."""
        calm, stormy = self.cumulated.tolist()
        return LawReading(calm, stormy, self._plain_quantiles, storm)

    def bin(self, residual: float) -> int:
        """The bin of a residual, from 0 to len(LEVELS) - 2."""
        at = int(np.searchsorted(self.quantiles, residual)) - 1
        return min(max(at, 0), len(LEVELS) - 2)


_POOLED: Final[Array] = np.diff(LEVELS)


class Calibration:
    """The residuals of one symbol under one model, at HORIZON_MINUTES."""

    __slots__ = ("_counts", "_dumped", "_issued", "_laws", "_own", "_shares", "_storms", "digest")

    def __init__(self, digest: str, laws: Sequence[ResidualLaws]) -> None:
        """`digest` names the model, `laws` are its pooled laws, one a horizon."""
        self.digest = digest
        self._laws = tuple(laws)
        self._issued = [[math.nan] * ahead for ahead in HORIZON_MINUTES]
        self._storms = [[0.0] * ahead for ahead in HORIZON_MINUTES]
        self._shares = [np.diff(law.cumulated, axis=1) for law in laws]
        self._counts = [[0.0, 0.0] for _ in HORIZON_MINUTES]
        self._own: list[ResidualLaws | None] = [None] * len(HORIZON_MINUTES)
        self._dumped: Mapping[str, Any] | None = None

    def settle(self, settled: Settled) -> None:
        """Judge what was issued one horizon before the end of a minute."""
        self._dumped = None
        for index, ahead in enumerate(HORIZON_MINUTES):
            slot = settled.minute % ahead
            residual = settled.log_realised[index] - self._issued[index][slot]
            self._issued[index][slot] = math.nan
            if not math.isnan(residual):
                self._learn(index, residual, self._storms[index][slot])

    def _learn(self, index: int, residual: float, storm: float) -> None:
        shares, counts = self._shares[index], self._counts[index]
        at = self._laws[index].bin(residual)
        for state, weight in enumerate((1 - storm, storm)):
            if weight:
                # A plain mean with the pooled law until MEMORY is full, then forgetting.
                counts[state] += weight
                step = weight / min(PRIOR[index] + counts[state], MEMORY)
                shares[state] *= 1 - step
                shares[state, at] += step
        self._own[index] = None

    def issue(self, minute: int, log_variances: Sequence[float], storms: Sequence[float]) -> None:
        """The forecasts made at the end of a minute with their storm weights, one a horizon.

        The minute has been settled before.
        """
        self._dumped = None
        for index, ahead in enumerate(HORIZON_MINUTES):
            self._issued[index][minute % ahead] = log_variances[index]
            self._storms[index][minute % ahead] = storms[index]

    def laws(self, index: int) -> ResidualLaws:
        """The symbol's laws at a horizon of HORIZON_MINUTES."""
        laws = self._own[index]
        if laws is None:
            total = np.zeros((2, len(LEVELS)))
            np.cumsum(self._shares[index], axis=1, out=total[:, 1:])
            laws = self._laws[index].with_cumulated(total / total[:, -1:])
            self._own[index] = laws
        return laws

    @property
    def own(self) -> bool:
        """Whether the symbol's own past outweighs the pooled law, at every horizon."""
        return all(sum(c) >= prior for c, prior in zip(self._counts, PRIOR, strict=True))

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss."""
        if self._dumped is None:
            self._dumped = self._pack()
        return self._dumped

    def _pack(self) -> Mapping[str, Any]:
        return {
            "digest": self.digest,
            "issued": [pack(issued) for issued in self._issued],
            "storms": [pack(storms) for storms in self._storms],
            "shares": [pack(shares.ravel()) for shares in self._shares],
            "counts": [list(counts) for counts in self._counts],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave of the same model; of another one it is of no use."""
        if state["digest"] == self.digest:
            self._issued = [unpack(issued).tolist() for issued in state["issued"]]
            self._storms = [unpack(storms).tolist() for storms in state["storms"]]
            self._shares = [unpack(shares).reshape(2, -1) for shares in state["shares"]]
            self._counts = [list(counts) for counts in state["counts"]]
            self._own = [None] * len(HORIZON_MINUTES)
