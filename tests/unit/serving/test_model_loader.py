"""Versions of a registry become verified models: resolved, downloaded, proved, kept."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import pickle
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.daemon import eventually
from tests.unit.serving.test_candidate import Watched
from volsvc.config.model import ModelSettings
from volsvc.models import ArtefactError, Baseline, Model
from volsvc.serving import model_loader as module
from volsvc.serving.artefact_cache import ModelCache
from volsvc.serving.candidate import load_model
from volsvc.serving.model_choice import BASELINE
from volsvc.serving.model_loader import SWITCH_INTERVAL_S, ModelLoader, UnjudgedError
from volsvc.serving.registry_client import RegisteredVersion, RegistryAwayError


class Slow(Baseline):
    """A model that takes a while to read; it notes how often threads are switched meanwhile."""

    intervals: ClassVar[list[float]] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.intervals.append(sys.getswitchinterval())
        time.sleep(0.4)
        self.__dict__.update(state)


class Held(Baseline):
    """A model that waits until it may fail to be read."""

    may_fail: ClassVar = threading.Event()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.may_fail.wait(10)
        raise ValueError("no state")


class Files:
    """A registry of files. Implements `RegistryClient`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, RegisteredVersion] = {}
        self.paths: dict[str, Path | None] = {}
        self.alias: str | None = None
        self.fault: Exception | None = None
        self.delay_s = 0.0
        self.downloads: list[str] = []
        self.closed = False

    def register(
        self, version: str, path: Path | None, digest: str | None = None, variant: str | None = None
    ) -> RegisteredVersion:
        found = RegisteredVersion(version, digest, variant, "")
        self.found, self.paths[version] = {version: found, **self.found}, path
        return found

    def pickle(self, version: str, model: Model | None = None) -> RegisteredVersion:
        """Register a model as a pickle, which no process has to verify."""
        model = model or Watched()
        # Each file has another digest.
        model.version = f"of {version}"
        path = self.folder / f"{version}.pkl"
        path.write_bytes(pickle.dumps(model))
        return self.register(version, path, hashlib.sha256(path.read_bytes()).hexdigest(), "ml")

    async def _answer(self) -> None:
        if self.fault:
            raise self.fault
        await asyncio.sleep(self.delay_s)

    async def aliases(self) -> Mapping[str, str]:
        """Return the alias, beside others."""
        await self._answer()
        return {"baseline": "1", **({"ml": self.alias} if self.alias else {})}

    async def versions(self) -> list[RegisteredVersion]:
        """Return every version, newest first."""
        await self._answer()
        return list(self.found.values())

    async def download(self, version: RegisteredVersion, folder: Path) -> Path | None:
        """Copy the file of a version."""
        await self._answer()
        self.downloads.append(version.version)
        path = self.paths[version.version]
        return Path(shutil.copyfile(path, folder / f"new{path.suffix}")) if path else None

    async def close(self) -> None:
        """Note the end."""
        self.closed = True


def loader_of(files: Files, **settings: Any) -> ModelLoader:
    """Return a loader that a start of the daemon would build."""
    digests = tuple(found.digest for found in files.found.values() if found.digest)
    model = ModelSettings(name="ours", allowed_pickles=digests, **settings)
    return ModelLoader(model, files, ModelCache(files.folder.parent, "uri", "ours"))


# --- which version ------------------------------------------------------------------------


async def test_the_wanted_version(files: Files) -> None:
    """A number is itself, nothing is the alias's version, and `latest` is no baseline."""
    loader = loader_of(files)
    assert await loader.resolve("") is None
    assert await loader.resolve("latest") is None
    files.register("1", None, BASELINE.digest)
    files.register("2", None, None, "baseline")
    assert await loader.resolve("latest") is None
    files.register("3", None, "d3", "ml")
    files.register("4", None, None, None)
    files.register("5", None, BASELINE.digest, "baseline")
    files.alias = "3"
    assert await loader.resolve("latest") == "4"
    assert await loader.resolve("") == "3"
    assert await loader.resolve("77") == "77"


async def test_a_version_is_found(files: Files) -> None:
    """By its number, or by the alias."""
    loader, three, four = loader_of(files), files.register("3", None), files.register("4", None)
    files.alias = "3"
    assert (await loader.find("4"), await loader.find(None)) == (four, three)


@pytest.mark.parametrize(
    ("wanted", "named"), [("9", "'9'"), (None, "'ml'"), ("latest", "'latest'")]
)
async def test_a_version_that_is_not_there(wanted: str | None, named: str, files: Files) -> None:
    """The error names the model and the version, or the alias."""
    files.register("1", None, None, "baseline")
    with pytest.raises(UnjudgedError, match=f"^ours has no version {named}$"):
        await loader_of(files).find(wanted)


