"""The packaged models are registered once, by a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.daemon import eventually
from tests.unit.serving.interpreter import Interpreter
from volsvc.config.settings import Settings, load_settings
from volsvc.domain.extras import needs_extra
from volsvc.failpoints import armed
from volsvc.serving import publish_packaged as module
from volsvc.serving.publish_packaged import register_packaged, tracking_uri
from volsvc.telemetry.health import Check, Health

URI = "http://127.0.0.1:9"
DONE = Check("ok", "the packaged models are in ours")


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """A process that registers both models, and says more than that."""
    interpreter = Interpreter(tmp_path / "bin", monkeypatch)
    interpreter.does("""echo noise; echo more; echo '{"baseline": "1", "ml": "2"}'""")
    return interpreter


def settings_of(folder: Path, **model: Any) -> Settings:
    model = {"tracking_uri": URI, "name": "ours", **model}
    return load_settings(None, {"service": {"data_dir": folder / "a" / "var"}, "model": model})


async def register(settings: Settings, digest: str = "d1") -> Check:
    health = Health()
    await register_packaged(settings, digest, health)
    (check,) = health.checks.items()
    assert check[0] == "registry"
    return check[1]


def record(settings: Settings) -> Any:
    return json.loads((settings.service.data_dir / "registered.json").read_text())


def test_the_address_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the configured one, or a file of the data's folder, whatever directory is current."""
    assert tracking_uri(settings_of(tmp_path)) == URI
    monkeypatch.chdir(tmp_path)
    relative = {"service": {"data_dir": "var"}, "model": {"tracking_uri": ""}}
    expected = f"sqlite:///{tmp_path / 'var' / 'mlflow.db'}"
    assert tracking_uri(load_settings(None, relative)) == expected


async def test_the_models_are_registered_once(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is started with name and address; a restart finds its record."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:7")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    settings = settings_of(tmp_path)
    with capture_logs() as logs:
        assert await register(settings) == DONE
    assert interpreter.arguments == ["-m", "volsvc.serving.mlflow_registry", "ours"]
    environment = interpreter.environment
    assert (environment["MLFLOW_TRACKING_URI"], environment["OMP_NUM_THREADS"]) == (URI, "1")
    assert "PATH" in environment
    assert record(settings) == {"tracking_uri": URI, "name": "ours", "digest": "d1"}
    versions = {"baseline": "1", "ml": "2"}
    told = {"event": "registered", "log_level": "info", "name": "ours", "versions": versions}
    assert logs == [told]
    assert await register(settings) == DONE
    assert interpreter.runs == 1


@pytest.mark.parametrize(
    ("model", "digest"), [({"tracking_uri": URI + "9"}, "d1"), ({"name": "x"}, "d1"), ({}, "d2")]
)
async def test_others_are_registered_too(
    model: dict[str, str], digest: str, interpreter: Interpreter, tmp_path: Path
) -> None:
    """The record holds for one registry, name and artefact."""
    await register(settings_of(tmp_path))
    assert (await register(settings_of(tmp_path, **model), digest)).status == "ok"
    assert interpreter.runs == 2


@pytest.mark.parametrize("text", ["{", "", "[]"])
async def test_a_damaged_record_is_none(
    text: str, interpreter: Interpreter, tmp_path: Path
) -> None:
    """The models are registered again, which finds those that are there."""
    settings = settings_of(tmp_path)
    settings.service.data_dir.mkdir(parents=True)
    (settings.service.data_dir / "registered.json").write_text(text)
    assert await register(settings) == DONE
    assert (interpreter.runs, record(settings)["digest"]) == (1, "d1")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo out; echo first >&2; echo mid >&2; echo the registry refuses >&2; exit 1", None),
        ("exit 3", "exit code 3"),
        ("echo >&2; exit 1", "exit code 1"),
        (r"printf 'na\357ve is closed\n' >&2; exit 1", "na\N{REPLACEMENT CHARACTER}ve is closed"),
    ],
)
async def test_a_failure_is_told_and_tried_again_at_the_next_start(
    script: str, reason: str | None, interpreter: Interpreter, tmp_path: Path
) -> None:
    """The reason is the last line of the process's errors, or its exit code."""
    interpreter.does(script)
    settings, reason = settings_of(tmp_path), reason or "the registry refuses"
    with capture_logs() as logs:
        assert await register(settings) == Check("degraded", reason)
    assert logs == [{"event": "registry_unreachable", "log_level": "warning", "reason": reason}]
    assert await register(settings) == Check("degraded", reason)
    assert interpreter.runs == 2


async def test_a_machine_that_refuses_is_no_end_of_the_service(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a folder without rights, and a process that cannot be started are told."""
    settings = settings_of(tmp_path)
    with armed("file_written", full):
        assert await register(settings) == Check("degraded", "[Errno 28] No space left on device")
    assert not (settings.service.data_dir / "registered.json").exists()
    (tmp_path / "file").touch()
    blocked = settings_of(tmp_path / "file")
    assert (await register(blocked)).status == "degraded"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert "No such file" in (await register(settings)).detail


def full() -> None:
    raise OSError(28, "No space left on device")


async def test_an_answer_that_is_no_list_of_versions(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    """Something else was printed last; its beginning is shown."""
    for text in ("not json", "x" * 80, "x" * 79 + "yz"):
        interpreter.does(f"echo {text}")
        expected = Check("degraded", f"its answer is not JSON: {text[:80]}")
        assert await register(settings_of(tmp_path)) == expected


async def test_a_process_that_takes_too_long_is_ended(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason gives the time."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    interpreter.does("exec sleep 60")
    check = await register(settings_of(tmp_path))
    assert check == Check("degraded", "no answer within 0.5 s")
    interpreter.wait_for_end()


async def stop(settings: Settings, interpreter: Interpreter) -> None:
    """Cancel a registration whose process is ready for it."""

    async def ready() -> bool:
        return interpreter.ready

    task = asyncio.create_task(register(settings))
    await eventually(ready, 10, "the process has started")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    interpreter.wait_for_end()


async def test_a_daemon_that_stops_leaves_no_process(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a process that ignores the signal is ended."""
    monkeypatch.setattr(module, "END_S", 0.2)
    interpreter.does("trap '' TERM; echo > ready; exec sleep 60")
    await stop(settings_of(tmp_path), interpreter)


async def test_a_process_may_end_by_itself(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the signal it has time to tidy up."""
    monkeypatch.setattr(module, "END_S", 60.0)
    tidy = "kill $child; wait $child; echo > tidied; exit 1"
    interpreter.does(f"sleep 60 & child=$!; trap '{tidy}' TERM; echo > ready; wait")
    await stop(settings_of(tmp_path), interpreter)
    assert (tmp_path / "bin" / "tidied").exists()


async def test_without_mlflow_nothing_is_done(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no fault; health says how to get it."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    expected = Check("ok", needs_extra("the registry", "mlflow"))
    assert await register(settings_of(tmp_path)) == expected
    assert interpreter.runs == 0
    assert not (tmp_path / "a").exists()
