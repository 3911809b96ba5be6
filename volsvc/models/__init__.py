"""Models of volatility, and the holder that says which one serves."""

from volsvc.models.base import FEATURES, FLOOR_RATE, Model, feature_matrix, predict_rows
from volsvc.models.baseline import Baseline
from volsvc.models.holder import ModelHolder, Serving

__all__ = [
    "FEATURES",
    "FLOOR_RATE",
    "Baseline",
    "Model",
    "ModelHolder",
    "Serving",
    "feature_matrix",
    "predict_rows",
]
