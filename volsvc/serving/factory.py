"""Builds the model holder, the controller and the audit log from settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from volsvc.config.settings import Settings
from volsvc.models import ArtefactError, Model, packaged
from volsvc.serving.artefact_cache import ModelCache
from volsvc.serving.audit_log import AuditLog
from volsvc.serving.candidate import load_model
from volsvc.serving.controller import ModelController
from volsvc.serving.holder import Listener, ModelHolder
from volsvc.serving.listeners import ModelListener
from volsvc.serving.mlflow_rest import RestRegistryClient
from volsvc.serving.mlflow_sqlite import SqliteRegistryClient
from volsvc.serving.model_choice import DesiredModel
from volsvc.serving.model_loader import ModelLoader
from volsvc.serving.publish_packaged import tracking_uri
from volsvc.serving.registry_client import RegistryClient
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)


def build_cache(settings: Settings) -> ModelCache:
    """Return the cache of artefacts on disk."""
    return ModelCache(settings.service.data_dir, tracking_uri(settings), settings.model.name)


def build_holder(settings: Settings, listeners: Sequence[Listener] = ()) -> ModelHolder:
    """Return a holder of the last good model, the packaged one, or the baseline.

    The registry is not asked, because it may be away.
    """
    desired = DesiredModel(settings.model.variant, None)
    try:
        desired = replace(desired, fitted=_last_good(settings) or packaged().model)
    except ArtefactError as error:
        desired = replace(desired, load_error=str(error))
    return ModelHolder(desired, listeners, shadow=settings.model.shadow)


def _last_good(settings: Settings) -> Model | None:
    cache = build_cache(settings)
    note = cache.last_good()
    if note is None:
        return None
    try:
        return load_model(cache.path_of(note), note.digest, note.version, settings.model)
    except (ArtefactError, OSError, MemoryError) as error:
        log.warning("last_good_not_loaded", reason=str(error))
        return None


def build_registry_client(settings: Settings) -> RegistryClient:
    """Return a reader of the configured registry; the settings have checked its scheme."""
    uri, name = tracking_uri(settings), settings.model.name
    if uri.startswith("sqlite:"):
        return SqliteRegistryClient(uri, name)
    return RestRegistryClient(uri, name)


def build_controller(
    settings: Settings, holder: ModelHolder, listener: ModelListener
) -> ModelController:
    """Return the controller of a holder."""
    return ModelController(settings.model, holder, build_loader(settings), listener)


def build_loader(settings: Settings) -> ModelLoader:
    """Return a loader of the registry's versions, with the cache on disk before it."""
    return ModelLoader(settings.model, build_registry_client(settings), build_cache(settings))


async def registered_model(settings: Settings, version: str | None) -> Model:
    """Return the model of a registered version, None for that of the alias `ml`.

    Raises RegistryAwayError, or ArtefactError if there is none that may serve.
    """
    loader = build_loader(settings)
    try:
        return await loader.load(await loader.find(version))
    finally:
        await loader.close()


def open_audit_log(settings: Settings) -> tuple[AuditLog | None, str]:
    """Return the audit log, None if it cannot be written, and what is wrong with it.

    A daemon serves without one.
    """
    try:
        audit_log = AuditLog(audit_log_folder(settings))
    except OSError as error:
        return None, f"cannot be written: {error.strerror or error}"
    return audit_log, audit_log.note


def audit_log_folder(settings: Settings) -> Path:
    """Return the folder of the audit log's files."""
    return settings.service.data_dir / "journal"
