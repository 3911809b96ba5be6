"""Forecasts of live symbols: one vectorised call of the model, then each symbol's calibration.

The daemon, batch scoring and training share this code: the forecasts of a symbol depend on its own
ticks and the model alone.
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
    turbulence_weight,
)
from volsvc.models.base import HORIZONS_S, SCALES_FROM, Array, Model, bracket, window_columns

# Minutes after which a symbol's own spike threshold outweighs the packaged one.
PRIOR_MINUTES: Final = 1440.0
_AGE_COLUMN: Final = SCALE_NAMES.index("age")
_RESOLUTION_COLUMN: Final = SCALE_NAMES.index("resolution")
_NO_WINDOW: Final = (math.nan,) * SCALES_FROM


class MinuteClose(NamedTuple):
    """The end of a symbol's minute, at which forecasts mature and new ones are issued.

    `log_thresholds` and `counts` are the trailing 90 % quantiles of ln RV, one per horizon, and the
    number of minutes behind each.
    """

    state: SymbolState
    scales: Array
    log_thresholds: tuple[float, ...]
    counts: tuple[int, ...]
    ended: MinuteEnd


class ForecastPoint(NamedTuple):
    """A point in event time at which a symbol is forecast, for publication or for a reader.

    Without `row` and `quality`, as from recorded bars, it has predictions but no snapshot.
    """

    state: SymbolState
    scales: Array
    log_thresholds: tuple[float, ...]
    counts: tuple[int, ...]
    row: FeatureRow | None = None
    quality: Quality | None = None


Point = MinuteClose | ForecastPoint


def forecast_point(state: SymbolState) -> ForecastPoint:
    """Return a symbol at its newest tick."""
    past = state.minutes.realised
    return ForecastPoint(
        state, state.scales(), past.log_thresholds, past.counts, state.row, state.quality()
    )


def minute_closes(state: SymbolState) -> list[MinuteClose]:
    """Return the ends of minutes that a symbol has passed since the last call, oldest first."""
    return [
        MinuteClose(state, end.scales, end.log_thresholds, end.counts, end)
        for end in state.minutes.take_ended()
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
    """The forecasts of one model at points, in the order of event time.

    Intervals and scores are computed when they are read, from the calibration at that time: before
    a point is read, every MinuteClose of its symbol that precedes it has to be learnt from.
    """

    def __init__(self, model: Model, points: Sequence[Point], horizons_s: Sequence[float]) -> None:
        """Call the model once for all of `points`; `horizons_s` rise and contain HORIZONS_S."""
        self._model = model
        self._points = points
        self._horizons = tuple(horizons_s)
        self._head_columns = [self._horizons.index(horizon) for horizon in HORIZONS_S]
        matrix = matrix_of(points)
        variances = model.variances(matrix, self._horizons)
        logs = np.log(variances)
        limits = _log_limits(model, matrix, points, self._horizons)
        age, resolution = (
            matrix[:, SCALES_FROM + column] for column in (_AGE_COLUMN, _RESOLUTION_COLUMN)
        )
        widenings = _widenings(np.nan_to_num(age), np.nan_to_num(resolution), self._horizons)
        # Lists, since the numbers are read one by one, which is slow from arrays.
        self._sigmas = np.sqrt(variances).tolist()
        self._logs = logs.tolist()
        self._limits = limits.tolist()
        self._turbulence = turbulence_weight(logs, limits).tolist()
        self._widenings = widenings.tolist()

    def learn(self, index: int) -> None:
        """Settle the forecasts that matured at the end of a minute, and record those made then."""
        point = self._points[index]
        assert isinstance(point, MinuteClose), "only the end of a minute is learnt from"
        calibration = self._calibration(point)
        for realised in point.ended.realised:
            calibration.add_realised(realised)
        logs, turbulence = self._logs[index], self._turbulence[index]
        calibration.issue(
            point.ended.bar.minute,
            [logs[column] for column in self._head_columns],
            [turbulence[column] for column in self._head_columns],
        )

    def _calibration(self, point: Point) -> Calibration:
        model = self._model
        return point.state.calibrations.get(model.variant, model.digest, model.laws)

    def predictions(self, index: int) -> tuple[Prediction, ...]:
        """Return the forecasts at a point, one a horizon."""
        calibration = self._calibration(self._points[index])
        columns = range(len(self._horizons))
        return tuple(self._prediction(index, column, calibration) for column in columns)

    def snapshot(self, index: int, score_horizon_s: float) -> Snapshot:
        """Return the snapshot of a symbol at a ForecastPoint."""
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
            prediction_id=point.state.scores.newest_prediction_id(self._model.variant),
        )

    def issue(self, index: int) -> None:
        """Issue the forecasts at the end of a minute, to be scored when they mature."""
        point, model = self._points[index], self._model
        assert isinstance(point, MinuteClose), "forecasts are issued at the ends of minutes"
        minute, calibration = point.ended.bar.minute, self._calibration(point)
        issued = []
        for horizon in point.state.scores.horizons_due(minute):
            forecast = self._prediction(index, self._head_columns[horizon], calibration)
            numbers = (
                *(forecast.sigma, forecast.lo, forecast.hi),
                *(forecast.threshold, forecast.score),
            )
            ahead = HORIZON_MINUTES[horizon]
            issued.append(IssuedForecast(model.variant, model.version, minute, ahead, *numbers))
        point.state.scores.issue(model.variant, model.digest, model.version, issued)

    def _prediction(self, index: int, column: int, calibration: Calibration) -> Prediction:
        """Return the forecast of a point at a horizon, with its interval and score.

        The level of a symbol is uncertain while little of it was seen, so the distribution is
        widened about its median.
        """
        horizon = self._horizons[column]
        log_variance, limit = self._logs[index][column], self._limits[index][column]
        widening = self._widenings[index][column]
        law = calibration.laws(_nearest(horizon)).reading(self._turbulence[index][column])
        low, middle, high = law.bounds()
        # The probability of the widened distribution, read off the one that is not.
        residual = middle + (limit - log_variance - middle) / widening
        return Prediction(
            horizon_s=horizon,
            sigma=self._sigmas[index][column],
            lo=math.exp((log_variance + middle + (low - middle) * widening) / 2),
            hi=math.exp((log_variance + middle + (high - middle) * widening) / 2),
            threshold=math.exp(limit / 2),
            score=law.above(residual),
        )


def _log_limits(
    model: Model, matrix: Array, points: Sequence[Point], horizons_s: Sequence[float]
) -> Array:
    """Return ln of the spike threshold on realised variance, of shape (points, horizons).

    It is the symbol's own trailing quantile, shrunk to the packaged one while its past is short.
    Between HORIZONS_S its ln per second is linear in ln horizon.
    """
    prior = np.column_stack([model.log_threshold(matrix, horizon) for horizon in HORIZONS_S])
    # Without points the arrays would have no second dimension.
    counts = np.array([point.counts for point in points]).reshape(prior.shape)
    trailing = np.array([point.log_thresholds for point in points]).reshape(prior.shape)
    share = counts / (counts + PRIOR_MINUTES)
    # Without a past the symbol's quantile is NaN, which a weight of 0 does not remove.
    limits = np.where(counts == 0, prior, (1 - share) * prior + share * trailing)
    rates = limits - np.log(HORIZONS_S)
    columns = []
    for horizon in horizons_s:
        low, high, weight = bracket(horizon)
        rate = (1 - weight) * rates[:, low] + weight * rates[:, high]
        columns.append(rate + math.log(horizon))
    return np.column_stack(columns)


def _widenings(age: Array, resolution: Array, horizons_s: Sequence[float]) -> Array:
    """Return the factors by which intervals of young symbols are widened: (rows, horizons).

    They are 1 + 1/sqrt(1 + m/10) for m minutes seen (docs/feature_spec.md). A minute of ticks
    counts as several of bars at short horizons, but hardly more than one at an hour.
    """
    more = np.maximum(resolution - 1, 0.0)[:, None]
    minutes = np.expm1(age)[:, None] * (1 + more * np.minimum(60 / np.array(horizons_s), 1.0))
    return np.asarray(1 + 1 / np.sqrt(1 + minutes / 10))


@lru_cache(64)
def _nearest(horizon_s: float) -> int:
    """Return the index of the fitted horizon that is nearest in ratio; its residuals are used."""
    return min(
        range(len(HORIZON_MINUTES)),
        key=lambda index: abs(math.log(HORIZONS_S[index] / horizon_s)),
    )


def named_scales(scales: Array) -> Mapping[str, float | None]:
    """Return the multi-scale features by name; None where not known yet."""
    values = scales.tolist()
    # Either all are known or none: an engine without a minute has no level.
    if math.isnan(values[0]):
        return dict.fromkeys(SCALE_NAMES)
    return dict(zip(SCALE_NAMES, values, strict=True))
