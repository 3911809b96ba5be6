"""What a candidate may cost before it serves."""

from __future__ import annotations

import hashlib
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from volsvc.config.settings import ModelSettings
from volsvc.domain import Forecast
from volsvc.models import Baseline, Model
from volsvc.models.artefact import ArtefactError
from volsvc.serving.candidate import load_model

BUDGET_MS = 40.0


class Interrupted(Baseline):
    """As on a machine that has other things to do for a while."""

    def predict(self, *args: Any) -> Forecast:
        time.sleep(2 * BUDGET_MS / 1000)
        return super().predict(*args)


class Busy(Baseline):
    """Needs more of a processor than it may."""

    def predict(self, *args: Any) -> Forecast:
        until = time.thread_time() + 1.1 * BUDGET_MS / 1000
        while time.thread_time() < until:
            pass
        return super().predict(*args)


def load(model: Model, folder: Path) -> Model:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    allowed = [hashlib.sha256(path.read_bytes()).hexdigest()]
    settings = ModelSettings(time_budget_ms=BUDGET_MS, allowed_pickles=allowed)
    return load_model(path, None, "7", settings)


def test_a_busy_machine_refuses_no_model(tmp_path: Path) -> None:
    """What else the machine does is not held against a candidate."""
    assert load(Interrupted(), tmp_path).version == "7"


def test_a_costly_model_is_refused(tmp_path: Path) -> None:
    """More processor time than the budget is refused, with both of them in the reason."""
    with pytest.raises(ArtefactError, match=r"takes \d+ ms for 1 rows; .*time_budget_ms is 40"):
        load(Busy(), tmp_path)
