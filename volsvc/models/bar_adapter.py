"""Forecasts in the unit of bars: one minute ahead, what stands for variance is the range."""

from __future__ import annotations

from volsvc.models.base import SCALES_FROM, Array, Model, known_scales
from volsvc.models.heads import variance_over_range


class BarAdapter(Model):
    """Another model, whose forecasts one minute ahead are of Parkinson's variance.

    From bars a single squared return says next to nothing of the minute that follows, so there the
    range is what is forecast, judged and learnt from, under the laws of bars
    (docs/feature_spec.md).
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.variant, self.version, self.digest = model.variant, model.version, model.digest
        self.laws = self.coarse_laws = model.coarse_laws
        self.spike_log_ratios = model.spike_log_ratios

    def head_variances(self, features: Array, count: int) -> Array:
        """Variances at the first of HORIZONS_S; see `Model.head_variances`."""
        variances = self._model.head_variances(features, count)
        live = known_scales(features)
        variances[live, 0] /= variance_over_range(features[live, SCALES_FROM:])
        return variances
