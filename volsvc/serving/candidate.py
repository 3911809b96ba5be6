"""Verifies, measures and warms up a model before it may serve.

A new file of a registry is first verified in a process of its own
(`python -m volsvc.serving.candidate`), which delays no request and can be ended if the candidate is
slow.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from volsvc.config.model import ModelSettings
from volsvc.models.artefact import (
    FORMER,
    MAX_BYTES,
    ArtefactError,
    packaged,
    packaged_digest,
    read_artefact,
)
from volsvc.models.base import Array, Model, ModelError
from volsvc.models.columns import FEATURES, HORIZONS_S, PRIOR_LEVEL_RATE, SCALES_FROM

# The exit code of a process that has judged a file. Python itself ends with 1 and 2.
REFUSED: Final = 3
_WINDOWS: Final = ((0.0, 3e-5, 49.0, 10.0), (0.05, 0.01, 50.0, np.nan), (0.0, 0.0, 1.0, 0.0))
# Calls of rising size, so that a slow model is found before it has held a thread for long.
_ROWS: Final = (1, 10, 100, 1000)
# Few, for a file that was verified before: requests are forecast beside it.
_WARM_ROWS: Final = _ROWS[:2]


def load_model(
    path: Path, digest: str | None, version: str, settings: ModelSettings, *, verified: bool = False
) -> Model:
    """Read, verify and warm up a candidate; it blocks, so call it in a thread.

    A candidate that was `verified` elsewhere is tried with few rows. Raises ArtefactError with the
    reason for which it must not serve; OSError or MemoryError say nothing about the candidate.
    """
    if path.suffix == ".pkl":
        model = _unpickle(path, digest, settings.allowed_pickles)
    else:
        model = _read(path, digest)
    model.version = _version(model.digest, version)
    try:
        _try_out(model, settings.time_budget_ms / 1000, _WARM_ROWS if verified else _ROWS)
    except ModelError as error:
        raise ArtefactError(str(error)) from error
    return model


def _read(path: Path, digest: str | None) -> Model:
    try:
        return read_artefact(path, digest).model
    except ArtefactError as error:
        if isinstance(error.__cause__, OSError | MemoryError):
            raise error.__cause__ from None
        raise


def _version(digest: str, registered: str) -> str:
    """Return the version of a model: that of its file if it is, or was, the packaged one.

    That one serves before a registry has given it a number, and stays the same model with one.
    """
    if digest == packaged_digest():
        return packaged().model.version
    return FORMER.get(digest, registered)


def _unpickle(path: Path, digest: str | None, allowed: Collection[str]) -> Model:
    """Return a pickled Model; raises ArtefactError unless the operator has allowed its digest.

    Unpickling runs code of the file.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ArtefactError(f"the pickle is larger than {MAX_BYTES} bytes")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found not in allowed:
        raise ArtefactError(f"is a pickle, and model.allowed_pickles does not name {found}")
    if digest is not None and digest != found:
        raise ArtefactError(f"its digest {found[:12]} is not {digest[:12]}")
    try:
        model = pickle.loads(data)  # noqa: S301 - the operator has allowed this digest
    except MemoryError:
        raise
    except Exception as error:
        # Code of the file runs, and classes may have moved since: any error is the candidate's.
        raise ArtefactError(f"the pickle cannot be read: {error!r}") from error
    if not isinstance(model, Model) or tuple(model.schema) != FEATURES:
        raise ArtefactError("the pickle holds no model of this schema")
    model.variant, model.digest = "ml", found
    return model


def probe_rows() -> Array:
    """Return rows as in practice: posted windows, and the ordinary state of a live symbol."""
    rows = np.full((2 * len(_WINDOWS), len(FEATURES)), np.nan)
    for index, window in enumerate(_WINDOWS):
        rows[index, : len(window)] = window
    live = rows[len(_WINDOWS) :]
    live[:, :SCALES_FROM] = _WINDOWS
    live[:, SCALES_FROM:] = 0.0
    live[:, FEATURES.index("level")] = PRIOR_LEVEL_RATE
    live[:, [n.startswith("season_") and n.endswith("s") for n in FEATURES]] = 1.0
    return rows


def _try_out(model: Model, budget_s: float, counts: Sequence[int]) -> None:
    """Forecast rows, which also warms the model up.

    Raises ArtefactError if a result is not finite or takes longer than the budget. The budget is
    processor time of the thread, so that a busy machine refuses no good model.
    """
    rows = np.resize(probe_rows(), (counts[-1], len(FEATURES)))
    for count in counts:
        took = _predict(model, rows[:count])
        # The first call may have loaded or compiled kernels, which is not the model's time.
        if took > budget_s and (took := _predict(model, rows[:count])) > budget_s:
            raise ArtefactError(
                f"takes {took * 1000:.0f} ms for {count} rows; model.time_budget_ms is "
                f"{budget_s * 1000:g}"
            )


def _predict(model: Model, rows: Array) -> float:
    """Forecast rows, and return the processor time in seconds.

    Raises ArtefactError if a result is not finite.
    """
    started = time.thread_time()
    forecast = model.predict(rows, HORIZONS_S[0])
    took = time.thread_time() - started
    _check_finite((forecast.sigma2, forecast.p_spike, forecast.lo, forecast.hi))
    return took


def _check_finite(arrays: Sequence[Array]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise ArtefactError("gives numbers that are not finite")


def main() -> None:
    """Verify a file; the arguments are its path, its digest or empty, and settings as JSON.

    The exit code is 0, or REFUSED with the reason as the last line of the errors. Any other one is
    no verdict.
    """
    # The daemon that waits for the result serves requests meanwhile.
    os.nice(10)
    path, digest, settings = sys.argv[1:]
    try:
        model_settings = ModelSettings.model_validate_json(settings)
        load_model(Path(path), digest or None, "candidate", model_settings)
    except ArtefactError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
