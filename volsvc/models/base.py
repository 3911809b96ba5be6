"""The interface of every model, and the table of named features that models read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import Forecast, VolsvcError
from volsvc.features import HORIZON_MINUTES, LEVELS, SEASON_HORIZONS_S, ResidualLaws
from volsvc.models.columns import FEATURES, HORIZONS_S, LEVEL, SCALES_FROM
from volsvc.models.kernels import forecasts

Array = NDArray[np.float64]
Records = NDArray[Any]

# Mean and standard deviation of the residual ln RV - ln forecast of symbols seen from ticks, at
# each of HORIZONS_S: rounded from two days of generated ticks and two hours of real ones.
TICK_RESIDUALS: Final = ((-0.4, 1.0), (-0.1, 0.7), (-0.1, 0.6), (0.0, 0.6))

_ROW: Final = (len(FEATURES),)
# The thresholds of rows that have none of their own.
_USUAL: Final = np.full(1, np.nan)

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

    def variances(self, features: Array, horizons_s: Sequence[float]) -> Array:
        """Return the expected realised variance of rows (rows, len(FEATURES)) at each horizon.

        The shape is (rows, horizons). Between the fitted horizons ln variance is linear in ln
        horizon; beyond them the variance per second is constant. Variance never falls as the
        horizon grows. Raises ModelError if a variance is NaN.
        """
        count, brackets = _brackets(tuple(horizons_s))
        heads = _checked_heads(self, feature_matrix(features), count)
        found, known = forecasts.variances(heads, brackets)
        _check_known(self, known)
        return found

    def log_threshold(self, features: Array, horizon_s: float) -> Array:
        """Return ln of the spike threshold on realised variance, from each row's level.

        It stands for a symbol that has no past of its own yet.
        """
        low, high, weight = bracket(horizon_s)
        ratio = (1 - weight) * self.spike_log_ratios[low] + weight * self.spike_log_ratios[high]
        return forecasts.log_thresholds(feature_matrix(features), horizon_s, ratio)

    def predict(
        self, features: Array, horizon_s: float, threshold: float | Array | None = None
    ) -> Forecast:
        """Return forecasts at `horizon_s` seconds for a matrix of shape (rows, len(FEATURES)).

        `threshold` is a realised volatility per sqrt(horizon), for all rows or of shape (rows,);
        where it is None or NaN, the packaged quantile relative to the row's level is used.
        Intervals and probabilities follow the residual distributions that symbols start with.
        """
        features = feature_matrix(features)
        count, horizon = _horizon(self.laws, self.coarse_laws, self.spike_log_ratios, horizon_s)
        heads = _checked_heads(self, features, count)
        found, known = forecasts.predictions(
            features, heads, horizon, _thresholds(threshold, len(features))
        )
        _check_known(self, known)
        # Row by row this takes half as long as to unpack them.
        return Forecast(horizon_s, found[0], found[1], found[2], found[3], found[4])


def feature_matrix(features: Array) -> Array:
    """Return rows of features as kernels read them; ValueError for a wrong number of columns."""
    features = np.ascontiguousarray(features, dtype=np.float64)
    if features.shape[1:] != _ROW:
        raise ValueError(f"features have the shape {features.shape}, not (rows, {len(FEATURES)})")
    return features


def _checked_heads(model: Model, features: Array, count: int) -> Array:
    """Return the variances of a model whose code may be anybody's, as kernels read them."""
    heads = np.ascontiguousarray(model.head_variances(features, count), dtype=np.float64)
    if heads.shape != (len(features), count):
        raise ModelError(f"{model.variant}-{model.version} gives variances of {heads.shape}")
    return heads


def _check_known(model: Model, known: bool) -> None:
    if not known:
        raise ModelError(f"{model.variant}-{model.version} gives numbers that are not finite")


def _thresholds(threshold: float | Array | None, rows: int) -> Array:
    """Return thresholds as kernels read them: one for all rows, or one for each."""
    if threshold is None:
        return _USUAL
    thresholds = np.ascontiguousarray(threshold, dtype=np.float64)
    if thresholds.ndim != 1 or len(thresholds) not in (1, rows):
        raise ValueError(f"thresholds have the shape {thresholds.shape}, not ({rows},)")
    return thresholds


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


@lru_cache(256)
def _brackets(horizons_s: tuple[float, ...]) -> tuple[int, Records]:
    """Return the number of heads that are needed, and the places of horizons between them.

    No more than that: the trees of each further horizon cost as much again.
    """
    brackets = np.zeros(len(horizons_s), dtype=forecasts.BRACKET)
    for index, horizon_s in enumerate(horizons_s):
        low, high, weight = bracket(horizon_s)
        brackets[index] = (horizon_s, low, high, weight)
    return 1 + int(brackets["high"].max()), brackets


# Laws hash by identity. The cache keeps them alive, so no other model's laws get the same identity.
@lru_cache(256)
def _horizon(
    laws: tuple[ResidualLaws, ...],
    coarse_laws: tuple[ResidualLaws, ...],
    log_ratios: tuple[float, ...],
    horizon_s: float,
) -> tuple[int, Records]:
    """Return the number of heads that are needed, and thresholds and laws at a horizon.

    The latter are interpolated between those of the fitted horizons.
    """
    low, high, weight = bracket(horizon_s)
    horizon = np.zeros(1, dtype=forecasts.HORIZON)
    horizon["horizon_s"], horizon["low"], horizon["high"] = horizon_s, low, high
    horizon["weight"] = weight
    horizon["log_ratio"] = (1 - weight) * log_ratios[low] + weight * log_ratios[high]
    for kind, (first, last) in enumerate((each[low], each[high]) for each in (coarse_laws, laws)):
        between = ResidualLaws(
            (1 - weight) * first.quantiles + weight * last.quantiles,
            (1 - weight) * first.cumulated + weight * last.cumulated,
        )
        horizon["quantiles"][0, kind] = between.quantiles
        horizon["calm"][0, kind], horizon["turbulent"][0, kind] = between.cumulated
    return 1 + high, horizon


def normal_laws(parameters: Sequence[tuple[float, float]]) -> tuple[ResidualLaws, ...]:
    """Return normal distributions from (mean, standard deviation) pairs, the same in turbulence."""
    return tuple(_normal_law(mean, std) for mean, std in parameters)


def _normal_law(mean: float, std: float) -> ResidualLaws:
    inner = [NormalDist(mean, std).inv_cdf(level) for level in LEVELS[1:-1]]
    # The outermost levels are 0 and 1, whose normal quantiles are infinite.
    quantiles = np.array([inner[0] - std, *inner, inner[-1] + std])
    return ResidualLaws(quantiles, np.array([LEVELS, LEVELS]))


def matrix_of_scales(scales: Array) -> Array:
    """Return the feature matrix of rows (rows, len(SCALE_NAMES)) whose windows are not known."""
    matrix = np.full((len(scales), len(FEATURES)), np.nan)
    matrix[:, SCALES_FROM:] = scales
    return matrix


def known_scales(features: Array) -> NDArray[np.bool_]:
    """Return a mask of the rows that bring the state of a live symbol: their level is known."""
    return ~np.isnan(features[:, SCALES_FROM + LEVEL])
