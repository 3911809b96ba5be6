"""Artefacts: the packaged one, and files that are refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volsvc.features import ResidualLaws
from volsvc.models import (
    FEATURES,
    HORIZONS_S,
    PACKAGED,
    ArtefactError,
    ModelError,
    packaged,
    read_artefact,
    write_artefact,
)
from volsvc.models.artefact import MAX_BYTES
from volsvc.models.heads import Head

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
    before, after = artefact.model.parameters, again.parameters
    assert after.spike_log_ratios == before.spike_log_ratios
    for mine, other in zip(after.laws, before.laws, strict=True):
        assert mine.quantiles.tobytes() == other.quantiles.tobytes()
        assert mine.cumulated.tobytes() == other.cumulated.tobytes()
    assert (again.version, read_artefact(paths[0]).facts) == ("1", artefact.facts)


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


def nudge_hardly(parts: Entries) -> None:
    weights = array_of(parts["1.head.weights.npy"])
    parts["1.head.weights.npy"] = bytes_of(weights * (1 + 1e-7))


def pickled(parts: Entries) -> None:
    parts["0.head.slope.npy"] = bytes_of(np.array([print], dtype=object))


def falling(parts: Entries) -> None:
    window = array_of(parts["0.window.npy"])
    parts["0.window.npy"] = bytes_of(np.array([window[0], -1.0, *window[2:]]))


def two_faults(parts: Entries) -> None:
    falling(parts)
    parts["1.window.npy"] = bytes_of(array_of(parts["0.window.npy"]))


def without_golden(parts: Entries) -> None:
    for name in ("golden.npy", "golden_variances.npy"):
        parts[name] = bytes_of(array_of(parts[name])[:0])


FAULTS: dict[str, tuple[Callable[[Entries], None], str]] = {
    "cut": (cut, "not a model artefact"),
    "lost": (lose, "not a model artefact"),
    "schema": (other_schema, "schema version 1"),
    "features": (other_features, r"ValueError\('its features or horizons are not those of this"),
    "nan": (poison, "not finite"),
    "golden": (nudge, r"^m\.npz: its golden rows do not give their golden forecasts$"),
    "hardly": (nudge_hardly, r"^m\.npz: its golden rows do not give their golden forecasts$"),
    "no golden": (without_golden, r"^m\.npz: holds no golden rows to check it by$"),
    "pickle": (pickled, "not a model artefact: .*Object arrays cannot be loaded"),
    "falling": (falling, "^m.npz: the window line of 60 s falls with ret_std$"),
    "two": (two_faults, "60 s falls with ret_std; the window line of 300 s falls with ret_std$"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(fault: str, tmp_path: Path) -> None:
    """A file that is damaged, foreign or altered is refused with its fault."""
    change, message = FAULTS[fault]
    parts = entries()
    change(parts)
    with pytest.raises(ArtefactError, match=message):
        read_artefact(packed(parts, tmp_path / "m.npz"))


def test_a_file_has_the_facts_in_front(tmp_path: Path) -> None:
    """It begins with its header, in lines that can be read; all entries are compressed."""
    artefact, golden = packaged(), array_of(entries()["golden.npy"])
    write_artefact(tmp_path / "m.npz", artefact.model.parameters, "8", golden, {"data": "days"})
    with zipfile.ZipFile(tmp_path / "m.npz") as file:
        infos, text = file.infolist(), file.read("meta.json").decode()
    assert infos[0].filename == "meta.json"
    assert {info.compress_type for info in infos} == {zipfile.ZIP_DEFLATED}
    assert json.loads(text) == {
        "format": 1,
        "variant": "ml",
        "version": "8",
        "schema_version": 2,
        "features": list(FEATURES),
        "horizons_s": list(HORIZONS_S),
        "facts": {"data": "days"},
    }
    assert '\n "version": "8",\n' in text


def test_files_that_unpack_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file is not unpacked if what it holds is larger than a model may be."""
    small = PACKAGED.stat().st_size
    monkeypatch.setattr("volsvc.models.artefact.MAX_BYTES", small)
    with pytest.raises(ArtefactError, match=f"it holds more than {small} bytes"):
        read_artefact(PACKAGED)
    whole = sum(len(data) for data in entries().values())
    monkeypatch.setattr("volsvc.models.artefact.MAX_BYTES", whole)
    assert read_artefact(PACKAGED).model.digest == packaged().model.digest


class Touch:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        """Return the call that unpickling makes."""
        return Path.touch, (self._path,)


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    """A pickle is not loaded, not even to find that it holds no numbers."""
    marked = tmp_path / "ran"
    parts = {**entries(), "0.head.slope.npy": bytes_of(np.array([Touch(marked)], dtype=object))}
    with pytest.raises(ArtefactError, match="not a model artefact"):
        read_artefact(packed(parts, tmp_path / "m.npz"))
    assert not marked.exists()


def test_a_fit_that_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    """Objects are not pickled, and golden rows need a finite forecast."""
    path, fit = tmp_path / "m.npz", packaged().model.parameters
    golden = array_of(entries()["golden.npy"])
    odd = [ResidualLaws(law.quantiles, law.cumulated.astype(object)) for law in fit.laws]
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_artefact(path, replace(fit, laws=tuple(odd)), "8", golden, {})
    with pytest.raises(ModelError, match="ml-8 gives numbers that are not finite"):
        write_artefact(path, fit, "8", np.full_like(golden, np.nan), {})


def test_arrays_of_other_precision_are_read_as_doubles(tmp_path: Path) -> None:
    """Numbers that fit into single precision may be stored so."""
    path, artefact = tmp_path / "m.npz", packaged()
    golden = array_of(entries()["golden.npy"]).astype(np.float32)
    write_artefact(path, artefact.model.parameters, "1", golden.astype(np.float64), {})
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    residuals = array_of(parts["0.residuals.npy"]).astype(np.float32)
    parts |= {"golden.npy": bytes_of(golden), "0.residuals.npy": bytes_of(residuals)}
    law = read_artefact(packed(parts, path)).model.parameters.laws[0]
    assert law.quantiles.dtype == np.float64
    assert (law.quantiles == residuals).all()
    head = artefact.model.parameters.heads[0]
    single = Head.of_arrays(60.0, {**head.arrays(), "weights": head.weights.astype(np.float32)})
    assert single.weights.dtype == np.float64


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A file of another digest is refused, and so are missing, foreign and large files."""
    good = packaged().model.digest
    assert read_artefact(PACKAGED, digest=good).model.digest == good
    with pytest.raises(ArtefactError, match=f"its digest {good[:12]} is not {'0' * 12}$"):
        read_artefact(PACKAGED, digest="0" * 64)
    with pytest.raises(ArtefactError, match=r"none\.npz: cannot be read: No such file"):
        read_artefact(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ArtefactError, match="not a model artefact"):
        read_artefact(tmp_path / "text.npz")
    large = tmp_path / "large.npz"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ArtefactError, match="larger"):
        read_artefact(large)
