"""A fitted model as a file: arrays and a JSON header, never code.

The file is a zip of .npy arrays (numpy's own format, read without pickle) and `meta.json`. The
digest is the SHA-256 of the file. It holds golden rows with the forecasts that the fit gave for
them; a reader that computes other numbers refuses the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import VolsvcError
from volsvc.features import ResidualLaws
from volsvc.models.base import Array
from volsvc.models.columns import FEATURES, HORIZONS_S, SCHEMA_VERSION
from volsvc.models.heads import Head
from volsvc.models.ml import MlModel, MlParameters, check_parameters

FORMAT: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024
# Other machines round logarithms in the last bit; a wrong model is off by much more.
GOLDEN_TOLERANCE: Final = 1e-9
PACKAGED: Final = Path(__file__).with_name("ml.npz")

# Errors that readers of zip, JSON and arrays raise on foreign bytes.
_FAULTS: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, MemoryError, RecursionError),
    *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
)


class ArtefactError(VolsvcError):
    """A file that is not a model artefact, or whose forecasts differ from those of its fit."""


@dataclass(frozen=True)
class Artefact:
    """A model with the facts of its fit: data, settings, packages, metrics."""

    model: MlModel
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_artefact(
    path: Path, parameters: MlParameters, version: str, golden: Array, facts: Mapping[str, Any]
) -> None:
    """Write fitted parameters; `golden` are the feature rows to check them by, (n, FEATURES)."""
    model = MlModel(parameters, version, "")
    arrays: dict[str, NDArray[np.generic]] = {"golden": golden}
    arrays["golden_variances"] = model.variances(golden, HORIZONS_S)
    arrays["spike_log_ratios"] = np.array(parameters.spike_log_ratios)
    for index in range(len(HORIZONS_S)):
        arrays[f"{index}.window"] = parameters.windows[index]
        arrays[f"{index}.residuals"] = parameters.laws[index].quantiles
        arrays[f"{index}.residual_probabilities"] = parameters.laws[index].cumulated
        head = parameters.heads[index].arrays()
        arrays |= {f"{index}.head.{name}": array for name, array in head.items()}
    meta = {
        "format": FORMAT,
        "variant": model.variant,
        "version": version,
        "schema_version": SCHEMA_VERSION,
        "features": FEATURES,
        "horizons_s": HORIZONS_S,
        "facts": facts,
    }
    with zipfile.ZipFile(path, "w") as file:
        _add(file, "meta.json", json.dumps(meta, indent=1).encode())
        # Sorted, so that the same fit gives the same bytes.
        for name, array in sorted(arrays.items()):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            _add(file, f"{name}.npy", buffer.getvalue())


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A ZipInfo of its own has a fixed date, so that the same model gives the same bytes.
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(info, data)


def read_artefact(path: Path, digest: str | None = None) -> Artefact:
    """Read and check a model; with `digest` (SHA-256) only a file with that digest.

    Raises ArtefactError with the fault.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtefactError(f"{path.name}: is larger than {MAX_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if digest is not None and found != digest:
        raise ArtefactError(f"{path.name}: its digest {found[:12]} is not {digest[:12]}")
    try:
        meta, arrays = _unzip(data)
        artefact = _artefact(meta, arrays, found)
        _check(path.name, artefact.model, arrays)
    except _FAULTS as error:
        raise ArtefactError(f"{path.name}: is not a model artefact: {error!r}") from error
    return artefact


# Read once a process, since every daemon that a test builds would hold tables of its own.
@cache
def packaged() -> Artefact:
    """Return the model that comes with the package.

    Raises ArtefactError.
    """
    return read_artefact(PACKAGED)


# Versions of models that earlier releases brought, by digest; registries hold them under numbers.
FORMER: Final = {"9dcb0978813b375060bd69983554f51137c3a38800c051f2be398df935b31b26": "1"}


@cache
def packaged_digest() -> str:
    """Return the SHA-256 of the packaged model's file; empty if it cannot be read."""
    try:
        return hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    except OSError:
        return ""


def _unzip(data: bytes) -> tuple[Mapping[str, Any], dict[str, NDArray[np.generic]]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        # A small file may unpack to any size.
        if sum(info.file_size for info in file.infolist()) > MAX_BYTES:
            raise ValueError(f"it holds more than {MAX_BYTES} bytes")
        meta = json.loads(file.read("meta.json"))
        for name in file.namelist():
            if name.endswith(".npy"):
                buffer = io.BytesIO(file.read(name))
                array = np.lib.format.read_array(buffer, allow_pickle=False)
                arrays[name.removesuffix(".npy")] = array
    if meta["format"] != FORMAT or meta["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"format {meta['format']}, schema version {meta['schema_version']}")
    if tuple(meta["features"]) != FEATURES or tuple(meta["horizons_s"]) != HORIZONS_S:
        raise ValueError("its features or horizons are not those of this version")
    return meta, arrays


def _artefact(
    meta: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]], digest: str
) -> Artefact:
    def head(index: int, horizon: float) -> Head:
        prefix = f"{index}.head."
        named = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        return Head.of_arrays(horizon, named)

    def vector(name: str) -> Array:
        return np.asarray(arrays[name], dtype=np.float64)

    indices = range(len(HORIZONS_S))
    parameters = MlParameters(
        heads=tuple(head(index, horizon) for index, horizon in enumerate(HORIZONS_S)),
        windows=tuple(vector(f"{index}.window") for index in indices),
        laws=tuple(
            ResidualLaws(vector(f"{index}.residuals"), vector(f"{index}.residual_probabilities"))
            for index in indices
        ),
        spike_log_ratios=tuple(vector("spike_log_ratios").tolist()),
    )
    return Artefact(MlModel(parameters, str(meta["version"]), digest), meta["facts"])


def _check(name: str, model: MlModel, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    faults = check_parameters(model.parameters)
    if faults:
        raise ArtefactError(f"{name}: {'; '.join(faults)}")
    expected = arrays["golden_variances"]
    # Without a golden row nothing would be proved.
    if not len(arrays["golden"]):
        raise ArtefactError(f"{name}: holds no golden rows to check it by")
    found = model.variances(np.asarray(arrays["golden"], dtype=np.float64), HORIZONS_S)
    if not np.allclose(found, expected, rtol=GOLDEN_TOLERANCE, atol=0.0):
        raise ArtefactError(f"{name}: its golden rows do not give their golden forecasts")
