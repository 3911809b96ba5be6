"""Models that version 1.0.0 registered still load, by MLflow and by the daemon's loader."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.registry.store import ML_1, golden, store_of_1_0_0
from volsvc.config.settings import Settings, load_settings
from volsvc.models import FEATURES, HORIZONS_S, Baseline, Model, read_artefact
from volsvc.serving.factory import registered_model
from volsvc.serving.model_choice import BASELINE

# MLflow warns if the Python or the volsvc of the model is not the one that loads it.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a daemon that reads the store of 1.0.0."""
    data = {"data_dir": tmp_path / "var"}
    model = {"tracking_uri": store_of_1_0_0(tmp_path), "load_timeout_s": 60}
    return load_settings(None, {"service": data, "model": model})


@pytest.mark.parametrize("variant", ["baseline", "ml"])
@pytest.mark.usefixtures("settings")
def test_mlflow_loads_it(variant: str, tmp_path: Path) -> None:
    """MLflow runs the code that 1.0.0 logged; its forecasts are ours."""
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "registry" / variant))
    model: Model = Baseline() if variant == "baseline" else read_artefact(ML_1).model
    rows = golden()
    for horizon_s in HORIZONS_S:
        frame = pd.DataFrame(rows, columns=list(FEATURES))
        theirs = loaded.predict(frame, params={"horizon_s": horizon_s})
        ours = model.predict(rows, horizon_s)
        assert theirs["sigma"].to_numpy().tobytes() == np.sqrt(ours.sigma2).tobytes()
        for column, array in (("lo", ours.lo), ("hi", ours.hi), ("score", ours.p_spike)):
            assert theirs[column].to_numpy().tobytes() == array.tobytes()


async def test_the_loader_loads_it(settings: Settings) -> None:
    """The alias resolves to the version of 1.0.0, which is verified and has its name."""
    loaded, model, rows = (
        await registered_model(settings, None),
        read_artefact(ML_1).model,
        golden(),
    )
    # The registry's number is 2.
    assert (loaded.variant, loaded.version, loaded.digest) == ("ml", "1", model.digest)
    for horizon_s in HORIZONS_S:
        theirs, ours = loaded.predict(rows, horizon_s), model.predict(rows, horizon_s)
        assert theirs.sigma2.tobytes() == ours.sigma2.tobytes()
        assert theirs.p_spike.tobytes() == ours.p_spike.tobytes()
    assert await registered_model(settings, "1") is BASELINE
