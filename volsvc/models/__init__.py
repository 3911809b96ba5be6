"""Models of volatility, and the holder that says which one serves."""

from volsvc.models.artefact import PACKAGED, Artefact, ArtefactError, read_artefact, write_artefact
from volsvc.models.base import FEATURES, FLOOR_RATE, HORIZONS_S, SCHEMA_VERSION, Model
from volsvc.models.baseline import Baseline
from volsvc.models.holder import ModelHolder, Serving
from volsvc.models.live import LiveForecasts, Moment, moment_now, moments_ended
from volsvc.models.ml import MlModel, Parts
from volsvc.models.ranged import Ranged

__all__ = [
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
    "ModelHolder",
    "Moment",
    "Parts",
    "Ranged",
    "Serving",
    "moment_now",
    "moments_ended",
    "read_artefact",
    "write_artefact",
]