@pytest.mark.parametrize(
    ("digest", "variant"), [(BASELINE.digest, None), (None, "baseline"), ("d" * 64, "baseline")]
)
async def test_the_baseline_is_code(digest: str | None, variant: str | None, files: Files) -> None:
    """Nothing is downloaded for it."""
    version = files.register("1", None, digest, variant)
    assert await loader_of(files).load(version) is BASELINE
    assert files.downloads == []


# --- loads --------------------------------------------------------------------------------


async def test_a_model_is_downloaded_once(files: Files) -> None:
    """It is the same object while it is loaded, and comes from the disk after a restart."""
    version = files.pickle("3")
    loader = loader_of(files)
    Watched.asked.clear()
    model = await loader.load(version)
    assert (model.variant, model.version, model.digest) == ("ml", "3", version.digest)
    assert len(Watched.asked) == 4, "a new pickle is tried with many rows"
    assert await loader.load(version) is model
    restarted = loader_of(files)
    Watched.asked.clear()
    again = await restarted.load(version)
    assert (again.version, again.digest, again is model) == ("3", version.digest, False)
    assert len(Watched.asked) == 2, "one that was verified before is tried with few"
    assert files.downloads == ["3"]


async def test_one_artefact_under_two_numbers(files: Files) -> None:
    """Each version has its number, although the file is downloaded once."""
    version = files.pickle("3")
    loader = loader_of(files)
    models = [await loader.load(version._replace(version=number)) for number in ("3", "4", "3")]
    assert [model.version for model in models] == ["3", "4", "3"]
    assert models[2] is models[0]
    assert files.downloads == ["3"]


async def test_a_version_without_our_tags_is_downloaded(files: Files) -> None:
    """Its digest is not known before."""
    tagged = files.pickle("3")
    loader = loader_of(files)
    for _ in range(2):
        model = await loader.load(tagged._replace(digest=None, variant=None))
        assert model.digest == tagged.digest
    assert files.downloads == ["3", "3"]


async def test_the_last_three_models_stay_loaded(files: Files) -> None:
    """The least recently used one is released."""
    versions = {number: files.pickle(number) for number in "1234"}
    loader = loader_of(files)
    held = {number: weakref.ref(await loader.load(versions[number])) for number in "123"}
    await loader.load(versions["1"])
    gc.collect()
    assert all(model() for model in held.values())
    held["4"] = weakref.ref(await loader.load(versions["4"]))
    gc.collect()
    assert [number for number, model in held.items() if model()] == ["1", "3", "4"]


async def test_a_version_without_artefact_is_refused(files: Files) -> None:
    """The version of somebody else's model is named."""
    with pytest.raises(ArtefactError, match=r"^version 3 holds no \.npz artefact$"):
        await loader_of(files).load(files.register("3", None, "d"))


async def test_a_file_of_another_digest_is_refused_and_not_kept(files: Files) -> None:
    """The registry's tag and the file contradict each other."""
    version = files.pickle("3")
    loader = loader_of(files)
    wrong = version._replace(digest="f" * 64)
    with pytest.raises(ArtefactError, match="is not ffffffffffff"):
        await loader.load(wrong)
    assert list((files.folder.parent / "models").iterdir()) == []


async def test_a_fault_of_the_disk_is_no_verdict(files: Files, tmp_path: Path) -> None:
    """The reason of the system is given."""
    version = files.pickle("3")
    loader = loader_of(files)
    kept = tmp_path / "models" / f"{version.digest}.pkl"
    kept.parent.mkdir()
    kept.mkdir()
    expected = rf"^cannot be loaded: {kept.name}: Is a directory$"
    with pytest.raises(UnjudgedError, match=expected):
        await loader.load(version)


async def test_a_cache_that_cannot_be_written_is_no_verdict(files: Files, tmp_path: Path) -> None:
    """A full disk, or rights that are missing, say nothing about a version."""
    version = files.pickle("3")
    (tmp_path / "models").write_text("no folder")
    with pytest.raises(UnjudgedError, match=r"^cannot be loaded: models: File exists$"):
        await loader_of(files).load(version)


async def test_a_damaged_copy_is_replaced(files: Files, tmp_path: Path) -> None:
    """A crash may have cut the file of the cache; the registry's file decides."""
    version = files.pickle("3")
    await loader_of(files).load(version)
    kept = tmp_path / "models" / f"{version.digest}.pkl"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    model = await loader_of(files).load(version)
    assert (model.digest, kept.read_bytes()) == (version.digest, whole)
    assert files.downloads == ["3", "3"]


