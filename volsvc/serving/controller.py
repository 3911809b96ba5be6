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
from volsvc.serving.model_loader import ModelLoader, UnjudgedError
from volsvc.serving.registry_breaker import CircuitBreaker
from volsvc.serving.registry_client import RegisteredVersion, RegistryAwayError

# The longest pause between polls of a registry that is away, in units of model.poll_s.
LONGEST_PAUSE: Final = 10.0


class ModelRefusedError(VolsvcError):
    """A requested version must not serve, or does not exist; the active model stays."""


class RegistryListener(Protocol):
    """Receives the outcome of polls of the registry, for health and metrics."""

    def polled(self, reason: str, *, is_open: bool) -> None:
        """Report the end of a poll; `reason` is not empty if the registry did not answer."""
        ...

    def postponed(self, trigger: str, reason: str, delay_s: float) -> None:
        """Report a version without a verdict, which is tried again after the delay."""
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
        # The version that could not be judged, and the loop's time of the next attempt.
        self._unjudged = ""
        self._next_attempt_s = 0.0
        self._retries = Backoff(settings.poll_s, settings.poll_s * LONGEST_PAUSE)
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
            self._stop_retries()
            return self._holder.apply(replace(self._holder.desired, variant=variant), trigger)
        model = self._holder.desired.fitted
        if version is not None or model is None:
            async with self._loading:
                model = await self._load_requested(version, trigger)
        self._stop_retries()
        desired = replace(self._holder.desired, variant=variant)
        if model is BASELINE:
            return self._holder.apply(replace(desired, alias_baseline=True), trigger)
        # An operator overrules the guard.
        serving = self._holder.apply(replace(_with_fitted(desired, model), stopped=None), trigger)
        await self._remember(self._seen)
        return serving

    async def _load_requested(self, version: str | None, trigger: str) -> Model:
        try:
            self._breaker.check(time.monotonic())
            return await self._load(await self._loader.find(version))
        except ArtefactError as error:
            self._holder.notify("refused", trigger, str(error))
            raise ModelRefusedError(str(error)) from error

    def _stop_retries(self) -> None:
        """Let an operator's choice hold until the alias moves: it is newer than its last move."""
        if self._unjudged:
            self._seen, self._unjudged = self._unjudged, ""

    async def rollback(self, trigger: str) -> Serving:
        """Return to the model that was active before; raises ModelRefusedError without one."""
        serving = self._holder.rollback(trigger)
        if serving is None:
            raise ModelRefusedError("nothing else has served since the start")
        self._stop_retries()
        await self._remember(self._seen)
        return serving

    async def _remember(self, seen: str) -> None:
        fitted = self._holder.desired.fitted
        if fitted is not None:
            await self._loader.remember(fitted, seen)

    def reload(self, settings: ModelSettings) -> None:
        """Adopt variant and version of new settings, and poll at once."""
        desired = self._holder.desired
        changed = settings.version != self._wanted
        self._wanted = settings.version
        if settings.variant != desired.variant or changed:
            self._holder.apply(replace(desired, variant=settings.variant), "sighup")
        if changed or self._holder.desired.load_error is not None:
            # A version that was refused gets another chance.
            self._seen = self._unjudged = ""
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
        self._confirmed = True
        self._breaker.worked()
        self._listener.polled("", is_open=False)
        return self._settings.poll_s

    async def _follow(self) -> None:
        """Make the wanted version active if it is not the one seen last."""
        target = await self._loader.resolve(self._wanted)
        if target is None or target == self._seen:
            if not self._confirmed and self._holder.desired.load_error is not None:
                self._set_load_error("registry", None, "the registry answers")
            return
        now_s = asyncio.get_running_loop().time()
        if target != self._unjudged:
            self._retries.reset()
        elif now_s < self._next_attempt_s:
            return
        trigger = "settings" if self._wanted else "alias"
        try:
            model = await self._load(await self._loader.find(target))
        except UnjudgedError as error:
            delay_s = self._retries.delay_s()
            # Not seen, so that an alias that moves back is followed too.
            self._seen, self._unjudged, self._next_attempt_s = "", target, now_s + delay_s
            reason = f"version {target} could not be judged, and is tried again: {error}"
            self._listener.postponed(trigger, reason, delay_s)
            self._set_load_error(trigger, reason)
            return
        except ArtefactError as error:
            reason = f"version {target} is refused: {error}"
            self._holder.notify("refused", trigger, reason)
            self._set_load_error(trigger, reason)
            self._seen, self._unjudged = target, ""
        else:
            await self._adopt(model, target, trigger)

    async def _load(self, version: RegisteredVersion) -> Model:
        """Return the model of a version, which is the held one if it has the same bytes."""
        held = self._holder.desired.fitted
        if held is not None and version.digest == held.digest:
            return held
        return await self._loader.load(version)

    async def _adopt(self, model: Model, version: str, trigger: str) -> None:
        self._seen, self._unjudged = version, ""
        desired = self._holder.desired
        if model is BASELINE:
            followed = replace(desired, alias_baseline=True, load_error=None)
            self._holder.apply(followed, trigger, f"version {version}")
            return
        self._holder.apply(_with_fitted(desired, model), trigger)
        await self._remember(version)

    def _set_load_error(self, trigger: str, load_error: str | None, reason: str = "") -> None:
        desired = replace(self._holder.desired, load_error=load_error)
        self._holder.apply(desired, trigger, reason)


def _with_fitted(desired: DesiredModel, model: Model) -> DesiredModel:
    """Return the desired model with another fitted one.

    Equal bytes are one model: the held one then stays, with its name and the guard's verdict on it.
    """
    held = desired.fitted
    chosen = replace(desired, load_error=None, alias_baseline=False)
    if held is not None and held.digest == model.digest:
        return chosen
    return replace(chosen, fitted=model, stopped=None)
