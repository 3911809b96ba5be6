"""Changes the active model: by operators, by the registry's alias, and by settings."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final, Protocol

from volsvc.backoff import Backoff
from volsvc.config.model import ModelSettings
from volsvc.domain import VolsvcError
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import BASELINE, DesiredModel, Serving
from volsvc.serving.model_loader import ModelLoader
from volsvc.serving.registry_breaker import CircuitBreaker
from volsvc.serving.registry_client import RegistryAwayError

# The longest pause between polls of a registry that is away, in units of model.poll_s.
LONGEST_PAUSE: Final = 10.0


class ModelRefusedError(VolsvcError):
    """A requested version must not serve, or does not exist; the active model stays."""


class RegistryListener(Protocol):
    """Receives the outcome of polls of the registry, for health and metrics."""

    def polled(self, reason: str, *, is_open: bool) -> None:
        """Report the end of a poll; `reason` is not empty if the registry did not answer."""
        ...


class ModelController:
    """Loads candidates off the event loop and hands verified ones to the holder."""

    def __init__(
        self,
        settings: ModelSettings,
        holder: ModelHolder,
        loader: ModelLoader,
        listener: RegistryListener,
    ) -> None:
        self._settings = settings
        self._holder = holder
        self._loader = loader
        self._listener = listener
        self._wanted = settings.version
        # The alias's version when the last good model was recorded. As long as the alias stays
        # there, an operator's later choice survives a restart.
        self._seen = note.seen if (note := loader.last_good()) else ""
        self._confirmed = False
        self._breaker = CircuitBreaker(Backoff(settings.poll_s, settings.poll_s * LONGEST_PAUSE))
        # Only one candidate is loaded at a time.
        self._loading = asyncio.Lock()
        self._poll_now = asyncio.Event()

    # --- operators ------------------------------------------------------------------------

    async def activate(self, variant: str, version: str | None, trigger: str) -> Serving:
        """Make a variant, or one version of `ml`, active from the next request on.

        Raises ModelRefusedError or RegistryAwayError; the active model then stays.
        """
        if variant == BASELINE.variant:
            if version not in (None, BASELINE.version):
                raise ModelRefusedError(
                    f"the baseline is code, this package has version {BASELINE.version}"
                )
            return self._holder.apply(replace(self._holder.desired, variant=variant), trigger)
        model = self._holder.desired.fitted
        if version is not None or model is None:
            async with self._loading:
                model = await self._load_requested(version, trigger)
        desired = replace(self._holder.desired, variant=variant)
        if model is BASELINE:
            return self._holder.apply(replace(desired, alias_baseline=True), trigger)
        # An operator overrules the guard.
        serving = self._holder.apply(replace(_with_fitted(desired, model), stopped=None), trigger)
        self._loader.remember(model, self._seen)
        return serving

    async def _load_requested(self, version: str | None, trigger: str) -> Model:
        try:
            self._breaker.check(time.monotonic())
            return await self._loader.load(await self._loader.find(version))
        except ArtefactError as error:
            self._holder.notify("refused", trigger, str(error))
            raise ModelRefusedError(str(error)) from error

    def rollback(self, trigger: str) -> Serving:
        """Return to the model that was active before; raises ModelRefusedError without one."""
        serving = self._holder.rollback(trigger)
        if serving is None:
            raise ModelRefusedError("nothing else has served since the start")
        fitted = self._holder.desired.fitted
        if fitted is not None:
            self._loader.remember(fitted, self._seen)
        return serving

    def reload(self, settings: ModelSettings) -> None:
        """Adopt variant and version of new settings, and poll at once."""
        desired = self._holder.desired
        changed = settings.version != self._wanted
        self._wanted = settings.version
        if settings.variant != desired.variant or changed:
            self._holder.apply(replace(desired, variant=settings.variant), "sighup")
        if changed or self._holder.desired.load_error is not None:
            # A version that was refused gets another chance.
            self._seen = ""
        self._poll_now.set()

    # --- the registry ---------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the alias until cancelled, with growing pauses while the registry is away."""
        try:
            while True:
                # Before the poll: a reload in the middle of one is followed at once.
                self._poll_now.clear()
                delay_s = await self._poll_once()
                try:
                    async with asyncio.timeout(delay_s):
                        await self._poll_now.wait()
                except TimeoutError:
                    continue
        finally:
            await self._loader.close()

    async def _poll_once(self) -> float:
        """Poll the registry; return the seconds until the next poll."""
        try:
            async with self._loading:
                await self._follow()
        except RegistryAwayError as error:
            delay_s = self._breaker.failed(time.monotonic(), str(error))
            self._listener.polled(str(error), is_open=self._breaker.open)
            # Until the first answer it is not known whether the last good model is the alias's.
            # Later the active model is the one that was asked for, so this is no fallback.
            if not self._confirmed and self._holder.desired.load_error is None:
                self._set_load_error("registry", f"the last good model serves: {error}")
            return delay_s
        self._breaker.worked()
        self._listener.polled("", is_open=False)
        return self._settings.poll_s

    async def _follow(self) -> None:
        """Make the wanted version active if it is not the one seen last."""
        target = await self._loader.resolve(self._wanted)
        if target is None or target == self._seen:
            if not self._confirmed and self._holder.desired.load_error is not None:
                self._set_load_error("registry", None, "the registry answers")
            self._confirmed = True
            return
        trigger = "settings" if self._wanted else "alias"
        try:
            model = await self._loader.load(await self._loader.find(target))
        except ArtefactError as error:
            reason = f"version {target} is refused: {error}"
            self._holder.notify("refused", trigger, reason)
            self._set_load_error(trigger, reason)
        else:
            self._adopt(model, target, trigger)
        self._seen, self._confirmed = target, True

    def _adopt(self, model: Model, version: str, trigger: str) -> None:
        desired = self._holder.desired
        if model is BASELINE:
            followed = replace(desired, alias_baseline=True, load_error=None)
            self._holder.apply(followed, trigger, f"version {version}")
            return
        self._holder.apply(_with_fitted(desired, model), trigger)
        self._loader.remember(model, version)

    def _set_load_error(self, trigger: str, load_error: str | None, reason: str = "") -> None:
        desired = replace(self._holder.desired, load_error=load_error)
        self._holder.apply(desired, trigger, reason)


def _with_fitted(desired: DesiredModel, model: Model) -> DesiredModel:
    """Return the desired model with another fitted one, or the same under its registered name."""
    held = desired.fitted
    # The guard's verdict is on one model, and does not pass to another.
    another = held is None or held.digest != model.digest
    stopped = None if another else desired.stopped
    return replace(desired, fitted=model, load_error=None, alias_baseline=False, stopped=stopped)
