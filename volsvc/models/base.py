"""The interface of every model, and the table of named features that models read."""

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
    turbulence_weight,
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
# Least variance per second of a target or a forecast, (0.5 bp)**2 a minute: QLIKE has no value at
# a realised variance of 0, and the floor keeps minutes without a trade from ruling the loss.
FLOOR_RATE: Final = FLOOR_PER_MINUTE / 60
# Greatest variance per second of a forecast: a posted row may hold any number.
MAX_RATE: Final = 1.0
# Median gap between the ticks of a liquid Coinbase market, for rows that give no span.
SECONDS_PER_TICK: Final = 0.2
# Variance per second of an ordinary hour (4 bp a minute), for rows that give no level.
PRIOR_LEVEL_RATE: Final = (4e-4) ** 2 / 60

# Turbulence weights (0: calm, 1: high volatility) at which the bounds of intervals are tabulated.
# The quantiles of a mixture have no closed form in its weight; between these they are linear.
TURBULENCE_GRID: Final = tuple(step / 10 for step in range(11))

_TURBULENCE_GRID = np.array(TURBULENCE_GRID)

# Mean and standard deviation of the residual ln RV - ln forecast of symbols seen from ticks, at
# each of HORIZONS_S: rounded from two days of generated ticks and two hours of real ones.
TICK_RESIDUALS: Final = ((-0.4, 1.0), (-0.1, 0.7), (-0.1, 0.6), (0.0, 0.6))

_LEVEL_COLUMN = FEATURES.index("level")
_SEASON_COLUMN = FEATURES.index(f"season_{SEASON_HORIZONS_S[0]}s")

assert tuple(60 * m for m in HORIZON_MINUTES) == SEASON_HORIZONS_S


class ModelError(VolsvcError):
    """A model whose forecasts are not finite."""


