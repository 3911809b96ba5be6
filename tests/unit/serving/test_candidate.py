"""Candidates: the limit of processor time, and pickles that cannot be read."""

from __future__ import annotations

import hashlib
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from volsvc.config.model import ModelSettings
from volsvc.domain import Forecast
from volsvc.models import Baseline, Model
from volsvc.models.artefact import ArtefactError
from volsvc.serving.candidate import load_model

BUDGET_MS = 40.0


class Interrupted(Baseline):
    """A model whose thread does not run for a while, as on a busy machine."""

    def predict(self, *args: Any) -> Forecast:
        time.sleep(2 * BUDGET_MS / 1000)
        return super().predict(*args)


class Busy(Baseline):
    """A model that needs more processor time than the budget."""

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
    """Time in which a candidate waits for a processor does not count."""
    assert load(Interrupted(), tmp_path).version == "7"


def test_a_costly_model_is_refused(tmp_path: Path) -> None:
    """A candidate over the budget is refused; the reason gives its time and the budget."""
    with pytest.raises(ArtefactError, match=r"takes \d+ ms for 1 rows; .*time_budget_ms is 40"):
        load(Busy(), tmp_path)


def test_a_pickle_of_classes_that_have_moved_is_refused(tmp_path: Path) -> None:
    """An error of unpickling is the candidate's: it is refused with a reason."""
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cvolsvc.models.ml\nNoLongerHere\n.")
    allowed = [hashlib.sha256(path.read_bytes()).hexdigest()]
    with pytest.raises(ArtefactError, match=r"cannot be read: .*NoLongerHere"):
        load_model(path, None, "7", ModelSettings(allowed_pickles=allowed))