async def test_a_damaged_copy_that_is_gone_already(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may delete it at the same time; the registry's file decides as before."""
    version = files.pickle("3")
    await loader_of(files).load(version)
    kept = tmp_path / "models" / f"{version.digest}.pkl"

    def deleted(path: Path, *details: Any, **how: Any) -> Model:
        if path == kept:
            path.unlink()
            raise ArtefactError("is damaged")
        return load_model(path, *details, **how)

    monkeypatch.setattr(module, "load_model", deleted)
    assert (await loader_of(files).load(version)).digest == version.digest
    assert files.downloads == ["3", "3"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(5, "Input/output error", "/data/a.npz"), "a.npz: Input/output error"),
    ],
)
async def test_the_reason_of_a_machine(
    fault: Exception, reason: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the file, if there is one, and the kind of an error that says nothing."""

    def failing(*_: object, **__: object) -> Model:
        raise fault

    monkeypatch.setattr(module, "load_model", failing)
    with pytest.raises(UnjudgedError) as raised:
        await loader_of(files).load(files.pickle("3"))
    assert str(raised.value) == f"cannot be loaded: {reason}"


async def test_a_load_that_takes_too_long_is_no_verdict(files: Files) -> None:
    """The setting that limits it is named."""
    version = files.pickle("3", Slow())
    with pytest.raises(UnjudgedError) as raised:
        await loader_of(files, load_timeout_s=0.2).load(version)
    assert str(raised.value) == "was not proved within model.load_timeout_s = 0.2"


async def test_attempts_pile_up_no_threads(files: Files) -> None:
    """A thread cannot be ended, so the next attempt waits until it ends by itself."""
    version = files.pickle("3", Slow())
    loader = loader_of(files, load_timeout_s=0.2)
    held = "the thread of an earlier attempt has not ended yet"
    for expected in ("was not proved within model.load_timeout_s = 0.2", held, held):
        with pytest.raises(UnjudgedError, match=f"^{expected}$"):
            await loader.load(version)

    async def ended() -> bool:
        with suppress(UnjudgedError):
            await loader.load(version)
        return len(files.downloads) > 3

    await eventually(ended, 10, "a further attempt is made")


async def test_an_error_that_nobody_waits_for_is_not_logged(files: Files) -> None:
    """A thread may fail after its time; asyncio would tell of it when it is forgotten."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    version, loader = files.pickle("3", Held()), loader_of(files, load_timeout_s=0.2)
    Held.may_fail.clear()
    with pytest.raises(UnjudgedError, match="was not proved"):
        await loader.load(version)
    Held.may_fail.set()

    async def ended() -> bool:
        with pytest.raises(ArtefactError) as raised:
            await loader.load(version)
        return "no state" in str(raised.value)

    await eventually(ended, 10, "a further attempt is made")
    gc.collect()
    assert told == []


async def test_threads_are_switched_often_during_a_load(files: Files) -> None:
    """The event loop would wait long for a thread that reads; afterwards it is as usual."""
    usual_s = sys.getswitchinterval()
    version = files.pickle("3", Slow())
    Slow.intervals.clear()
    await loader_of(files, load_timeout_s=60).load(version)
    assert Slow.intervals == [pytest.approx(SWITCH_INTERVAL_S)]
    assert sys.getswitchinterval() == usual_s


# --- the registry -------------------------------------------------------------------------


async def test_a_registry_that_does_not_answer_in_time(files: Files) -> None:
    """Every call has the time of model.load_timeout_s."""
    files.delay_s = 60.0
    loader = loader_of(files, load_timeout_s=0.1)
    for call in (loader.resolve(""), loader.resolve("latest"), loader.find("1")):
        with pytest.raises(RegistryAwayError, match=r"^the registry does not answer in 0\.1 s$"):
            await call
    with pytest.raises(RegistryAwayError, match="does not answer"):
        await loader.load(RegisteredVersion("1", None, None, ""))


@pytest.mark.parametrize(
    "fault", [KeyError("a"), TypeError("a"), ValueError("a"), AttributeError()]
)
async def test_an_answer_that_is_not_mlflows(fault: Exception, files: Files) -> None:
    """Something else may listen at the address; the error shows what did not fit."""
    files.fault = fault
    with pytest.raises(RegistryAwayError) as raised:
        await loader_of(files).find("1")
    assert str(raised.value) == f"the registry's answer is not MLflow's: {fault!r}"


async def test_the_last_good_model_is_recorded(files: Files) -> None:
    """The record is that of the cache, with the alias's version."""
    assert loader_of(files).last_good() is None
    files.pickle("3")
    loader = loader_of(files)
    await loader.remember(await loader.load(files.found["3"]), "9")
    note = loader_of(files).last_good()
    assert note is not None
    assert (note.version, note.seen, note.digest) == ("3", "9", files.found["3"].digest)


async def test_closing_closes_the_registry(files: Files) -> None:
    """The loader owns its registry."""
    await loader_of(files).close()
    assert files.closed
