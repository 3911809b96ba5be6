"""Forecasts in the unit of bars: one minute ahead, the range stands for realised variance."""

from __future__ import annotations

from volsvc.models.base import Array, Model, known_scales
from volsvc.models.columns import SCALES_FROM
from volsvc.models.heads import variance_over_range


class BarAdapter(Model):
    """A model whose forecasts one minute ahead are of Parkinson's variance.

    From bars a single squared return holds almost no information about the minute that follows, so
    the range is what is forecast, scored and calibrated on, with the residual distributions of bars
    (docs/feature_spec.md).
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        # The model's own names: its forecasts and calibrations carry them whatever the input is.
        self.variant, self.version, self.digest = model.variant, model.version, model.digest
        self.laws = self.coarse_laws = model.coarse_laws
        self.spike_log_ratios = model.spike_log_ratios

    def head_variances(self, features: Array, count: int) -> Array:
        """Return the variances at the first of HORIZONS_S; see `Model.head_variances`."""
        variances = self._model.head_variances(features, count)
        live = known_scales(features)
        # The ratio of a minute's realised variance from ticks to that from its range: bars are
        # judged by the latter.
        variances[live, 0] /= variance_over_range(features[live, SCALES_FROM:])
        return variances
