"""The process in which the loader has a new file verified: verdicts, and ends without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.serving.interpreter import Interpreter
from tests.unit.serving.test_model_loader import Files, Slow, loader_of
from volsvc.config.model import ModelSettings
from volsvc.domain import Forecast
from volsvc.models import PACKAGED, ArtefactError, packaged
from volsvc.models.base import Array
from volsvc.models.ml import MlModel
from volsvc.serving.artefact_cache import ModelCache
from volsvc.serving.model_loader import ModelLoader, UnjudgedError


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """A process that has nothing to say against a file."""
    interpreter = Interpreter(tmp_path / "bin", monkeypatch)
    interpreter.does('test -f "$3"')
    return interpreter


async def test_a_new_file_is_verified_in_a_process(files: Files, interpreter: Interpreter) -> None:
    """It gets file, digest and settings; a file of the cache is not verified again."""
    digest = packaged().model.digest
    version = files.register("3", PACKAGED, digest, "ml")
    loader = loader_of(files, time_budget_ms=5000)
    model = await loader.load(version)
    assert (model.version, model.digest) == (packaged().model.version, digest)
    assert await loader.load(version) is model
    module, path, *rest = interpreter.arguments[1:]
    assert interpreter.arguments[0] == "-m"
    assert (module, Path(path).name, rest[0]) == ("volsvc.serving.candidate", "new.npz", digest)
    settings = ModelSettings.model_validate_json(rest[1])
    assert (settings.time_budget_ms, settings.name) == (5000, "ours")
    await loader_of(files, time_budget_ms=5000).load(version)
    assert interpreter.runs == 1


async def test_a_file_that_was_verified_is_tried_with_few_rows(
    files: Files, interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has tried it with many; here requests are forecast beside it."""
    asked: list[int] = []
    predict = MlModel.predict

    def noted(model: MlModel, features: Array, horizon_s: float) -> Forecast:
        asked.append(len(features))
        return predict(model, features, horizon_s)

    monkeypatch.setattr(MlModel, "predict", noted)
    version = files.register("3", PACKAGED, packaged().model.digest, "ml")
    await loader_of(files, time_budget_ms=5000).load(version)
    assert (asked, interpreter.runs) == ([1, 10], 1)


async def test_a_digest_that_is_not_known_is_empty(files: Files, interpreter: Interpreter) -> None:
    """The process then takes any digest."""
    await loader_of(files, time_budget_ms=5000).load(files.register("3", PACKAGED))
    assert interpreter.arguments[3] == ""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first >&2; echo mid >&2; echo is not finite >&2; exit 3", "is not finite"),
        ("echo out; exit 3", "its proof ended by 3"),
        (r"printf 'na\357ve\n' >&2; exit 3", "na\N{REPLACEMENT CHARACTER}ve"),
    ],
)
async def test_a_file_that_the_process_refuses(
    script: str, reason: str, files: Files, interpreter: Interpreter
) -> None:
    """The reason is the last line of its errors, or how it ended; the file is not kept."""
    interpreter.does(script)
    with pytest.raises(ArtefactError) as raised:
        await loader_of(files).load(files.register("3", PACKAGED))
    assert str(raised.value) == reason
    assert not isinstance(raised.value, UnjudgedError)
    assert list((files.folder.parent / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -9 $$", "its proof ended by -9"),
        ("echo MemoryError >&2; exit 1", "MemoryError"),
        ("exit 2", "its proof ended by 2"),
    ],
)
async def test_a_process_that_judges_nothing(
    script: str, reason: str, files: Files, interpreter: Interpreter
) -> None:
    """One that is killed, or that fails by itself, says nothing about the file."""
    interpreter.does(script)
    with pytest.raises(UnjudgedError) as raised:
        await loader_of(files).load(files.register("3", PACKAGED))
    assert str(raised.value) == reason


async def test_a_process_that_cannot_be_started(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without room for another process says nothing about the file."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(UnjudgedError, match=r"^cannot be loaded: none: No such file"):
        await loader_of(files).load(files.register("3", PACKAGED))


async def test_a_process_that_takes_too_long_is_ended(
    files: Files, interpreter: Interpreter
) -> None:
    """The setting that limits it is named."""
    interpreter.does("exec sleep 60")
    with pytest.raises(UnjudgedError, match=r"within model\.load_timeout_s = 0\.3$"):
        await loader_of(files, load_timeout_s=0.3).load(files.register("3", PACKAGED))
    interpreter.wait_for_end()


async def test_a_pickle_that_is_not_allowed_is_not_opened(
    files: Files, interpreter: Interpreter
) -> None:
    """Neither here nor in a process of its own."""
    version = files.pickle("3", Slow())
    loader = ModelLoader(ModelSettings(), files, ModelCache(files.folder.parent, "", ""))
    Slow.intervals.clear()
    with pytest.raises(ArtefactError, match="is a pickle"):
        await loader.load(version)
    assert (Slow.intervals, interpreter.runs) == ([], 0)
