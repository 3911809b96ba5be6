"""A registered model as MLflow runs it: data frames in and out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from volsvc.models import FEATURES, HORIZONS_S, PACKAGED, Baseline, Model, packaged
from volsvc.serving.candidate import probe_rows

with warnings.catch_warnings():
    # MLflow warns of the types of classes, its own and ours.
    warnings.simplefilter("ignore")
    from mlflow.pyfunc.model import PythonModelContext

    from volsvc.serving.pyfunc import VolsvcModel

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = probe_rows()
FRAME = pd.DataFrame(ROWS, columns=list(FEATURES))


def loaded(artifacts: dict[str, str]) -> tuple[VolsvcModel, PythonModelContext]:
    context = PythonModelContext(artifacts=artifacts, model_config={})  # type: ignore[no-untyped-call]
    model = VolsvcModel()
    model.load_context(context)
    return model, context


@pytest.mark.parametrize("horizon_s", HORIZONS_S)
@pytest.mark.parametrize("variant", ["baseline", "ml"])
def test_a_registered_model_forecasts_as_its_artefact(variant: str, horizon_s: float) -> None:
    """Every column is the daemon's number to the last bit; the baseline needs no artefact."""
    model, context = loaded({"artefact": str(PACKAGED)} if variant == "ml" else {})
    expected: Model = packaged().model if variant == "ml" else Baseline()
    assert model.model.digest == expected.digest
    forecast = expected.predict(ROWS, horizon_s)
    found = model.predict(context, FRAME, {"horizon_s": horizon_s})
    columns = {
        "sigma": np.sqrt(forecast.sigma2),
        "lo": forecast.lo,
        "hi": forecast.hi,
        "threshold": forecast.threshold,
        "score": forecast.p_spike,
    }
    pd.testing.assert_frame_equal(found, pd.DataFrame(columns), check_exact=True)


@pytest.mark.parametrize("params", [None, {}, {"other": 300.0}])
def test_the_usual_horizon_is_a_minute(params: dict[str, Any] | None) -> None:
    """Callers that give no horizon get forecasts at 60 s."""
    model, context = loaded({})
    expected = model.predict(context, FRAME, {"horizon_s": 60})
    pd.testing.assert_frame_equal(model.predict(context, FRAME, params), expected)
    assert not expected.equals(model.predict(context, FRAME, {"horizon_s": 300}))


def test_columns_may_come_in_any_order_and_number() -> None:
    """A column that is missing counts as unknown, and others are ignored; text is read."""
    model, context = loaded({})
    posted = FRAME[:3]
    expected = model.predict(context, posted)
    shuffled = posted[["span_s", "n", "ret_std", "ret_mean"]].assign(other=1.0)
    pd.testing.assert_frame_equal(model.predict(context, shuffled), expected)
    pd.testing.assert_frame_equal(model.predict(context, shuffled.astype("object")), expected)
