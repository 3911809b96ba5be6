"""Candidates: what they are tried with, the limit of processor time, and pickles."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from volsvc.config.model import ModelSettings
from volsvc.domain import Forecast
from volsvc.models import FEATURES, PACKAGED, Baseline, Model, packaged
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Array
from volsvc.serving import candidate as module
from volsvc.serving.candidate import REFUSED, load_model, main, probe_rows

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


class SlowAtFirst(Busy):
    """A model whose first call needs more processor time than the budget."""

    called = False

    def predict(self, *args: Any) -> Forecast:
        if self.called:
            return Baseline.predict(self, *args)
        self.called = True
        return super().predict(*args)


class Watched(Baseline):
    """A model that notes what it is asked for; pickles of it note in the same list."""

    asked: ClassVar[list[tuple[Array, float]]] = []

    def predict(self, features: Array, horizon_s: float, *_: Any) -> Forecast:
        self.asked.append((features, horizon_s))
        return super().predict(features, horizon_s)


class Infinite(Baseline):
    """A model that gives one number that is not finite."""

    def __init__(self, field: str, value: float) -> None:
        super().__init__()
        self.field, self.value = field, value

    def predict(self, *args: Any) -> Forecast:
        forecast = super().predict(*args)
        array = getattr(forecast, self.field).copy()
        array[-1] = self.value
        return replace(forecast, **{self.field: array})


class Failing(Baseline):
    """A model whose variances are not numbers."""

    def head_variances(self, features: Array, count: int) -> Array:
        return np.full((len(features), count), np.nan)


class OtherSchema(Baseline):
    """A model of other features."""

    schema = FEATURES[:-1]


def pickled(model: object, folder: Path) -> tuple[Path, str]:
    """Write a pickle, and return its path and digest."""
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def load(model: object, folder: Path, **how: Any) -> Model:
    path, digest = pickled(model, folder)
    settings = ModelSettings(time_budget_ms=BUDGET_MS, allowed_pickles=(digest,))
    return load_model(path, how.pop("digest", None), "7", settings, **how)


def test_a_busy_machine_refuses_no_model(tmp_path: Path) -> None:
    """Time in which a candidate waits for a processor does not count."""
    assert load(Interrupted(), tmp_path).version == "7"


def test_a_costly_model_is_refused(tmp_path: Path) -> None:
    """A candidate over the budget is refused; the reason gives its time and the budget."""
    with pytest.raises(
        ArtefactError, match=r"^takes \d{2,} ms for 1 rows; model\.time_budget_ms is 40$"
    ):
        load(Busy(), tmp_path)


def test_time_to_load_kernels_does_not_count(tmp_path: Path) -> None:
    """A first call over the budget is made again, and refuses no model whose second is fast."""
    assert load(SlowAtFirst(), tmp_path).version == "7"


def test_the_budget_itself_is_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that takes exactly its budget may serve; the reason of another is in ms."""
    budget_s = BUDGET_MS / 1000
    for took_s, reason in ((budget_s, ""), (2.0, "takes 2000 ms for 1 rows; ")):
        clock = itertools.cycle((0.0, took_s))
        with monkeypatch.context() as patch:
            patch.setattr(time, "thread_time", lambda clock=clock: next(clock))
            if reason:
                with pytest.raises(ArtefactError, match=f"^{reason}"):
                    load(Baseline(), tmp_path)
            else:
                assert load(Baseline(), tmp_path).version == "7"


def test_a_pickle_of_classes_that_have_moved_is_refused(tmp_path: Path) -> None:
    """An error of unpickling is the candidate's: it is refused with a reason."""
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cvolsvc.models.ml\nNoLongerHere\n.")
    allowed = [hashlib.sha256(path.read_bytes()).hexdigest()]
    with pytest.raises(ArtefactError, match=r"cannot be read: .*NoLongerHere"):
        load_model(path, None, "7", ModelSettings(allowed_pickles=allowed))


# --- what a candidate is tried with -------------------------------------------------------


def test_rows_are_those_of_practice() -> None:
    """Three posted windows, and the same of live symbols: an ordinary level, quiet otherwise."""
    windows = ((0.0, 3e-5, 49.0, 10.0), (0.05, 0.01, 50.0, np.nan), (0.0, 0.0, 1.0, 0.0))
    seasons = {f"season_{seconds}s": 1.0 for seconds in (60, 300, 900, 3600)}
    # 4 basis points a minute.
    ordinary = {"level": 1.6e-7 / 60, **seasons}
    posted = [[*window, *[np.nan] * (len(FEATURES) - 4)] for window in windows]
    live = [[*window, *(ordinary.get(name, 0.0) for name in FEATURES[4:])] for window in windows]
    np.testing.assert_allclose(probe_rows(), [*posted, *live], rtol=1e-12)


@pytest.mark.parametrize(("verified", "counts"), [(False, [1, 10, 100, 1000]), (True, [1, 10])])
def test_calls_grow(verified: bool, counts: list[int], tmp_path: Path) -> None:
    """A new candidate forecasts up to a thousand rows at 60 s, a verified one a few."""
    # A call that has to load kernels is made again.
    Baseline().predict(probe_rows(), 60.0)
    Watched.asked.clear()
    model = load(Watched(), tmp_path, verified=verified)
    assert (model.variant, model.version) == ("ml", "7")
    assert [len(rows) for rows, _ in Watched.asked] == counts
    assert {horizon_s for _, horizon_s in Watched.asked} == {60.0}
    for rows, _ in Watched.asked:
        expected = probe_rows()[np.arange(len(rows)) % 6]
        np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["sigma2", "p_spike", "lo", "hi"])
