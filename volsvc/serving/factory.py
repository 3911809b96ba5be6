"""Puts together what serves and what watches over it, out of the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from volsvc.config.settings import Settings
from volsvc.models import ArtefactError, Model, packaged
from volsvc.serving.audit_log import AuditLog
from volsvc.serving.cache import ModelCache
from volsvc.serving.candidate import load_model
from volsvc.serving.controller import ModelController
from volsvc.serving.holder import DesiredModel, ModelHolder
from volsvc.serving.listeners import ModelListener
from volsvc.serving.mlflow_rest import Remote, RestRemote
from volsvc.serving.mlflow_sqlite import SqliteRemote
from volsvc.serving.model_loader import ModelLoader
from volsvc.serving.publish_packaged import tracking_uri
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)


def build_cache(settings: Settings) -> ModelCache:
    """The artefacts on disk."""
    return ModelCache(settings.service.data_dir, tracking_uri(settings), settings.model.name)


def build_holder(settings: Settings) -> ModelHolder:
    """What serves at the start: the last good model, the packaged one, or the baseline.

    Asks nobody: the registry may be away.
    """
    desired = DesiredModel(settings.model.variant, None)
    try:
        desired = replace(desired, fitted=_last_good(settings) or packaged().model)
    except ArtefactError as error:
        desired = replace(desired, lacking=str(error))
    return ModelHolder(desired, shadow=settings.model.shadow)


def _last_good(settings: Settings) -> Model | None:
    cache = build_cache(settings)
    note = cache.last_good()
    if note is None:
        return None
    try:
        return load_model(cache.path_of(note), note.digest, note.version, settings.model)
    except ArtefactError as error:
        log.warning("last_good_not_loaded", reason=str(error))
        return None


def build_remote(settings: Settings) -> Remote:
    """The registry as the daemon reads it; the settings have checked its scheme."""
    uri, name = tracking_uri(settings), settings.model.name
    if uri.startswith("sqlite:"):
        return SqliteRemote(uri, name)
    return RestRemote(uri, name)


def build_controller(
    settings: Settings, holder: ModelHolder, events: ModelListener
) -> ModelController:
    """Who changes what serves."""
    return ModelController(settings.model, holder, build_loader(settings), events)


def build_loader(settings: Settings) -> ModelLoader:
    """Versions of the registry, with the cache on disk before it."""
    return ModelLoader(settings.model, build_remote(settings), build_cache(settings))


async def registered_model(settings: Settings, version: str | None) -> Model:
    """A version of the registry, None for where the alias `ml` points.

    Raises RegistryAwayError, or ArtefactError when there is none that may serve.
    """
    loader = build_loader(settings)
    try:
        return await loader.obtain(await loader.entry(version))
    finally:
        await loader.close()


def open_audit_log(settings: Settings) -> tuple[AuditLog | None, str]:
    """The journal, and what is wrong with it: a daemon serves without one."""
    try:
        audit_log = AuditLog(audit_log_folder(settings))
    except OSError as error:
        return None, f"cannot be written: {error.strerror or error}"
    return audit_log, audit_log.note


def audit_log_folder(settings: Settings) -> Path:
    """Where the journal's files are."""
    return settings.service.data_dir / "journal"
