"""A registry in memory that may be away, and a loader whose loads can be held up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.unit.serving.test_holder import fitted
from volsvc.config.model import ModelSettings
from volsvc.models import ArtefactError, Model
from volsvc.serving.artefact_cache import LastGood, ModelCache
from volsvc.serving.model_choice import BASELINE
from volsvc.serving.model_loader import ModelLoader, UnjudgedError
from volsvc.serving.registry_client import RegisteredVersion, RegistryAwayError

PACKAGED: Final = fitted("packaged")
MODELS: Final = {version: fitted(version) for version in ("1", "2", "3")}
REFUSED: Final = "4"
REGISTERED_BASELINE: Final = "5"
UNKNOWN: Final = "9"
REGISTERED: Final = (*MODELS, REFUSED, REGISTERED_BASELINE)


class Registry:
    """A registry in memory that may be away. Implements `RegistryClient`."""

    def __init__(self) -> None:
        self.alias: str | None = None
        self.away = False
        self.failures = 0
        # True if versions have the tag with their digest.
        self.tagged = False

    def _answer(self) -> None:
        if self.away:
            self.failures += 1
            raise RegistryAwayError("does not answer")

    async def aliases(self) -> Mapping[str, str]:
        """Return the alias, if it was set."""
        self._answer()
        return {"ml": self.alias} if self.alias else {}

    async def versions(self) -> list[RegisteredVersion]:
        """Return the versions, newest first."""
        self._answer()
        return [
            RegisteredVersion(
                v,
                MODELS[v].digest if self.tagged and v in MODELS else None,
                "baseline" if v == REGISTERED_BASELINE else "ml",
                "",
            )
            for v in reversed(REGISTERED)
        ]

    async def download(self, version: RegisteredVersion, folder: Path) -> Path | None:
        """Fail: the loader of these tests has its models in memory."""
        raise AssertionError(version)

    async def close(self) -> None:
        """There is nothing to close."""


class HeldLoader(ModelLoader):
    """A loader of models in memory; loads wait while `open` is not set."""

    def __init__(self, registry: Registry, note: LastGood | None) -> None:
        super().__init__(ModelSettings(), registry, ModelCache(Path(), "", ""))
        self.open = asyncio.Event()
        self.open.set()
        self.resolved: str | None = None
        self.note = note
        self.reason = "is not finite"
        # The reason for which no load gives a verdict.
        self.busy = ""
        self.loads = 0

    async def resolve(self, wanted: str) -> str | None:
        """Return the number of a wanted version, and record it."""
        self.resolved = await super().resolve(wanted)
        return self.resolved

    async def load(self, version: RegisteredVersion) -> Model:
        """Return a model or refuse it, once loads are open."""
        await self.open.wait()
        if version.version == REFUSED:
            raise ArtefactError(self.reason)
        if self.busy:
            raise UnjudgedError(self.busy)
        self.loads += 1
        return BASELINE if version.version == REGISTERED_BASELINE else MODELS[version.version]

    async def remember(self, model: Model, alias_version: str) -> None:
        """Record the model in memory."""
        self.note = LastGood("", "", model.version, model.digest, "", alias_version)

    def last_good(self) -> LastGood | None:
        """Return the recorded model."""
        return self.note
