"""Artefacts on disk: found by digest, the oldest dropped, the last good one recorded."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from volsvc.failpoints import armed
from volsvc.models import PACKAGED, ArtefactError, Baseline, Model, packaged
from volsvc.serving.artefact_cache import MAX_ARTEFACTS, LastGood, ModelCache

PLACE = ("http://registry", "volsvc")


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    """An empty cache of a registry."""
    return ModelCache(tmp_path, *PLACE)


def keep(cache: ModelCache, content: str, suffix: str = ".npz") -> Path:
    """Put a file into a cache as a download does."""
    with cache.incoming() as folder:
        path = folder / f"new{suffix}"
        path.write_text(content)
        return cache.keep(path)


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def model_of(content: str) -> Model:
    model = Baseline()
    model.variant, model.version, model.digest = "ml", f"v-{content}", digest(content)
    return model


def test_a_kept_file_is_found_by_its_digest(cache: ModelCache, tmp_path: Path) -> None:
    """Its name is the digest of its bytes, in `models` of the data's folder."""
    path = keep(cache, "a", ".pkl")
    assert path == tmp_path / "models" / f"{digest('a')}.pkl"
    assert path.read_text() == "a"
    assert cache.find(digest("a")) == path
    assert cache.find(digest("b")) is None
    assert list((tmp_path / "models").iterdir()) == [path], "the download's folder is gone"


@pytest.mark.parametrize("wanted", ["*", "../models/*", "", "a.npz"])
def test_a_digest_is_no_pattern(wanted: str, cache: ModelCache) -> None:
    """A registry cannot name other files than by a digest."""
    keep(cache, "a")
    assert cache.find(wanted) is None


def test_the_least_recently_used_artefacts_are_dropped(cache: ModelCache, tmp_path: Path) -> None:
    """A file that is kept again is the most recent; files that are no artefacts stay."""
    folder = tmp_path / "models"
    paths = [keep(cache, str(index), (".npz", ".pkl")[index % 2]) for index in range(MAX_ARTEFACTS)]
    # Times of modification may be equal on a fast machine; the oldest artefact has the last name.
    for age_s, path in enumerate(sorted(paths), start=100):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age_s))
    (folder / "notes.txt").touch()
    os.utime(folder / "notes.txt", (0, 0))
    oldest, second = sorted(paths)[-1], sorted(paths)[-2]
    assert cache.keep(oldest) == oldest
    newest = keep(cache, "newest")
    expected = {*paths, newest} - {second}
    assert set(folder.iterdir()) == {*expected, folder / "notes.txt"}


def test_a_file_that_is_gone_already_needs_no_deletion(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may tidy up at the same time; the new file is kept all the same."""
    for index in range(MAX_ARTEFACTS):
        keep(cache, str(index))
    unlink, deleted = Path.unlink, []

    def too_late(path: Path, missing_ok: bool = False) -> None:
        deleted.append(path)
        unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", too_late)
    path = keep(cache, "newest")
    assert cache.find(digest("newest")) == path
    assert len(deleted) == 1


def test_files_of_others_stay(cache: ModelCache, tmp_path: Path) -> None:
    """`volsvc train` writes its artefact into the same folder."""
    fitted = tmp_path / "models" / "ml-1.npz"
    keep(cache, "first")
    fitted.touch()
    os.utime(fitted, (0, 0))
    for index in range(MAX_ARTEFACTS + 1):
        keep(cache, str(index))
    assert fitted.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The reason of the system is raised: it says nothing about an artefact."""
    (tmp_path / "models").touch()
    with pytest.raises(FileExistsError), ModelCache(tmp_path, *PLACE).incoming():
        pass


def test_the_packaged_model_is_recorded_with_a_copy(tmp_path: Path) -> None:
    """It serves without a download; another version of the package brings another one."""
    cache, model = ModelCache(tmp_path, *PLACE), packaged().model
    cache.remember(model, "2")
    note = cache.last_good()
    assert note is not None
    assert (note.version, note.digest, note.seen) == (model.version, model.digest, "2")
    assert cache.path_of(note).read_bytes() == PACKAGED.read_bytes()


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "a folder"])
def test_the_packaged_model_is_recorded_in_any_folder(there: bool, tmp_path: Path) -> None:
    """At the very first start there is no folder of data; later there are artefacts in it."""
    cache = ModelCache(tmp_path / "our" / "data", *PLACE)
    if there:
        keep(cache, "a")
    cache.remember(packaged().model, "2")
    note = cache.last_good()
    assert note is not None
    assert cache.path_of(note).read_bytes() == PACKAGED.read_bytes()


def test_the_last_good_model_is_recorded(cache: ModelCache, tmp_path: Path) -> None:
    """The record names registry, version, digest, file, and the alias's version."""
    path = keep(cache, "a")
    assert cache.last_good() is None
    cache.remember(model_of("a"), "7")
    note = ModelCache(tmp_path, *PLACE).last_good()
    assert note == LastGood(*PLACE, "v-a", digest("a"), path.name, "7")
    assert cache.path_of(note) == path
    written = json.loads((tmp_path / "models" / "last-good.json").read_text())
    assert list(written) == ["tracking_uri", "name", "version", "digest", "file", "seen"]
    cache.remember(model_of("b"), "8")
    assert cache.last_good() == note, "a model without a file is not recorded"


def test_a_record_of_another_registry_is_ignored(cache: ModelCache, tmp_path: Path) -> None:
    """A model of another address or another name is not the last good one of this registry."""
    keep(cache, "a")
    cache.remember(model_of("a"), "7")
    for place in ((PLACE[0], "other"), ("http://other", PLACE[1])):
        assert ModelCache(tmp_path, *place).last_good() is None


def test_a_record_without_its_artefact_is_ignored(cache: ModelCache) -> None:
    """An artefact that somebody has deleted cannot be loaded."""
    path = keep(cache, "a")
    cache.remember(model_of("a"), "7")
    note = cache.last_good()
    assert note is not None
    path.unlink()
    assert cache.last_good() is None
    with pytest.raises(ArtefactError, match=rf"{path.name}: is gone from the cache"):
        cache.path_of(note)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"name": "volsvc"}'])
def test_a_damaged_record_is_ignored(text: str, cache: ModelCache, tmp_path: Path) -> None:
    """Whatever stands in the file, the daemon starts with the packaged model."""
    keep(cache, "a")
    (tmp_path / "models" / "last-good.json").write_text(text)
    assert cache.last_good() is None


def test_a_record_names_no_file_outside_the_cache(cache: ModelCache, tmp_path: Path) -> None:
    """A path in place of a file's name is refused, although there is such a file."""
    keep(cache, "a")
    (tmp_path / "outside.npz").touch()
    note = LastGood(*PLACE, "1", "d", "../outside.npz", "7")
    (tmp_path / "models" / "last-good.json").write_text(json.dumps(vars(note)))
    assert cache.last_good() is None


def test_a_full_disk_costs_the_record_only(cache: ModelCache) -> None:
    """The model before stays recorded, and serving goes on."""
    keep(cache, "a")
    keep(cache, "b")
    cache.remember(model_of("a"), "7")

    def full() -> None:
        raise OSError(28, "No space left on device")

    with armed("file_written", full):
        cache.remember(model_of("b"), "8")
    note = cache.last_good()
    assert note is not None
    assert note.seen == "7"
