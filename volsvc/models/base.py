"""What a model is, and the table of named features that it reads."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import FeatureRow, Forecast, VolsvcError
from volsvc.features import (
    FLOOR_PER_MINUTE,
    HORIZON_MINUTES,
    LEVELS,
    SCALE_NAMES,
    SEASON_HORIZONS_S,
    ResidualLaw,
    ResidualLaws,
    storm_weight,
)

Array = NDArray[np.float64]
# ret_mean, ret_std, n, span_s: the columns of WINDOW_NAMES; `span_s` is NaN where not known.
Window = tuple[float, float, float, float]

WINDOW_NAMES: Final = ("ret_mean", "ret_std", "n", "span_s")
# Columns of a feature matrix, in order; NaN where a row lacks one. See docs/feature_spec.md.
FEATURES: Final[tuple[str, ...]] = WINDOW_NAMES + SCALE_NAMES
SCHEMA_VERSION: Final = 2
SCALES_FROM: Final = len(WINDOW_NAMES)

# The horizons that models are fitted at.
HORIZONS_S: Final = tuple(float(horizon) for horizon in SEASON_HORIZONS_S)
# Least variance per second of a target or a forecast.
FLOOR_RATE: Final = FLOOR_PER_MINUTE / 60
# Most variance per second that is believed: a posted row may claim anything.
GREATEST_RATE: Final = 1.0
# Median gap between the ticks of a liquid Coinbase market, for rows that give no span.
SECONDS_PER_TICK: Final = 0.2
# Variance per second of an ordinary hour (4 bp a minute), for rows that give no level.
PRIOR_LEVEL_RATE: Final = (4e-4) ** 2 / 60

# Storm weights at which intervals are computed; between them they are interpolated.
STORM_GRID: Final = tuple(step / 10 for step in range(11))

_STORMS = np.array(STORM_GRID)

# Mean and standard deviation of ln RV - ln forecast of symbols seen from ticks, at each of
# HORIZONS_S: rounded from two days of generated ticks and two hours of real ones.
FINE_LAW: Final = ((-0.4, 1.0), (-0.1, 0.7), (-0.1, 0.6), (0.0, 0.6))

_LEVEL_AT = FEATURES.index("level")
_SEASON_AT = FEATURES.index(f"season_{SEASON_HORIZONS_S[0]}s")

assert tuple(60 * m for m in HORIZON_MINUTES) == SEASON_HORIZONS_S


class ModelError(VolsvcError):
    """A model that gave numbers that are not finite."""


class Model(ABC):
    """A pure, reentrant function from feature rows to forecasts, with its name and version.

    `laws` are the laws that a symbol seen from ticks starts with, `coarse_laws` those of symbols
    seen from bars and of posted windows, and `spike_log_ratios` the logarithms of the 90 % quantile
    of realised variance over the symbol's level; one for each of HORIZONS_S.
    """

    variant: str
    version: str
    digest: str
    schema: tuple[str, ...] = FEATURES
    laws: tuple[ResidualLaws, ...]
    coarse_laws: tuple[ResidualLaws, ...]
    spike_log_ratios: tuple[float, ...]

    @abstractmethod
    def head_variances(self, features: Array, count: int) -> Array:
        """Expected realised variance over the first `count` of HORIZONS_S, not bounded yet.

        The shape is (rows, count).
        """

    def window_variances(self, window: Window, count: int) -> list[float]:
        """What `head_variances` gives for a row of which only the window is known."""
        row = np.full((1, len(FEATURES)), np.nan)
        row[0, :SCALES_FROM] = window
        variances: list[float] = self.head_variances(row, count)[0].tolist()
        return variances

    def variances(self, features: Array, horizons_s: Sequence[float]) -> Array:
        """Expected realised variance for rows of shape (rows, len(FEATURES)), at each horizon.

        The shape is (rows, horizons). Between the fitted horizons ln variance is linear in ln
        horizon, beyond them the variance per second stays; it never falls as the horizon grows.
        Raises ModelError when one is not finite.
        """
        count = 1 + max(bracket(horizon)[1] for horizon in horizons_s)
        spans = np.array(HORIZONS_S[:count])
        heads = self.head_variances(features, count)
        heads = np.minimum(np.maximum(heads, FLOOR_RATE * spans), GREATEST_RATE * spans)
        if not np.isfinite(heads).all():
            raise ModelError(f"{self.variant}-{self.version} gives numbers that are not finite")
        heads = np.maximum.accumulate(heads, axis=1)
        return np.column_stack([_between(heads, horizon) for horizon in horizons_s])

    def log_threshold(self, features: Array, horizon_s: float) -> Array:
        """Ln of the realised variance that is a spike, for a symbol without a past of its own."""
        low, high, weight = bracket(horizon_s)
        ratio = (1 - weight) * self.spike_log_ratios[low] + weight * self.spike_log_ratios[high]
        level = features[:, _LEVEL_AT]
        level = np.where(np.isnan(level), PRIOR_LEVEL_RATE, np.maximum(level, FLOOR_RATE))
        limit: Array = np.log(np.minimum(level, GREATEST_RATE) * horizon_s) + ratio
        return limit

    def predict(
        self, features: Array, horizon_s: float, threshold: float | Array | None = None
    ) -> Forecast:
        """Forecasts at `horizon_s` seconds for a matrix of shape (rows, len(FEATURES)).

        `threshold` is a realised volatility per sqrt(horizon), for all rows or of shape (rows,);
        where it is not given or NaN, the packaged quantile relative to the row's level stands.
        Intervals and probabilities follow the laws that symbols start with.
        """
        sigma2 = self.variances(features, (horizon_s,))[:, 0]
        centre = np.log(sigma2)
        limit = self.log_threshold(features, horizon_s)
        storm = storm_weight(centre, limit)
        shown = np.exp(limit / 2)
        if threshold is not None:
            given = np.broadcast_to(np.asarray(threshold, dtype=np.float64), limit.shape)
            limit = np.where(np.isnan(given), limit, 2 * np.log(given))
            shown = np.where(np.isnan(given), shown, given)
        residual, live = limit - centre, known_scales(features)
        if live.all():
            read = law_table(self.laws, horizon_s).read(residual, storm)
        else:
            read = law_table(self.coarse_laws, horizon_s).read(residual, storm)
            if live.any():
                read = np.where(live, law_table(self.laws, horizon_s).read(residual, storm), read)
        probability, low, high = read
        return Forecast(
            horizon_s=horizon_s,
            sigma2=sigma2,
            p_spike=probability,
            lo=np.exp((centre + low) / 2),
            hi=np.exp((centre + high) / 2),
            threshold=shown,
        )


@lru_cache(1024)
def bracket(horizon_s: float) -> tuple[int, int, float]:
    """The fitted horizons around one, and how far it lies between them in ln horizon."""
    high = int(np.searchsorted(HORIZONS_S, horizon_s))
    if high == 0 or high == len(HORIZONS_S):
        at = min(high, len(HORIZONS_S) - 1)
        return at, at, 0.0
    if HORIZONS_S[high] == horizon_s:
        return high, high, 0.0
    low = high - 1
    span = math.log(HORIZONS_S[high] / HORIZONS_S[low])
    return low, high, math.log(horizon_s / HORIZONS_S[low]) / span


class LawTable(NamedTuple):
    """The laws of calm and storm at one horizon, and the bounds of the interval at STORM_GRID."""

    calm: ResidualLaw
    stormy: ResidualLaw
    bounds: Array

    def read(self, residual: Array, storm: Array) -> Array:
        """P(ln RV - ln forecast > residual), low and high bound: shape (3, rows)."""
        calm, stormy = self.calm.above(residual), self.stormy.above(residual)
        low, high = (np.interp(storm, _STORMS, self.bounds[:, at]) for at in (0, 2))
        return np.array((calm + (stormy - calm) * storm, low, high))


@lru_cache(256)
def law_table(laws: tuple[ResidualLaws, ...], horizon_s: float) -> LawTable:
    """The laws at a horizon, between the fitted ones mixed by their distance."""
    low, high, weight = bracket(horizon_s)
    first, last = laws[low], laws[high]
    both = ResidualLaws(
        (1 - weight) * first.quantiles + weight * last.quantiles,
        (1 - weight) * first.cumulated + weight * last.cumulated,
    )
    bounds = np.array([both.mixed(weight).bounds() for weight in STORM_GRID])
    return LawTable(both.mixed(0.0), both.mixed(1.0), bounds)


def normal_laws(moments: Sequence[tuple[float, float]]) -> tuple[ResidualLaws, ...]:
    """Laws from mean and standard deviation at each horizon, the same in calm and storm."""
    return tuple(_normal_law(mean, std) for mean, std in moments)


def _normal_law(mean: float, std: float) -> ResidualLaws:
    inner = [NormalDist(mean, std).inv_cdf(level) for level in LEVELS[1:-1]]
    quantiles = np.array([inner[0] - std, *inner, inner[-1] + std])
    return ResidualLaws(quantiles, np.array([LEVELS, LEVELS]))


def _between(heads: Array, horizon_s: float) -> Array:
    low, high, weight = bracket(horizon_s)
    if low == high:
        return np.asarray(heads[:, low] * (horizon_s / HORIZONS_S[low]))
    logs = (1 - weight) * np.log(heads[:, low]) + weight * np.log(heads[:, high])
    return np.asarray(np.exp(logs))


def window_rate(features: Array) -> Array:
    """Variance per second of each row's window: its squared returns over the time it covers.

    sum r**2 = (n - 1) std**2 + n mean**2; without a span each return stands for the median gap.
    """
    mean, std, n, span_s = features[:, :SCALES_FROM].T
    covered = np.where(np.isnan(span_s) | (span_s <= 0), n * SECONDS_PER_TICK, span_s)
    squares = np.maximum(n - 1, 1) * std**2 + n * mean**2
    rate: Array = squares / np.maximum(covered, SECONDS_PER_TICK)
    return rate


def rate_of(window: Window) -> float:
    """`window_rate` of one window, in plain numbers."""
    mean, std, n, span_s = window
    covered = n * SECONDS_PER_TICK if math.isnan(span_s) or span_s <= 0 else span_s
    squares = max(n - 1, 1.0) * (std * std) + n * (mean * mean)
    return squares / max(covered, SECONDS_PER_TICK)


def window_columns(row: FeatureRow) -> Window:
    """The first columns of a row of the feature matrix."""
    return row.ret_mean, row.ret_std, float(row.n), row.span_s


def matrix_of_scales(scales: Array) -> Array:
    """A feature matrix of rows (rows, len(SCALE_NAMES)) whose windows are not known."""
    matrix = np.full((len(scales), len(FEATURES)), np.nan)
    matrix[:, SCALES_FROM:] = scales
    return matrix


def known_scales(features: Array) -> NDArray[np.bool_]:
    """Which rows bring the state of a live symbol: their level is known."""
    return ~np.isnan(features[:, _LEVEL_AT])


def level_variances(features: Array, count: int) -> Array:
    """The symbol's slow level times the daily pattern over HORIZONS_S: shape (rows, count)."""
    seasons = features[:, _SEASON_AT : _SEASON_AT + count]
    return np.asarray(features[:, _LEVEL_AT, None] * seasons * np.array(HORIZONS_S[:count]))
