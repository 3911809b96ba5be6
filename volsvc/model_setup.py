"""Puts together what serves and what watches over it, out of the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from volsvc.config import Settings
from volsvc.journal import Journal
from volsvc.logs import get_logger
from volsvc.model_log import ModelLog
from volsvc.models import ArtefactError, Model, ModelHolder, Wish, packaged
from volsvc.models.cache import ModelCache
from volsvc.models.control import ModelControl
from volsvc.models.depot import Depot
from volsvc.models.loading import load_model
from volsvc.models.local import SqliteRemote
from volsvc.models.remote import Remote, RestRemote
from volsvc.registration import tracking_uri

log = get_logger(__name__)


def build_cache(settings: Settings) -> ModelCache:
    """The artefacts on disk."""
    return ModelCache(settings.service.data_dir, tracking_uri(settings), settings.model.name)


def build_holder(settings: Settings) -> ModelHolder:
    """What serves at the start: the last good model, the packaged one, or the baseline.

    Asks nobody: the registry may be away.
    """
    wish = Wish(settings.model.variant, None)
    try:
        wish = replace(wish, fitted=_last_good(settings) or packaged().model)
    except ArtefactError as error:
        wish = replace(wish, lacking=str(error))
    return ModelHolder(wish, shadow=settings.model.shadow)


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


def build_control(settings: Settings, holder: ModelHolder, events: ModelLog) -> ModelControl:
    """Who changes what serves."""
    return ModelControl(settings.model, holder, build_depot(settings), events)


def build_depot(settings: Settings) -> Depot:
    """Versions of the registry, with the cache on disk before it."""
    return Depot(settings.model, build_remote(settings), build_cache(settings))


async def registered_model(settings: Settings, version: str | None) -> Model:
    """A version of the registry, None for where the alias `ml` points.

    Raises RegistryAwayError, or ArtefactError when there is none that may serve.
    """
    depot = build_depot(settings)
    try:
        return await depot.obtain(await depot.entry(version))
    finally:
        await depot.close()


def open_journal(settings: Settings) -> tuple[Journal | None, str]:
    """The journal, and what is wrong with it: a daemon serves without one."""
    try:
        journal = Journal(journal_folder(settings))
    except OSError as error:
        return None, f"cannot be written: {error.strerror or error}"
    return journal, journal.note


def journal_folder(settings: Settings) -> Path:
    """Where the journal's files are."""
    return settings.service.data_dir / "journal"