class Model(ABC):
    """A pure, reentrant function from feature rows to forecasts, with its name and version.

    `laws` are the distributions of residuals that symbols seen from ticks start with, `coarse_laws`
    those of posted windows and of symbols seen from bars. `spike_log_ratios` are the logarithms of
    the 90 % quantile of realised variance over the symbol's level. Each has one item for each of
    HORIZONS_S.
    """

    # Pickles that an operator allows (model.allowed_pickles) hold these names: they stay.
    variant: str
    version: str
    digest: str
    schema: tuple[str, ...] = FEATURES
    laws: tuple[ResidualLaws, ...]
    coarse_laws: tuple[ResidualLaws, ...]
    spike_log_ratios: tuple[float, ...]

    @abstractmethod
    def head_variances(self, features: Array, count: int) -> Array:
        """Return the expected realised variance over the first `count` of HORIZONS_S.

        The shape is (rows, count). Floor and bounds are not applied yet.
        """

    def window_variances(self, window: Window, count: int) -> list[float]:
        """Return `head_variances` of a row of which only the window is known."""
        row = np.full((1, len(FEATURES)), np.nan)
        row[0, :SCALES_FROM] = window
        variances: list[float] = self.head_variances(row, count)[0].tolist()
        return variances

    def variances(self, features: Array, horizons_s: Sequence[float]) -> Array:
        """Return the expected realised variance of rows (rows, len(FEATURES)) at each horizon.

        The shape is (rows, horizons). Between the fitted horizons ln variance is linear in ln
        horizon; beyond them the variance per second is constant. Variance never falls as the
        horizon grows. Raises ModelError if a variance is NaN.
        """
        # Only the heads that are needed: the trees of each further horizon cost as much again.
        count = 1 + max(bracket(horizon)[1] for horizon in horizons_s)
        spans = np.array(HORIZONS_S[:count])
        heads = self.head_variances(features, count)
        heads = np.minimum(np.maximum(heads, FLOOR_RATE * spans), MAX_RATE * spans)
        if not np.isfinite(heads).all():
            raise ModelError(f"{self.variant}-{self.version} gives numbers that are not finite")
        # Realised variance is a sum over time, but the heads are fitted apart from one another.
        heads = np.maximum.accumulate(heads, axis=1)
        return np.column_stack([_interpolated(heads, horizon) for horizon in horizons_s])

    def log_threshold(self, features: Array, horizon_s: float) -> Array:
        """Return ln of the spike threshold on realised variance, from each row's level.

        It stands for a symbol that has no past of its own yet.
        """
        low, high, weight = bracket(horizon_s)
        ratio = (1 - weight) * self.spike_log_ratios[low] + weight * self.spike_log_ratios[high]
        level = features[:, _LEVEL_COLUMN]
        level = np.where(np.isnan(level), PRIOR_LEVEL_RATE, np.maximum(level, FLOOR_RATE))
        limit: Array = np.log(np.minimum(level, MAX_RATE) * horizon_s) + ratio
        return limit

    def predict(
        self, features: Array, horizon_s: float, threshold: float | Array | None = None
    ) -> Forecast:
        """Return forecasts at `horizon_s` seconds for a matrix of shape (rows, len(FEATURES)).

        `threshold` is a realised volatility per sqrt(horizon), for all rows or of shape (rows,);
        where it is None or NaN, the packaged quantile relative to the row's level is used.
        Intervals and probabilities follow the residual distributions that symbols start with.
        """
        sigma2 = self.variances(features, (horizon_s,))[:, 0]
        log_variance = np.log(sigma2)
        limit = self.log_threshold(features, horizon_s)
        # The regime depends on the usual threshold, not on the one that the caller asks about.
        turbulence = turbulence_weight(log_variance, limit)
        volatility_limit = np.exp(limit / 2)
        if threshold is not None:
            given = np.broadcast_to(threshold, limit.shape)
            limit = np.where(np.isnan(given), limit, 2 * np.log(given))
            volatility_limit = np.where(np.isnan(given), volatility_limit, given)
        probability, low, high = self._residuals(
            features, horizon_s, limit - log_variance, turbulence
        )
        # Half of a log variance is a log volatility.
        return Forecast(
            horizon_s=horizon_s,
            sigma2=sigma2,
            p_spike=probability,
            lo=np.exp((log_variance + low) / 2),
            hi=np.exp((log_variance + high) / 2),
            threshold=volatility_limit,
        )

    def _residuals(
        self, features: Array, horizon_s: float, residual: Array, turbulence: Array
    ) -> Array:
        """Return `ResidualTable.evaluate` of each row under the distribution of its kind."""
        live = known_scales(features)
        if live.all():
            return residual_table(self.laws, horizon_s).evaluate(residual, turbulence)
        coarse = residual_table(self.coarse_laws, horizon_s).evaluate(residual, turbulence)
        if not live.any():
            return coarse
        fine = residual_table(self.laws, horizon_s).evaluate(residual, turbulence)
        return np.where(live, fine, coarse)


@lru_cache(1024)
def bracket(horizon_s: float) -> tuple[int, int, float]:
    """Return the indices of the fitted horizons around one, and its place in ln horizon."""
    high = int(np.searchsorted(HORIZONS_S, horizon_s))
    if high == 0 or high == len(HORIZONS_S):
        nearest = min(high, len(HORIZONS_S) - 1)
        return nearest, nearest, 0.0
    if HORIZONS_S[high] == horizon_s:
        return high, high, 0.0
    low = high - 1
    span = math.log(HORIZONS_S[high] / HORIZONS_S[low])
    return low, high, math.log(horizon_s / HORIZONS_S[low]) / span


class ResidualTable(NamedTuple):
    """The residual distributions at one horizon, in calm and in turbulence.

    `bounds` are low, median and high of the central interval at each of TURBULENCE_GRID, of shape
    (len(TURBULENCE_GRID), 3).
    """

    calm: ResidualLaw
    turbulent: ResidualLaw
    bounds: Array

    def evaluate(self, residual: Array, turbulence: Array) -> Array:
        """Return P(ln RV - ln forecast > residual), low and high bound: shape (3, rows)."""
        calm, turbulent = self.calm.above(residual), self.turbulent.above(residual)
        low, high = (
            np.interp(turbulence, _TURBULENCE_GRID, self.bounds[:, column]) for column in (0, 2)
        )
        return np.array((calm + (turbulent - calm) * turbulence, low, high))


