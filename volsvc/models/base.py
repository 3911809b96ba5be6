"""What a model is, and the table of named features that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import FeatureRow, Forecast

FEATURES = ("ret_mean", "ret_std", "n", "span_s", "variance_rate", "level_rate")
"""Columns of a feature matrix, in order; NaN where a row does not have one. Schema version 1.

Units: returns are log returns, `span_s` seconds of event time, rates 1/s.
"""
SCHEMA_VERSION = 1

FLOOR_RATE = (0.5e-4) ** 2 / 60
"""Least variance per second of a target or a forecast: half a basis point a minute."""


class Model(Protocol):
    """A pure, reentrant function from feature rows to forecasts, with its name and version."""

    variant: str
    version: str
    digest: str
    schema: tuple[str, ...]

    def predict(
        self, features: NDArray[np.float64], horizon_s: float, threshold: float | None = None
    ) -> Forecast:
        """Forecasts at `horizon_s` seconds for a matrix of shape (rows, len(FEATURES)).

        `threshold` is a realised volatility per sqrt(horizon); without it each row has its own.
        """
        ...


def feature_matrix(rows: Sequence[FeatureRow]) -> NDArray[np.float64]:
    """The rows of live symbols as a matrix of shape (rows, len(FEATURES))."""
    values = [(r.ret_mean, r.ret_std, r.n, r.span_s, r.variance_rate, r.level_rate) for r in rows]
    return np.array(values, dtype=np.float64).reshape(-1, len(FEATURES))


def predict_rows(
    model: Model, features: NDArray[np.float64], horizons_s: Sequence[float]
) -> list[Forecast]:
    """One forecast a horizon, each by a single vectorised call."""
    return [model.predict(features, horizon) for horizon in horizons_s]
