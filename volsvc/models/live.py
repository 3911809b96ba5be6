"""Forecasts of live symbols: one vectorised call of the model, then each symbol's own calibration.

The same code in the daemon, in batch scoring and in training: what is said of a symbol depends on
its own ticks and the model alone.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from volsvc.domain import FeatureRow, Prediction, Quality, Snapshot
from volsvc.features import (
    HORIZON_MINUTES,
    SCALE_NAMES,
    MinuteEnd,
    ResidualLaws,
    SymbolState,
    storm_weight,
)
from volsvc.models.base import HORIZONS_S, SCALES_FROM, Array, Model, window_columns

PRIOR_MINUTES: Final = 1440.0
"""Minutes after which a symbol's own usual variance outweighs the packaged one."""
_AGE_AT: Final = SCALE_NAMES.index("age")
_NO_WINDOW: Final = (math.nan,) * SCALES_FROM


class Moment(NamedTuple):
    """A row to forecast from; without `ended` it is to be told, with it only to be learnt from."""

    state: SymbolState
    scales: Array
    row: FeatureRow | None = None
    quality: Quality | None = None
    log_usual: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    ended: MinuteEnd | None = None


def moment_now(state: SymbolState) -> Moment:
    """A symbol at its newest tick."""
    usual = state.outcomes
    return Moment(state, state.scales(), state.row, state.quality(), usual.log_usual, usual.counts)


def moments_ended(state: SymbolState) -> list[Moment]:
    """The ends of minutes that a symbol has passed since the last call."""
    return [
        Moment(state, end.scales, log_usual=end.log_usual, counts=end.counts, ended=end)
        for end in state.take_ended()
    ]


def matrix_of(moments: Sequence[Moment]) -> Array:
    """The feature matrix of moments, of shape (moments, len(FEATURES))."""
    matrix = np.empty((len(moments), SCALES_FROM + len(SCALE_NAMES)))
    for index, moment in enumerate(moments):
        matrix[index, :SCALES_FROM] = window_columns(moment.row) if moment.row else _NO_WINDOW
        matrix[index, SCALES_FROM:] = moment.scales
    return matrix


class LiveForecasts:
    """What a model says of moments, in the order in which they happened."""

    def __init__(
        self, model: Model, moments: Sequence[Moment], horizons_s: Sequence[float]
    ) -> None:
        """One call of the model for all of `moments`; `horizons_s` rise and hold HORIZONS_S."""
        self._model = model
        self._moments = moments
        self._horizons = tuple(horizons_s)
        matrix = matrix_of(moments)
        self._variances = model.variances(matrix, self._horizons)
        self._log_limits = np.column_stack(
            [model.log_threshold(matrix, horizon) for horizon in HORIZONS_S]
        )
        self._heads = [self._horizons.index(horizon) for horizon in HORIZONS_S]

    def learn(self, index: int) -> None:
        """Settle what the end of a minute has settled, and issue the forecasts made then."""
        moment = self._moments[index]
        assert moment.ended is not None, "only the end of a minute is learnt from"
        calibration = moment.state.calibration(self._model.digest, self._model.laws)
        for settled in moment.ended.settled:
            calibration.settle(settled)
        issued = np.log(self._variances[index, self._heads])
        # Its own idea of a spike, which the state had at that time.
        storms = storm_weight(issued, np.array(self._log_limits_of(index)))
        calibration.issue(moment.ended.bar.minute, issued.tolist(), storms.tolist())

    def snapshot(self, index: int, score_horizon_s: float) -> Snapshot:
        """What is said at a moment; earlier ones of its symbol have been learnt from."""
        moment = self._moments[index]
        assert moment.row is not None, "a moment that is told has a row"
        assert moment.quality is not None, "a moment that is told has its quality"
        calibration = moment.state.calibration(self._model.digest, self._model.laws)
        limits = [
            limit - math.log(horizon)
            for limit, horizon in zip(self._log_limits_of(index), HORIZONS_S, strict=True)
        ]
        age = float(moment.scales[_AGE_AT])
        watched = 0.0 if math.isnan(age) else math.expm1(age)
        predictions = tuple(
            _prediction(
                horizon,
                variance,
                _between(horizon, limits) + math.log(horizon),
                calibration.laws(_nearest(horizon)),
                1 + 1 / math.sqrt(1 + watched / 10),
            )
            for horizon, variance in zip(
                self._horizons, self._variances[index].tolist(), strict=True
            )
        )
        return Snapshot(
            row=moment.row,
            score=predictions[self._horizons.index(score_horizon_s)].score,
            variant=self._model.variant,
            version=self._model.version,
            predictions=predictions,
            quality=replace(moment.quality, calibration="own" if calibration.own else "pooled"),
            features=named_scales(moment.scales),
        )

    def _log_limits_of(self, index: int) -> list[float]:
        """Logarithms of the realised variance that is a spike, at HORIZONS_S.

        The symbol's own trailing quantile, shrunk to the packaged one while it is short.
        """
        limits = []
        moment = self._moments[index]
        prior = self._log_limits[index].tolist()
        for at, (own, count) in enumerate(zip(moment.log_usual, moment.counts, strict=True)):
            share = count / (count + PRIOR_MINUTES)
            limits.append(prior[at] if count == 0 else (1 - share) * prior[at] + share * own)
        return limits


def _prediction(
    horizon_s: float, variance: float, log_limit: float, laws: ResidualLaws, widening: float
) -> Prediction:
    """A forecast with its interval and score.

    While little of a symbol has been seen its level is uncertain too, so the law is wider about its
    median.
    """
    centre = math.log(variance)
    law = laws.mixed(float(storm_weight(np.array(centre), np.array(log_limit))))
    low, middle, high = law.bounds()
    residual = middle + (log_limit - centre - middle) / widening
    return Prediction(
        horizon_s=horizon_s,
        sigma=math.sqrt(variance),
        lo=math.exp((centre + middle + (low - middle) * widening) / 2),
        hi=math.exp((centre + middle + (high - middle) * widening) / 2),
        threshold=math.exp(log_limit / 2),
        score=float(law.above(residual)),
    )


@lru_cache(64)
def _nearest(horizon_s: float) -> int:
    """The fitted horizon whose residuals speak for a horizon: the nearest in ratio."""
    return min(
        range(len(HORIZON_MINUTES)), key=lambda at: abs(math.log(HORIZONS_S[at] / horizon_s))
    )


def _between(horizon_s: float, values: Sequence[float]) -> float:
    """A value at a horizon, linear in ln horizon between HORIZONS_S."""
    at = bisect.bisect_left(HORIZONS_S, horizon_s)
    if at == 0 or at == len(HORIZONS_S):
        return values[min(at, len(values) - 1)]
    low, high = HORIZONS_S[at - 1], HORIZONS_S[at]
    weight = math.log(horizon_s / low) / math.log(high / low)
    return (1 - weight) * values[at - 1] + weight * values[at]


def named_scales(scales: Array) -> Mapping[str, float | None]:
    """The multi-scale features by name; None where not known yet."""
    values = scales.tolist()
    if math.isnan(values[0]):
        return dict.fromkeys(SCALE_NAMES)
    return dict(zip(SCALE_NAMES, values, strict=True))
