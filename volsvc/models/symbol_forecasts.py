"""Forecasts of live symbols: one vectorised call of the model, then each symbol's own calibration.

The same code in the daemon, in batch scoring and in training: what is said of a symbol depends on
its own ticks and the model alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from volsvc.domain import FeatureRow, IssuedForecast, Prediction, Quality, Snapshot
from volsvc.features import (
    HORIZON_MINUTES,
    SCALE_NAMES,
    Calibration,
    MinuteEnd,
    SymbolState,
    storm_weight,
)
from volsvc.models.base import HORIZONS_S, SCALES_FROM, Array, Model, bracket, window_columns

# Minutes after which a symbol's own usual variance outweighs the packaged one.
PRIOR_MINUTES: Final = 1440.0
_AGE_AT: Final = SCALE_NAMES.index("age")
_RESOLUTION_AT: Final = SCALE_NAMES.index("resolution")
_NO_WINDOW: Final = (math.nan,) * SCALES_FROM


class MinuteClose(NamedTuple):
    """The end of a symbol's minute: matured forecasts are learnt from there, new ones issued.

    `log_usual` and `counts` are the trailing quantiles of ln RV, one per horizon, and the number of
    minutes behind each.
    """

    state: SymbolState
    scales: Array
    log_usual: tuple[float, ...]
    counts: tuple[int, ...]
    ended: MinuteEnd


class ForecastPoint(NamedTuple):
    """A point in event time at which a symbol is forecast, for publication or for a reader.

    Without `row` and `quality`, as between recorded bars, it has predictions but no snapshot.
    """

    state: SymbolState
    scales: Array
    log_usual: tuple[float, ...]
    counts: tuple[int, ...]
    row: FeatureRow | None = None
    quality: Quality | None = None


Point = MinuteClose | ForecastPoint


def forecast_point(state: SymbolState) -> ForecastPoint:
    """Return a symbol at its newest tick."""
    usual = state.realised
    return ForecastPoint(
        state, state.scales(), usual.log_usual, usual.counts, state.row, state.quality()
    )


def minute_closes(state: SymbolState) -> list[MinuteClose]:
    """Return the ends of minutes that a symbol has passed since the last call, oldest first."""
    return [
        MinuteClose(state, end.scales, end.log_usual, end.counts, end) for end in state.take_ended()
    ]


def matrix_of(points: Sequence[Point]) -> Array:
    """Return the feature matrix of points, of shape (points, len(FEATURES))."""
    matrix = np.empty((len(points), SCALES_FROM + len(SCALE_NAMES)))
    for index, point in enumerate(points):
        row = point.row if isinstance(point, ForecastPoint) else None
        matrix[index, :SCALES_FROM] = window_columns(row) if row else _NO_WINDOW
        matrix[index, SCALES_FROM:] = point.scales
    return matrix


class SymbolForecasts:
    """What a model says of moments, in the order in which they happened."""

    def __init__(self, model: Model, points: Sequence[Point], horizons_s: Sequence[float]) -> None:
        """One call of the model for all of `moments`; `horizons_s` rise and hold HORIZONS_S."""
        self._model = model
        self._points = points
        self._horizons = tuple(horizons_s)
        self._heads = [self._horizons.index(horizon) for horizon in HORIZONS_S]
        matrix = matrix_of(points)
        variances = model.variances(matrix, self._horizons)
        logs = np.log(variances)
        limits = _log_limits(model, matrix, points, self._horizons)
        age, resolution = (matrix[:, SCALES_FROM + at] for at in (_AGE_AT, _RESOLUTION_AT))
        widenings = _widenings(np.nan_to_num(age), np.nan_to_num(resolution), self._horizons)
        # As lists: what follows goes through them one by one.
        self._sigmas = np.sqrt(variances).tolist()
        self._logs = logs.tolist()
        self._limits = limits.tolist()
        self._storms = storm_weight(logs, limits).tolist()
        self._widenings = widenings.tolist()

    def learn(self, index: int) -> None:
        """Settle what the end of a minute has settled, and issue the forecasts made then."""
        point = self._points[index]
        assert isinstance(point, MinuteClose), "only the end of a minute is learnt from"
        calibration = self._calibration(point)
        for settled in point.ended.settled:
            calibration.settle(settled)
        logs, storms = self._logs[index], self._storms[index]
        calibration.issue(
            point.ended.bar.minute,
            [logs[at] for at in self._heads],
            [storms[at] for at in self._heads],
        )

    def _calibration(self, point: Point) -> Calibration:
        model = self._model
        return point.state.calibration(model.variant, model.digest, model.laws)

    def predictions(self, index: int) -> tuple[Prediction, ...]:
        """The forecasts at a moment, one a horizon; earlier moments have been learnt from."""
        calibration = self._calibration(self._points[index])
        return tuple(self._prediction(index, at, calibration) for at in range(len(self._horizons)))

    def snapshot(self, index: int, score_horizon_s: float) -> Snapshot:
        """What is said at a moment; earlier ones of its symbol have been learnt from."""
        point = self._points[index]
        assert isinstance(point, ForecastPoint), "a snapshot is taken at a forecast point"
        assert point.row is not None, "a snapshot needs the feature row"
        assert point.quality is not None, "a snapshot needs the quality of the feed"
        calibration = self._calibration(point)
        predictions = self.predictions(index)
        return Snapshot(
            row=point.row,
            score=predictions[self._horizons.index(score_horizon_s)].score,
            variant=self._model.variant,
            version=self._model.version,
            predictions=predictions,
            quality=replace(point.quality, calibration="own" if calibration.own else "pooled"),
            features=named_scales(point.scales),
            prediction_id=point.state.scores.id_of(self._model.variant),
        )

    def issue(self, index: int) -> None:
        """Freeze what is said at the end of a minute, to be judged; it has been learnt from."""
        point, model = self._points[index], self._model
        assert isinstance(point, MinuteClose), "forecasts are issued at the ends of minutes"
        minute, calibration = point.ended.bar.minute, self._calibration(point)
        issued = []
        for at in point.state.scores.due(minute):
            said = self._prediction(index, self._heads[at], calibration)
            numbers = said.sigma, said.lo, said.hi, said.threshold, said.score
            ahead = HORIZON_MINUTES[at]
            issued.append(IssuedForecast(model.variant, model.version, minute, ahead, *numbers))
        point.state.scores.issue(model.variant, model.digest, model.version, issued)

    def _prediction(self, index: int, at: int, calibration: Calibration) -> Prediction:
        """A forecast with its interval and score.

        While little of a symbol has been seen its level is uncertain too, so the law is wider about
        its median.
        """
        horizon = self._horizons[at]
        centre, limit = self._logs[index][at], self._limits[index][at]
        widening = self._widenings[index][at]
        law = calibration.laws(_nearest(horizon)).reading(self._storms[index][at])
        low, middle, high = law.bounds()
        residual = middle + (limit - centre - middle) / widening
        return Prediction(
            horizon_s=horizon,
            sigma=self._sigmas[index][at],
            lo=math.exp((centre + middle + (low - middle) * widening) / 2),
            hi=math.exp((centre + middle + (high - middle) * widening) / 2),
            threshold=math.exp(limit / 2),
            score=law.above(residual),
        )


def _log_limits(
    model: Model, matrix: Array, points: Sequence[Point], horizons_s: Sequence[float]
) -> Array:
    """Logarithms of the realised variance that is a spike, of shape (moments, horizons).

    The symbol's own trailing quantile, shrunk to the packaged one while it is short; per second
    linear in ln horizon between HORIZONS_S.
    """
    prior = np.column_stack([model.log_threshold(matrix, horizon) for horizon in HORIZONS_S])
    counts = np.array([point.counts for point in points], dtype=np.float64)
    own = np.array([point.log_usual for point in points])
    share = counts / (counts + PRIOR_MINUTES)
    rates = np.where(counts == 0, prior, (1 - share) * prior + share * own) - np.log(HORIZONS_S)
    columns = []
    for horizon in horizons_s:
        low, high, weight = bracket(horizon)
        rate = (1 - weight) * rates[:, low] + weight * rates[:, high]
        columns.append(rate + math.log(horizon))
    return np.column_stack(columns)


def _widenings(age: Array, resolution: Array, horizons_s: Sequence[float]) -> Array:
    """How much wider than its law an interval is, by how little was seen: (rows, horizons).

    From ticks a minute says as much of the level of the minutes that follow as several from bars
    do, but hardly more of the level of the hour.
    """
    more = np.maximum(resolution - 1, 0.0)[:, None]
    minutes = np.expm1(age)[:, None] * (1 + more * np.minimum(60 / np.array(horizons_s), 1.0))
    return np.asarray(1 + 1 / np.sqrt(1 + minutes / 10))


@lru_cache(64)
def _nearest(horizon_s: float) -> int:
    """The fitted horizon whose residuals speak for a horizon: the nearest in ratio."""
    return min(
        range(len(HORIZON_MINUTES)), key=lambda at: abs(math.log(HORIZONS_S[at] / horizon_s))
    )


def named_scales(scales: Array) -> Mapping[str, float | None]:
    """The multi-scale features by name; None where not known yet."""
    values = scales.tolist()
    if math.isnan(values[0]):
        return dict.fromkeys(SCALE_NAMES)
    return dict(zip(SCALE_NAMES, values, strict=True))
