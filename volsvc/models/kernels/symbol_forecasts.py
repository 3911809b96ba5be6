"""Forecasts of live symbols with interval and score, and what is learnt when a minute ends."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type
from volsvc.domain import HORIZON_MINUTES
from volsvc.features.kernels import calibration, realised
from volsvc.features.kernels import points as at_points
from volsvc.features.kernels.laws import (
    HIGH_LEVEL,
    LOW_LEVEL,
    above,
    quantile,
    turbulence_weight,
)
from volsvc.models.columns import FEATURES, HORIZONS_S
from volsvc.models.kernels.bounds import HORIZONS
from volsvc.models.kernels.cold import evidence_weight, shrunk, widened
from volsvc.models.kernels.forecasts import log_threshold
from volsvc.scoring import scores

FITTED_HORIZONS: Final = len(HORIZONS_S)
# Minutes after which a symbol's own spike threshold outweighs the packaged one.
PRIOR_MINUTES: Final = 1440.0
_LEVEL: Final = FEATURES.index("level")
_AGE: Final = FEATURES.index("age")
_RESOLUTION: Final = FEATURES.index("resolution")
NUMBERS: Final = len(scores.NUMBERS)
# Outcomes that one minute may have, the silent ones before it included: all that are pending.
MAX_OUTCOMES: Final = scores.MAX_PENDING * len(scores.VARIANTS)

# A model as the states of symbols know it: its place in scores.VARIANTS, and what a symbol starts
# with.
SYMBOL_MODEL = record_type(
    [
        ("variant", "i8"),
        ("version", "u1", (scores.VERSION_BYTES,)),
        ("laws", calibration.POOLED_LAWS),
        ("spike_log_ratios", "f8", (FITTED_HORIZONS,)),
    ]
)
# A horizon: the fitted ones around it and its place between them in ln horizon, and the nearest of
# them in ratio, whose residuals are used.
HORIZON = record_type(
    [("seconds", "f8"), ("low", "i8"), ("high", "i8"), ("weight", "f8"), ("nearest", "i8")]
)

# Of a forecast: whether the symbol's own residuals outweigh the pooled ones, and the minute at
# whose end the model issued its newest forecast to be scored, -1 before the first.
BASIS = record_type([("own", "i8"), ("issued", "i8")])


@kernel
def _rate_limit(level: float, past: Any, ratios: Any, index: int) -> float:
    """Return ln of the spike threshold per second, at an index of HORIZONS_S.

    It is the symbol's own trailing quantile, shrunk to the packaged one while its past is short.
    """
    limit = log_threshold(level, HORIZONS[index], ratios[index])
    count = past.quantiles[index].count
    if count > 0:
        share = count / (count + PRIOR_MINUTES)
        limit = (1 - share) * limit + share * past.log_thresholds[index]
    return limit - math.log(HORIZONS[index])


@kernel
def _log_limit(level: float, past: Any, ratios: Any, horizon: Any) -> float:
    """Return ln of the spike threshold at a horizon, linear in ln horizon between fitted ones."""
    low = _rate_limit(level, past, ratios, horizon.low)
    high = _rate_limit(level, past, ratios, horizon.high)
    return (1 - horizon.weight) * low + horizon.weight * high + math.log(horizon.seconds)


@kernel
def _widening(features: Any, seconds: float) -> float:
    """Return the factor by which the interval of a young symbol is widened.

    It is 1 + 1/sqrt(1 + m/10) for m minutes seen (docs/feature_spec.md). A minute of ticks counts
    as several of bars at short horizons, but hardly more than one at an hour.
    """
    age, resolution = features[_AGE], features[_RESOLUTION]
    if math.isnan(age):
        return 2.0
    minutes = math.expm1(age) * (1 + max(resolution - 1, 0.0) * min(60 / seconds, 1.0))
    return 1 + 1 / math.sqrt(1 + minutes / 10)


@kernel
def write_forecast(
    model: Any, learnt: Any, features: Any, variance: float, horizon: Any, numbers: Any
) -> Any:
    """Write scores.NUMBERS of a forecast, and return ln variance and turbulence to learn from.

    `variance` is the model's, `learnt` what is known of the symbol (`record.LEARNT`), and
    `features` those at the point.
    """
    past, ratios = learnt.realised, model.spike_log_ratios
    log_variance = math.log(variance)
    limit = _log_limit(features[_LEVEL], past, ratios, horizon)
    turbulence = turbulence_weight(log_variance, limit)
    # Residuals are the model's errors, not those of the prior.
    to_learn = log_variance, turbulence
    evidence = evidence_weight(features[_AGE])
    if evidence < 1.0:
        variance = shrunk(variance / horizon.seconds, evidence) * horizon.seconds
        log_variance = math.log(variance)
        limit = _log_limit(shrunk(features[_LEVEL], evidence), past, ratios, horizon)
        turbulence = turbulence_weight(log_variance, limit)
    quantiles = model.laws.quantiles[horizon.nearest]
    own = learnt.calibrations[model.variant].cumulated[horizon.nearest]
    # The level of a symbol is uncertain while little of it was seen, so the distribution is widened
    # about its median.
    widening = _widening(features, horizon.seconds)
    bottom = quantile(quantiles, own[0], own[1], turbulence, LOW_LEVEL)
    middle = quantile(quantiles, own[0], own[1], turbulence, 0.5)
    top = quantile(quantiles, own[0], own[1], turbulence, HIGH_LEVEL)
    if evidence < 1.0:
        widening = widened(widening, evidence, top - bottom)
    # The probability of the widened distribution, read off the one that is not.
    residual = middle + (limit - log_variance - middle) / widening
    numbers[0] = math.sqrt(variance)
    numbers[1] = math.exp((log_variance + middle + (bottom - middle) * widening) / 2)
    numbers[2] = math.exp((log_variance + middle + (top - middle) * widening) / 2)
    numbers[3] = math.exp(limit / 2)
    numbers[4] = above(quantiles, own[0], own[1], turbulence, residual)
    return to_learn


@kernel
def settle(
    records: Any,
    daily: Any,
    models: Any,
    horizons: Any,
    points: Any,
    variances: Any,
    first: int,
    to_grid: bool,
    numbers: Any,
    basis: Any,
    outcomes: Any,
) -> Any:
    """Learn from the ends of minutes and forecast at the other points, in their order.

    At the end of a bar of the past, thresholds alone are learnt.

    `models` are the serving one and, if there is one, its shadow, which forecasts only at the ends
    of minutes, where it is scored beside the serving model. `variances` has the shape (models,
    points, horizons); `horizons` are HORIZON records, which contain the fitted ones. With `to_grid`
    it stops before a symbol moves on from a point of the publishing grid. `numbers` gets
    scores.NUMBERS of each horizon, of shape (points, horizons, NUMBERS), of fitted ones alone at
    the end of a minute, and `basis` what the forecasts rest on (BASIS).

    Returns the index of the first point left, and the number of outcomes written.
    """
    count = 0
    for index in range(first, len(points)):
        point, said = points[index], numbers[index]
        if to_grid and _is_to_publish(points, first, index):
            return index, count
        learnt = records[point.symbol].learnt
        if point.kind <= at_points.BAR_ON_GRID:
            if count + MAX_OUTCOMES > len(outcomes):
                return index, count
            judged, sums = _judged(models, point), daily[point.symbol]
            count += _mature(learnt, sums, judged, point, outcomes[count:])
            # From the shadow to the serving model, whose numbers stay.
            for place in range(len(judged) - 1, -1, -1):
                _issue(learnt, sums, judged[place], horizons, point, variances[place, index], said)
        if point.kind == at_points.MINUTE:
            continue
        state = learnt.calibrations[models[0].variant]
        calibration.adopt(state, models[0].laws)
        for column in range(len(horizons)):
            write_forecast(
                models[0],
                learnt,
                point.features,
                variances[0, index, column],
                horizons[column],
                said[column],
            )
        basis[index].own = calibration.is_own(state)
        kept = learnt.scores.variants[models[0].variant]
        is_same = scores.same_digest(kept.digest, models[0].laws.digest)
        basis[index].issued = kept.newest if is_same else -1
    return len(points), count


@kernel
def _judged(models: Any, point: Any) -> Any:
    """Return the models that the end of a minute judges: none if it is one of the past."""
    return models[:0] if point.kind == at_points.PAST else models[:]


@kernel
def _is_to_publish(points: Any, first: int, index: int) -> bool:
    """Return True if the symbol at an index has a point of the publishing grid from `first` on."""
    symbol = points[index].symbol
    for before in range(first, index):
        if points[before].symbol == symbol and points[before].kind == at_points.GRID:
            return True
    return False


@kernel
def _mature(learnt: Any, daily: Any, models: Any, point: Any, outcomes: Any) -> int:
    """Settle the forecasts that matured up to the end of a minute, and return the outcomes.

    Without models the minute is realised, and no forecast is judged by it.
    """
    # The variance of a part of a minute is no outcome of a forecast, and nor is that of a horizon
    # with such a minute inside, after bars of the past.
    if point.observed < 1.0:
        learnt.realised.minute = -1
        return 0
    count = 0
    logs = np.empty(FITTED_HORIZONS)
    newest = point.bar.minute
    silent = realised.silent_minutes(learnt.realised, newest, point.gap)
    for minute in range(newest - silent, newest + 1):
        variance = point.bar.variance if minute == newest else 0.0
        one_minute = point.one_minute if minute == newest else 0.0
        realised.add(learnt.realised, minute, variance, one_minute, logs)
        if len(models) == 0:
            continue
        found = scores.mature(learnt.scores, daily, minute, logs, outcomes[count:])
        for place in range(count, count + found):
            outcomes[place].symbol = point.symbol
        count += found
        for place in range(len(models)):
            state = learnt.calibrations[models[place].variant]
            calibration.adopt(state, models[place].laws)
            calibration.add_realised(state, models[place].laws, minute, logs)
    return count


@kernel
def _issue(
    learnt: Any,
    daily: Any,
    model: Any,
    horizons: Any,
    point: Any,
    variances: Any,
    numbers: Any,
) -> None:
    """Issue the forecasts of a model at the end of a minute, to be scored when they mature.

    `numbers` gets scores.NUMBERS of the fitted horizons.
    """
    # After the residuals up to this minute are learnt: the forecasts rest on them.
    minute, variant = point.bar.minute, model.variant
    state = learnt.calibrations[variant]
    calibration.adopt(state, model.laws)
    scores.adopt(learnt.scores, daily, variant, model.laws.digest, model.version)
    for column in range(len(horizons)):
        horizon = horizons[column]
        if horizon.weight != 0.0 or HORIZONS[horizon.nearest] != horizon.seconds:
            continue
        log_variance, turbulence = write_forecast(
            model, learnt, point.features, variances[column], horizon, numbers[column]
        )
        calibration.issue(state, minute, horizon.nearest, log_variance, turbulence)
        if scores.is_due(minute, horizon.nearest):
            scores.issue(learnt.scores, variant, minute, horizon.nearest, numbers[column])


assert tuple(60.0 * minutes for minutes in HORIZON_MINUTES) == HORIZONS_S
