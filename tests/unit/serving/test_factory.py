"""Holder, loader and audit log as settings ask for them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.daemon import eventually
from tests.unit.serving.mlflow_server import NAME, MlflowServer
from tests.unit.serving.test_candidate import Watched, pickled
from tests.unit.serving.test_mlflow_sqlite import Store
from volsvc.config.settings import Settings, load_settings
from volsvc.domain import NS
from volsvc.models import PACKAGED, ArtefactError, Baseline, Model, packaged
from volsvc.serving.artefact_cache import LastGood
from volsvc.serving.audit_log import FILE
from volsvc.serving.factory import (
    audit_log_folder,
    build_cache,
    build_controller,
    build_holder,
    build_registry_client,
    open_audit_log,
    registered_model,
)
from volsvc.serving.holder import ModelEvent
from volsvc.serving.listeners import ModelListener
from volsvc.serving.mlflow_sqlite import SqliteRegistryClient
from volsvc.serving.model_choice import BASELINE
from volsvc.telemetry.health import Check, Health
from volsvc.telemetry.metrics import Metrics

MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    """Settings of a daemon with its data in a folder of the test."""

    def make(**model: Any) -> Settings:
        model = {"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}", **model}
        data = {"data_dir": tmp_path / "var"}
        return load_settings(None, {"service": data, "model": model})

    return make


def remembered(settings: Settings, model: Model, path: Path) -> Path:
    """Put a model into the cache as the last good one; return its file."""
    cache = build_cache(settings)
    with cache.incoming() as folder:
        kept = cache.keep(Path(shutil.copy(path, folder / f"new{path.suffix}")))
    cache.remember(model, "9")
    return kept


def packaged_as(version: str) -> Model:
    model = Baseline()
    model.version, model.digest = version, packaged().model.digest
    return model


# --- the holder at the start --------------------------------------------------------------


def test_the_packaged_model_serves_first(settings: MakeSettings) -> None:
    """Without a last good model; the baseline forecasts beside it, unless shadows are off."""
    holder = build_holder(settings())
    assert holder.current.model is packaged().model
    assert holder.shadow is BASELINE
    assert build_holder(settings(shadow=False)).shadow is None


def test_the_last_good_model_serves_first(settings: MakeSettings, tmp_path: Path) -> None:
    """It has the number that it had in the registry, but for the packaged one, which has its own.

    So a daemon that starts anew, and one whose record is of 1.0.0, give it one name.
    """
    path, digest = pickled(Baseline(), tmp_path)
    model = Baseline()
    model.version, model.digest = "12", digest
    for recorded, file, name in (
        (model, path, "ml-12"),
        (packaged_as("12"), PACKAGED, f"ml-{packaged().model.version}"),
    ):
        remembered(settings(), recorded, file)
        with capture_logs() as logs:
            holder = build_holder(settings(allowed_pickles=[digest]))
        assert (holder.current.name, holder.current.fallback) == (name, False)
        assert holder.current.model.digest == recorded.digest
        assert logs == []


@pytest.mark.parametrize("model", [{"name": "other"}, {"tracking_uri": "http://127.0.0.1:9"}])
def test_the_last_good_model_is_that_of_the_registry(
    model: dict[str, str], settings: MakeSettings
) -> None:
    """One of another name or address does not serve."""
    remembered(settings(), packaged_as("12"), PACKAGED)
    assert build_holder(settings(**model)).current.model is packaged().model


def test_a_last_good_model_that_does_not_load_is_left(settings: MakeSettings) -> None:
    """The packaged one serves in its place; the log has the reason."""
    remembered(settings(), packaged_as("12"), PACKAGED).write_bytes(b"damaged")
    with capture_logs() as logs:
        holder = build_holder(settings())
    assert (holder.current.model, holder.current.fallback) == (packaged().model, False)
    (warning,) = logs
    assert (warning["event"], warning["log_level"]) == ("last_good_not_loaded", "warning")
    assert "its digest" in warning["reason"]


def test_the_last_good_model_obeys_the_settings(settings: MakeSettings, tmp_path: Path) -> None:
    """A pickle serves while the settings name its digest."""
    path, digest = pickled(Baseline(), tmp_path)
    model = Baseline()
    model.version, model.digest = "12", digest
    remembered(settings(), model, path)
    assert build_holder(settings(allowed_pickles=[digest])).current.name == "ml-12"
    assert build_holder(settings()).current.model is packaged().model


def test_without_any_artefact_the_baseline_serves(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is told, and the variant stays asked for."""

    def damaged() -> None:
        raise ArtefactError("ml.npz: is damaged")

    monkeypatch.setattr("volsvc.serving.factory.packaged", damaged)
    holder = build_holder(settings())
    assert (holder.desired.fitted, holder.desired.variant) == (None, "ml")
    assert (holder.current.model, holder.current.requested) == (BASELINE, "ml")
    assert holder.current.fallback_reason == "ml.npz: is damaged"


