"""Artefacts: the packaged one, and files that are refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volsvc.models import (
    FEATURES,
    HORIZONS_S,
    PACKAGED,
    ArtefactError,
    packaged,
    read_artefact,
    write_artefact,
)
from volsvc.models.artefact import MAX_BYTES

Entries = dict[str, bytes]


def entries() -> Entries:
    with zipfile.ZipFile(PACKAGED) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(parts: Entries, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return path


def array_of(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def bytes_of(array: object) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)  # type: ignore[arg-type]
    return out.getvalue()


def test_packaged_model() -> None:
    """It is small, records the facts of its fit, and beats the baseline on held-out rows."""
    artefact = packaged()
    assert PACKAGED.stat().st_size < 4_000_000
    assert artefact.model.variant == "ml"
    assert {"trained_until", "data", "spec", "packages", "metrics"} <= set(artefact.facts)
    assert artefact.model.schema == FEATURES
    for figures in artefact.facts["metrics"].values():
        assert figures["ml"]["held_out_qlike"] < figures["baseline"]["held_out_qlike"]


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    """Parameters that were read and written again give the same bytes and the same forecasts."""
    artefact = packaged()
    golden = array_of(entries()["golden.npy"])
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        write_artefact(path, artefact.model.parameters, "1", golden, artefact.facts)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    again = read_artefact(paths[0]).model
    first, second = (model.variances(golden, HORIZONS_S) for model in (artefact.model, again))
    assert first.tobytes() == second.tobytes()


def cut(parts: Entries) -> None:
    parts["meta.json"] = parts["meta.json"][:-20]


def lose(parts: Entries) -> None:
    del parts["2.head.slope.npy"]


def other_schema(parts: Entries) -> None:
    meta = json.loads(parts["meta.json"])
    parts["meta.json"] = json.dumps({**meta, "schema_version": 1}).encode()


def other_features(parts: Entries) -> None:
    meta = json.loads(parts["meta.json"])
    parts["meta.json"] = json.dumps({**meta, "features": meta["features"][::-1]}).encode()


def poison(parts: Entries) -> None:
    slope = array_of(parts["0.head.slope.npy"])
    parts["0.head.slope.npy"] = bytes_of(np.full_like(slope, np.nan))


def nudge(parts: Entries) -> None:
    weights = array_of(parts["1.head.weights.npy"])
    parts["1.head.weights.npy"] = bytes_of(weights * 1.001)


def pickled(parts: Entries) -> None:
    parts["0.head.slope.npy"] = bytes_of(np.array([print], dtype=object))


def falling(parts: Entries) -> None:
    window = array_of(parts["0.window.npy"])
    parts["0.window.npy"] = bytes_of(np.array([window[0], -1.0, *window[2:]]))


FAULTS: dict[str, tuple[Callable[[Entries], None], str]] = {
    "cut": (cut, "not a model artefact"),
    "lost": (lose, "not a model artefact"),
    "schema": (other_schema, "schema version 1"),
    "features": (other_features, "not those of this version"),
    "nan": (poison, "not finite"),
    "golden": (nudge, "golden"),
    "pickle": (pickled, "not a model artefact"),
    "falling": (falling, "falls with ret_std"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(fault: str, tmp_path: Path) -> None:
    """A file that is damaged, foreign or altered is refused with its fault."""
    change, message = FAULTS[fault]
    parts = entries()
    change(parts)
    with pytest.raises(ArtefactError, match=message):
        read_artefact(packed(parts, tmp_path / "m.npz"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A file of another digest is refused, and so are missing, foreign and large files."""
    good = packaged().model.digest
    assert read_artefact(PACKAGED, digest=good).model.digest == good
    with pytest.raises(ArtefactError, match="digest"):
        read_artefact(PACKAGED, digest="0" * 64)
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_artefact(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ArtefactError, match="not a model artefact"):
        read_artefact(tmp_path / "text.npz")
    large = tmp_path / "large.npz"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ArtefactError, match="larger"):
        read_artefact(large)