# Laws hash by identity. The cache keeps them alive, so no other model's laws get the same identity.
@lru_cache(256)
def residual_table(laws: tuple[ResidualLaws, ...], horizon_s: float) -> ResidualTable:
    """Return the residual distributions at a horizon, interpolated between the fitted ones."""
    low, high, weight = bracket(horizon_s)
    first, last = laws[low], laws[high]
    both = ResidualLaws(
        (1 - weight) * first.quantiles + weight * last.quantiles,
        (1 - weight) * first.cumulated + weight * last.cumulated,
    )
    bounds = np.array([both.mixed(weight).bounds() for weight in TURBULENCE_GRID])
    return ResidualTable(both.mixed(0.0), both.mixed(1.0), bounds)


def normal_laws(parameters: Sequence[tuple[float, float]]) -> tuple[ResidualLaws, ...]:
    """Return normal distributions from (mean, standard deviation) pairs, the same in turbulence."""
    return tuple(_normal_law(mean, std) for mean, std in parameters)


def _normal_law(mean: float, std: float) -> ResidualLaws:
    inner = [NormalDist(mean, std).inv_cdf(level) for level in LEVELS[1:-1]]
    # The outermost levels are 0 and 1, whose normal quantiles are infinite.
    quantiles = np.array([inner[0] - std, *inner, inner[-1] + std])
    return ResidualLaws(quantiles, np.array([LEVELS, LEVELS]))


def _interpolated(heads: Array, horizon_s: float) -> Array:
    low, high, weight = bracket(horizon_s)
    if low == high:
        return np.asarray(heads[:, low] * (horizon_s / HORIZONS_S[low]))
    logs = (1 - weight) * np.log(heads[:, low]) + weight * np.log(heads[:, high])
    return np.asarray(np.exp(logs))


def window_rate(features: Array) -> Array:
    """Return the variance per second of each row's window: squared returns over covered time.

    sum r**2 = (n - 1) std**2 + n mean**2; without a span each return counts as the median gap.
    """
    mean, std, n, span_s = features[:, :SCALES_FROM].T
    covered = np.where(np.isnan(span_s) | (span_s <= 0), n * SECONDS_PER_TICK, span_s)
    squares = np.maximum(n - 1, 1) * std**2 + n * mean**2
    rate: Array = squares / np.maximum(covered, SECONDS_PER_TICK)
    return rate


def scalar_window_rate(window: Window) -> float:
    """Return `window_rate` of one window, in Python floats."""
    mean, std, n, span_s = window
    covered = n * SECONDS_PER_TICK if math.isnan(span_s) or span_s <= 0 else span_s
    # Products, since Python's ** raises OverflowError where numpy gives infinity.
    squares = max(n - 1, 1.0) * (std * std) + n * (mean * mean)
    return squares / max(covered, SECONDS_PER_TICK)


def window_columns(row: FeatureRow) -> Window:
    """Return the first columns of a row of the feature matrix."""
    return row.ret_mean, row.ret_std, float(row.n), row.span_s


def matrix_of_scales(scales: Array) -> Array:
    """Return the feature matrix of rows (rows, len(SCALE_NAMES)) whose windows are not known."""
    matrix = np.full((len(scales), len(FEATURES)), np.nan)
    matrix[:, SCALES_FROM:] = scales
    return matrix


def known_scales(features: Array) -> NDArray[np.bool_]:
    """Return a mask of the rows that bring the state of a live symbol: their level is known."""
    return ~np.isnan(features[:, _LEVEL_COLUMN])


def level_variances(features: Array, count: int) -> Array:
    """Return the slow level times the daily pattern over HORIZONS_S: shape (rows, count)."""
    seasons = features[:, _SEASON_COLUMN : _SEASON_COLUMN + count]
    return np.asarray(features[:, _LEVEL_COLUMN, None] * seasons * np.array(HORIZONS_S[:count]))