def test_listeners_hear_of_changes(settings: MakeSettings) -> None:
    """They are those that the daemon has given."""
    events: list[ModelEvent] = []
    build_holder(settings(), [events.append]).notify("start", "start")
    assert [(event.kind, event.trigger, event.reason) for event in events] == [
        ("start", "start", "")
    ]


# --- the registry -------------------------------------------------------------------------


async def test_a_store_on_disk_is_read_as_such(settings: MakeSettings, tmp_path: Path) -> None:
    """The file and the name are those of the settings."""
    store = Store(tmp_path / "mlflow.db")
    store.register(3)
    client = build_registry_client(settings())
    assert isinstance(client, SqliteRegistryClient)
    assert [found.version for found in await client.versions()] == ["3"]
    assert await build_registry_client(settings(name="other")).versions() == []


async def test_a_registered_model_from_a_server(settings: MakeSettings, tmp_path: Path) -> None:
    """It is loaded by number or alias, under the settings; no connection is left open."""
    path, digest = pickled(Watched(), tmp_path)
    async with MlflowServer(tmp_path / "served") as server:
        server.model = {"aliases": [{"alias": "ml", "version": "1"}]}
        server.register("1", {"volsvc.digest": digest})
        server.store("model.pkl", path.read_bytes())
        chosen = settings(tracking_uri=server.url, name=NAME, allowed_pickles=[digest])
        for version in (None, "1"):
            model = await registered_model(chosen, version)
            assert (model.version, model.digest) == ("1", digest)
        assert build_cache(chosen).find(digest) is not None
        with pytest.raises(ArtefactError, match=f"{NAME} has no version '7'"):
            await registered_model(chosen, "7")

        async def closed() -> bool:
            return server.connections == 0

        await eventually(closed, 5, "the connections are closed")


async def test_the_controller_follows_the_registry(settings: MakeSettings, tmp_path: Path) -> None:
    """The last good model stays, since it has the bytes of the alias's version; polls are told."""
    path, digest = pickled(Baseline(), tmp_path)
    chosen = settings(allowed_pickles=[digest])
    model = Baseline()
    model.digest = digest
    remembered(chosen, model, path)
    store = Store(tmp_path / "mlflow.db")
    store.register(3, tags={"volsvc.digest": digest, "volsvc.variant": "ml"})
    store.insert("registered_model_aliases", name="volsvc", alias="ml", version=3)
    holder, health = build_holder(chosen), Health()
    controller = build_controller(chosen, holder, ModelListener(Metrics(), health, None))
    running = asyncio.create_task(controller.run())

    async def followed() -> bool:
        note = build_cache(chosen).last_good()
        return "registry:poll" in health.checks and note is not None and note.seen == "3"

    await eventually(followed, 10, "the alias is followed")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert health.checks == {"registry:poll": Check("ok", "the registry answers")}
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    note = LastGood(uri, "volsvc", model.version, digest, f"{digest}.pkl", "3")
    assert holder.current.name == f"ml-{model.version}"
    assert build_cache(chosen).last_good() == note


# --- the audit log ------------------------------------------------------------------------


def test_the_audit_log_is_in_the_data_folder(settings: MakeSettings, tmp_path: Path) -> None:
    """A new one has nothing wrong with it; a damaged one is put aside, with a note."""
    audit_log, note = open_audit_log(settings())
    assert audit_log is not None
    assert note == ""
    audit_log.append(NS, {"kind": "start"})
    folder = tmp_path / "var" / "journal"
    assert audit_log_folder(settings()) == folder
    assert (folder / FILE).exists()
    (folder / FILE).write_text("damaged\n")
    audit_log, note = open_audit_log(settings())
    assert audit_log is not None
    assert "line 1: is no entry of a journal; put aside in broken-" in note


def test_a_daemon_serves_without_audit_log(settings: MakeSettings, tmp_path: Path) -> None:
    """A folder that cannot be made is told with the system's reason."""
    (tmp_path / "var").write_text("a file")
    assert open_audit_log(settings()) == (None, "cannot be written: Not a directory")
