"""Models of volatility: features in, forecasts out. Only `artefact` does I/O."""

from volsvc.models.artefact import (
    PACKAGED,
    Artefact,
    ArtefactError,
    packaged,
    read_artefact,
    write_artefact,
)
from volsvc.models.bar_adapter import BarAdapter
from volsvc.models.base import Model, ModelError
from volsvc.models.baseline import Baseline
from volsvc.models.columns import FEATURES, FLOOR_RATE, HORIZONS_S, SCHEMA_VERSION
from volsvc.models.ml import MlModel, MlParameters
from volsvc.models.symbol_forecasts import SymbolForecasts

# FEATURES, HORIZONS_S, Baseline, Model and read_artefact have to stay importable from here: models
# registered by version 1.0.0 carry a copy of its pyfunc.py, which imports them.
__all__ = [
    "FEATURES",
    "FLOOR_RATE",
    "HORIZONS_S",
    "PACKAGED",
    "SCHEMA_VERSION",
    "Artefact",
    "ArtefactError",
    "BarAdapter",
    "Baseline",
    "MlModel",
    "MlParameters",
    "Model",
    "ModelError",
    "SymbolForecasts",
    "packaged",
    "read_artefact",
    "write_artefact",
]
