"""The models that a first run registers, read by MLflow's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.daemon import command, eventually, running
from tests.simulated import constant, write_bars
from volsvc.models import FEATURES, HORIZONS_S, PACKAGED, Baseline, packaged
from volsvc.serving.mlflow_registry import Registry, RegistryError, candidates_of

pytestmark = [
    # MLflow's own, not ours.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a sqlite store with the packaged models.

    It serves the whole module, because creating its tables takes seconds.
    """
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    register = [sys.executable, "-m", "volsvc.serving.mlflow_registry", "volsvc"]
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    subprocess.run(register, env=env, check=True, timeout=200, cwd=folder)
    return uri


def test_two_variants_with_metrics(store: str) -> None:
    """Both variants are registered under their aliases, with the metrics of their runs."""
    client = mlflow.MlflowClient(store)
    for variant in ("baseline", "ml"):
        version = client.get_model_version_by_alias("volsvc", variant)
        run = client.get_run(str(version.run_id))
        assert run.data.tags["variant"] == variant
        assert {f"held_out_qlike_{h:g}s" for h in HORIZONS_S} <= set(run.data.metrics)
    digest = packaged().model.digest
    assert client.get_model_version_by_alias("volsvc", "ml").tags["volsvc.digest"] == digest
    run_id = client.get_model_version_by_alias("volsvc", "ml").run_id
    params = client.get_run(str(run_id)).data.params
    assert int(params["data"]) == len(packaged().facts["data"])
    assert params["spec.seed"]


@pytest.mark.parametrize("variant", ["baseline", "ml"])
def test_loaded_model_forecasts_as_the_daemon(variant: str, store: str) -> None:
    """A model that MLflow loads by alias forecasts as the daemon, to the last bit."""
    mlflow.set_tracking_uri(store)
    loaded = mlflow.pyfunc.load_model(f"models:/volsvc@{variant}")
    model = Baseline() if variant == "baseline" else packaged().model
    golden = golden_rows()
    for horizon in HORIZONS_S:
        theirs = loaded.predict(
            pd.DataFrame(golden, columns=list(FEATURES)), params={"horizon_s": horizon}
        )
        ours = model.predict(golden, horizon)
        assert theirs["sigma"].to_numpy().tobytes() == np.sqrt(ours.sigma2).tobytes()
        assert theirs["score"].to_numpy().tobytes() == ours.p_spike.tobytes()
        assert theirs["lo"].to_numpy().tobytes() == ours.lo.tobytes()


def golden_rows() -> np.ndarray[Any, Any]:
    with np.load(PACKAGED, allow_pickle=False) as file:
        return np.asarray(file["golden"])


async def test_batch_scoring_by_a_registered_model(store: str, tmp_path: Path) -> None:
    """`volsvc forecast` uses a registered version; that of the packaged model has its name."""
    write_bars(tmp_path / "AAA-USD.csv", constant(5e-4, 120), seed=1)
    results = []
    # The proof of a model takes as long as a busy machine makes it.
    env = {"MLFLOW_TRACKING_URI": store, "VOLSVC_MODEL__LOAD_TIMEOUT_S": "60"}
    for model in ("registry", "ml"):
        arguments = ("--data", "AAA-USD.csv", "--out", f"{model}.csv", "--model", model)
        code, _, err = await command("forecast", *arguments, cwd=tmp_path, env=env)
        assert code == 0, err
        frame = pd.read_csv(tmp_path / f"{model}.csv", dtype={"version": str})
        results.append(frame)
    assert results[0].equals(results[1])
    missing = ("--data", "AAA-USD.csv", "--out", "x.csv", "--model", "registry:99")
    code, _, err = await command("forecast", *missing, cwd=tmp_path, env=env)
    assert code == 1
    assert "no version '99'" in err


def test_registering_again_changes_nothing(store: str) -> None:
    """Models are found by their digest, so no second version appears."""
    registry = Registry(store, "volsvc")
    before = len(mlflow.MlflowClient(store).search_model_versions("name = 'volsvc'"))
    for candidate in candidates_of(packaged(), PACKAGED):
        registry.register(candidate)
    after = len(mlflow.MlflowClient(store).search_model_versions("name = 'volsvc'"))
    assert before == after == 2


def test_a_registry_that_is_away_raises_soon() -> None:
    """A registry that does not answer raises RegistryError within seconds."""
    (baseline, _) = candidates_of(packaged(), PACKAGED)
    with pytest.raises(RegistryError, match="refuses"):
        Registry("http://127.0.0.1:9", "volsvc").register(baseline)


async def test_first_run_registers_the_packaged_models(tmp_path: Path) -> None:
    """`volsvc run` creates the registry; `ml` serves before that, and is the same afterwards."""
    # MLflow's client in this process has put its own store into the environment.
    env = {
        "VOLSVC_MODEL__IMPORT_PACKAGED": "true",
        "VOLSVC_MODEL__POLL_S": "0.2",
        "MLFLOW_TRACKING_URI": "",
    }
    async with running(env=env, cwd=tmp_path) as daemon:
        first = await daemon.get("/version")
        assert first["model"] == f"ml-{packaged().model.version}"

        async def registered() -> bool:
            checks = (await daemon.get("/health"))["checks"]
            return "are in volsvc" in checks.get("registry", {}).get("detail", "")

        await eventually(registered, 200, "the packaged models are registered")
        note = tmp_path / "var" / "models" / "last-good.json"

        async def followed() -> bool:
            return note.exists() and json.loads(note.read_text())["seen"] == "2"

        await eventually(followed, 20, "the alias is followed")
        assert await daemon.get("/version") == first
        entries = (await daemon.get("/models/history"))["entries"]
        assert [(entry["kind"], entry["model"]) for entry in entries] == [("start", first["model"])]
        assert await daemon.metric("volsvc_model_swaps_total") == 0
        assert await daemon.stop() == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'var' / 'mlflow.db'}")
    assert str(client.get_model_version_by_alias("volsvc", "ml").version) == "2"
