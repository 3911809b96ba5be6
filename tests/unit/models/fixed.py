"""Models and rows of fixed numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from volsvc.features import SCALE_NAMES, ResidualLaws
from volsvc.features.residual_laws import LEVELS
from volsvc.models import FEATURES, Model
from volsvc.models.base import Array
from volsvc.models.columns import SCALES_FROM


def laws(shift: float) -> tuple[ResidualLaws, ...]:
    """Return laws of four horizons, each another one, that differ in calm and in turbulence."""
    return tuple(
        ResidualLaws(
            np.linspace(-3.0, 2.0 + index, len(LEVELS)) + shift,
            np.array([LEVELS**0.5, LEVELS**2]),
        )
        for index in range(4)
    )


class FixedModel(Model):
    """Gives the same variances for each row, whatever it holds."""

    variant, version = "ml", "7"
    laws, coarse_laws = laws(0.125), laws(-0.25)
    spike_log_ratios = (0.5, 0.75, 1.25, 1.5)

    def __init__(self, variances: Sequence[float], digest: str = "d") -> None:
        self._variances = np.array(variances)
        self.digest = digest

    def head_variances(self, features: Array, count: int) -> Array:
        """Return the variances once for each row."""
        return np.tile(self._variances[:count], (len(features), 1))


def scales_of(values: Mapping[str, float]) -> Array:
    """Return multi-scale features, 0 where not given."""
    return np.array([values.get(name, 0.0) for name in SCALE_NAMES])


def row_of(window: Sequence[float] = (), scales: Mapping[str, float] | None = None) -> Array:
    """Return a feature matrix of one row; NaN where not given."""
    row = np.full((1, len(FEATURES)), np.nan)
    row[0, : len(window)] = window
    if scales is not None:
        row[0, SCALES_FROM:] = scales_of(scales)
    return row