def test_numbers_must_be_finite(field: str, value: float, tmp_path: Path) -> None:
    """One number of a forecast that is not finite refuses the model."""
    with pytest.raises(ArtefactError, match=r"^gives numbers that are not finite$"):
        load(Infinite(field, value), tmp_path)


def test_a_model_that_fails_is_refused(tmp_path: Path) -> None:
    """The reason is the model's own error."""
    with pytest.raises(ArtefactError, match=r"^ml-7 gives numbers that are not finite$"):
        load(Failing(), tmp_path)


def test_an_artefact_is_read_by_its_digest(tmp_path: Path) -> None:
    """The packaged model keeps its version under any number; another digest is another file."""
    known = packaged().model
    digest = known.digest
    model = load_model(PACKAGED, digest, "12", ModelSettings(), verified=True)
    assert (model.variant, model.version, model.digest) == ("ml", known.version, digest)
    with pytest.raises(ArtefactError, match=f"digest {digest[:12]} is not {'0' * 12}"):
        load_model(PACKAGED, "0" * 64, "12", ModelSettings())


def test_a_fault_of_the_machine_is_none_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read now, and a lack of memory, are no verdicts."""
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.npz", None, "7", ModelSettings())

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("numpy.lib.format.read_array", exhausted)
    with pytest.raises(MemoryError):
        load_model(PACKAGED, None, "7", ModelSettings())
    monkeypatch.setattr("pickle.loads", exhausted)
    path, digest = pickled(Baseline(), tmp_path)
    with pytest.raises(MemoryError):
        load_model(path, None, "7", ModelSettings(allowed_pickles=(digest,)))


# --- pickles ------------------------------------------------------------------------------


def test_a_pickle_is_read_if_the_operator_names_it(tmp_path: Path) -> None:
    """Without its digest in the settings it is not opened; the reason gives the digest."""
    path, digest = pickled(Baseline(), tmp_path)
    with pytest.raises(
        ArtefactError, match=f"is a pickle, and model.allowed_pickles does not name {digest}"
    ):
        load_model(path, None, "7", ModelSettings(allowed_pickles=("0" * 64,)))
    model = load(Baseline(), tmp_path, digest=digest)
    assert (model.variant, model.version, model.digest) == ("ml", "7", digest)


def test_a_pickle_of_another_digest_is_refused(tmp_path: Path) -> None:
    """It is not the file that was registered."""
    _, digest = pickled(Baseline(), tmp_path)
    with pytest.raises(ArtefactError, match=f"^its digest {digest[:12]} is not {'f' * 12}$"):
        load(Baseline(), tmp_path, digest="f" * 64)


@pytest.mark.parametrize("what", [OtherSchema(), "a text", Baseline])
def test_a_pickle_must_hold_a_model_of_this_schema(what: object, tmp_path: Path) -> None:
    """Neither a model of other features nor anything else may serve."""
    with pytest.raises(ArtefactError, match=r"^the pickle holds no model of this schema$"):
        load(what, tmp_path)


def test_the_size_of_a_pickle_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle of the limit is read, and one byte more is refused before it is read."""
    path, _ = pickled(Baseline(), tmp_path)
    size = path.stat().st_size
    monkeypatch.setattr(module, "MAX_BYTES", size)
    assert load(Baseline(), tmp_path).version == "7"
    monkeypatch.setattr(module, "MAX_BYTES", size - 1)
    with pytest.raises(ArtefactError, match=f"the pickle is larger than {size - 1} bytes"):
        load(Baseline(), tmp_path)


# --- the process that verifies ------------------------------------------------------------


def verify(*arguments: str) -> tuple[int | str | None, int]:
    """Return the exit code and the niceness of a process with these arguments.

    It runs as a thread: on Linux a thread has a niceness of its own.
    """

    def run() -> tuple[int | str | None, int]:
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(sys, "argv", ["candidate", *arguments])
        return thread.submit(run).result()


def test_a_good_file_ends_the_process_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is tried as a new one, at low priority; the digest may be empty."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    path, digest = pickled(Watched(), tmp_path)
    settings = ModelSettings(allowed_pickles=(digest,)).model_dump_json()
    for given in (digest, ""):
        Watched.asked.clear()
        assert verify(str(path), given, settings) == (0, min(before + 10, 19))
        assert len(Watched.asked) == 4
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("given", ["", "0" * 64])
def test_a_bad_file_ends_the_process_with_a_reason(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is on standard error: a damaged file, or another digest."""
    path = tmp_path / "new.npz"
    shutil.copyfile(PACKAGED, path)
    if not given:
        path.write_bytes(path.read_bytes()[:-1000])
    code, _ = verify(str(path), given, ModelSettings().model_dump_json())
    out, err = capsys.readouterr()
    assert (code, out) == (REFUSED, "")
    expected = "is not 000000000000" if given else "new.npz: is not a model artefact"
    assert expected in err


def test_a_model_that_fails_is_named_as_a_candidate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its number is not known to the process; its settings are the daemon's."""
    path, digest = pickled(Failing(), tmp_path)
    for allowed, expected in (
        ((digest,), "ml-candidate gives numbers that are not finite\n"),
        ((), f"is a pickle, and model.allowed_pickles does not name {digest}\n"),
    ):
        settings = ModelSettings(allowed_pickles=allowed).model_dump_json()
        assert verify(str(path), digest, settings)[0] == REFUSED
        assert capsys.readouterr().err == expected
