"""Our models as MLflow loads them: this file is the model's code, the artefact is its data.

MLflow copies it beside the artefact and runs it where the model is loaded; nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from volsvc.models import FEATURES, HORIZONS_S, Baseline, Model, read_artefact


class VolsvcModel(PythonModel):
    """A data frame of named features in, a data frame of forecasts out."""

    model: Model

    def load_context(self, context: Any) -> None:
        """Read the artefact; the baseline has none."""
        path = context.artifacts.get("artefact")
        self.model = read_artefact(Path(path)).model if path else Baseline()

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Forecasts at `params["horizon_s"]` (60 s unless given), one a row.

        Columns that are missing count as not known.
        """
        horizon_s = float((params or {}).get("horizon_s", HORIZONS_S[0]))
        matrix = model_input.reindex(columns=list(FEATURES)).to_numpy(dtype=np.float64)
        forecast = self.model.predict(matrix, horizon_s)
        return pd.DataFrame(
            {
                "sigma": np.sqrt(forecast.sigma2),
                "lo": forecast.lo,
                "hi": forecast.hi,
                "threshold": forecast.threshold,
                "score": forecast.p_spike,
            }
        )


set_model(VolsvcModel())
