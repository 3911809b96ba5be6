"""Models of volatility, and the holder that says which one serves."""

from volsvc.models.artefact import (
    PACKAGED,
    Artefact,
    ArtefactError,
    packaged,
    read_artefact,
    write_artefact,
)
from volsvc.models.base import FEATURES, FLOOR_RATE, HORIZONS_S, SCHEMA_VERSION, Model, ModelError
from volsvc.models.baseline import Baseline
from volsvc.models.holder import BASELINE, ModelEvent, ModelHolder, Serving, Wish, surely
from volsvc.models.live import LiveForecasts, Moment, moment_now, moments_ended
from volsvc.models.ml import MlModel, Parts
from volsvc.models.ranged import Ranged
from volsvc.models.scoring import Scoring
from volsvc.models.window import WindowForecast, forecast_window

__all__ = [
    "BASELINE",
    "FEATURES",
    "FLOOR_RATE",
    "HORIZONS_S",
    "PACKAGED",
    "SCHEMA_VERSION",
    "Artefact",
    "ArtefactError",
    "Baseline",
    "LiveForecasts",
    "MlModel",
    "Model",
    "ModelError",
    "ModelEvent",
    "ModelHolder",
    "Moment",
    "Parts",
    "Ranged",
    "Scoring",
    "Serving",
    "WindowForecast",
    "Wish",
    "forecast_window",
    "moment_now",
    "moments_ended",
    "packaged",
    "read_artefact",
    "surely",
    "write_artefact",
]
