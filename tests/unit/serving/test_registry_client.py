"""Versions of a registry in their order, and the one artefact among a version's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.models import ArtefactError
from volsvc.serving import registry_client as module
from volsvc.serving.registry_client import (
    RegisteredVersion,
    RegistryAwayError,
    copy_artefact,
    newest_first,
    single_artefact,
)


@given(st.permutations(range(1, 13)))
def test_the_newest_version_comes_first(numbers: list[int]) -> None:
    """Versions are ordered as numbers, each with its tags and place; other tags are ignored."""
    found = [
        (str(n), {"volsvc.digest": f"d{n}", "volsvc.variant": f"v{n}", "by": "x"}, f"at {n}")
        for n in numbers
    ]
    assert newest_first(found) == [
        RegisteredVersion(str(n), f"d{n}", f"v{n}", f"at {n}") for n in range(12, 0, -1)
    ]


def test_a_version_without_our_tags_has_neither_digest_nor_variant() -> None:
    """Versions that others have registered are listed too."""
    assert newest_first([("1", {"by": "x"}, "")]) == [RegisteredVersion("1", None, None, "")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], None),
        (["MLmodel", "conda.yaml"], None),
        (["MLmodel", "ml.npz"], "ml.npz"),
        (["python_model.pkl", "ml.npz"], "ml.npz"),
        (["MLmodel", "python_model.pkl"], "python_model.pkl"),
        (["ml.npz.txt", "pkl"], None),
    ],
)
def test_the_artefact_among_files(names: list[str], expected: str | None) -> None:
    """It is the file of arrays, or the pickle if there is none."""
    assert single_artefact(iter(names)) == expected


@pytest.mark.parametrize("suffix", ["npz", "pkl"])
@pytest.mark.parametrize("count", [2, 3])
def test_several_artefacts_are_refused(suffix: str, count: int) -> None:
    """Nobody could tell which of them is the model."""
    with pytest.raises(ArtefactError, match=f"holds {count} artefacts, not one"):
        single_artefact(f"{index}.{suffix}" for index in range(count))


@pytest.mark.parametrize("place", ["ml.npz", "artifacts/ml.npz", "artifacts/model.pkl"])
def test_an_artefact_is_copied(place: str, tmp_path: Path) -> None:
    """The file is found beside MLmodel or in `artifacts`, and stays where it is."""
    root, folder = tmp_path / "version", tmp_path / "new"
    (root / "artifacts").mkdir(parents=True)
    folder.mkdir()
    (root / "MLmodel").write_text("flavors: {}")
    (root / place).write_bytes(b"arrays")
    copied = copy_artefact(root, folder)
    assert copied == folder / f"new{Path(place).suffix}"
    assert copied.read_bytes() == (root / place).read_bytes() == b"arrays"


def test_a_version_without_artefact_gives_none(tmp_path: Path) -> None:
    """The baseline has no artefact; files deeper down are others'."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "other.npz").touch()
    assert copy_artefact(tmp_path, tmp_path) is None


def test_a_missing_folder_counts_as_a_registry_that_is_away(tmp_path: Path) -> None:
    """It may come back, as a network's drive does; the error names it."""
    with pytest.raises(RegistryAwayError, match=r"/gone, is not there"):
        copy_artefact(tmp_path / "gone", tmp_path)


def test_an_empty_place_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version whose place is not known takes no file of where the daemon was started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml.npz").touch()
    with pytest.raises(RegistryAwayError, match=r"^the registry names no folder of the artefact$"):
        copy_artefact(Path(), tmp_path)


def test_the_size_of_an_artefact_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the limit is copied, and one byte more is refused before it is read."""
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    root, folder = tmp_path / "version", tmp_path / "new"
    root.mkdir()
    folder.mkdir()
    (root / "ml.npz").write_bytes(bytes(101))
    with pytest.raises(ArtefactError, match="larger than 100 bytes"):
        copy_artefact(root, folder)
    assert list(folder.iterdir()) == []
    (root / "ml.npz").write_bytes(bytes(100))
    assert copy_artefact(root, folder) is not None
