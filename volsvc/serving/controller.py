"""Who changes what serves: operators, the registry's aliases, settings. One change at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Protocol

from volsvc.backoff import Backoff
from volsvc.config.settings import ModelSettings
from volsvc.domain import VolsvcError
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model
from volsvc.serving.breaker import CircuitBreaker
from volsvc.serving.holder import BASELINE, ModelHolder, Serving
from volsvc.serving.mlflow_rest import RegistryAwayError
from volsvc.serving.model_loader import ModelLoader

# Times poll_s that a registry which is away is left alone at the most.
LONGEST_WAIT: Final = 10.0


class ModelRefusedError(VolsvcError):
    """A version that was asked for must not serve, or does not exist; what serves goes on."""


class ControllerEvents(Protocol):
    """Hears how the registry fares, for health and metrics."""

    def polled(self, reason: str, *, is_open: bool) -> None:
        """A poll ended; with a reason the registry did not answer."""
        ...


class ModelController:
    """Loads candidates off the event loop and hands the good ones to the holder."""

    def __init__(
        self,
        settings: ModelSettings,
        holder: ModelHolder,
        loader: ModelLoader,
        events: ControllerEvents,
    ) -> None:
        self._settings = settings
        self._holder = holder
        self._loader = loader
        self._events = events
        self._wanted = settings.version
        self._seen = note.seen if (note := loader.last_good()) else ""
        self._confirmed = False
        self._breaker = CircuitBreaker(Backoff(settings.poll_s, settings.poll_s * LONGEST_WAIT))
        self._busy = asyncio.Lock()
        self._nudged = asyncio.Event()

    # --- operators ------------------------------------------------------------------------

    async def activate(self, variant: str, version: str | None, trigger: str) -> Serving:
        """Serve a variant, or one version of `ml`, from the next request on.

        Raises ModelRefusedError or RegistryAwayError; what serves then goes on.
        """
        if variant == BASELINE.variant:
            if version not in (None, BASELINE.version):
                raise ModelRefusedError(
                    f"the baseline is code, this package has version {BASELINE.version}"
                )
            return self._holder.change(trigger, variant=variant)
        model = self._holder.desired.fitted
        if version is not None or model is None:
            async with self._busy:
                model = await self._requested(version, trigger)
        if model is BASELINE:
            return self._holder.change(trigger, variant=variant, alias_baseline=True)
        # An operator's word is above the guard's.
        serving = self._fit(model, trigger, variant=variant, stopped=None)
        self._loader.remember(model, self._seen)
        return serving

    async def _requested(self, version: str | None, trigger: str) -> Model:
        try:
            self._breaker.check(time.monotonic())
            entry = await self._loader.entry(version)
            return await self._loader.obtain(entry)
        except ArtefactError as error:
            self._holder.tell("refused", trigger, str(error))
            raise ModelRefusedError(str(error)) from error

    def rollback(self, trigger: str) -> Serving:
        """Serve what served before; raises ModelRefusedError when nothing did."""
        serving = self._holder.rollback(trigger)
        if serving is None:
            raise ModelRefusedError("nothing else has served since the start")
        fitted = self._holder.desired.fitted
        if fitted is not None:
            self._loader.remember(fitted, self._seen)
        return serving

    def reload(self, settings: ModelSettings) -> None:
        """Take over variant and version of fresh settings, and poll at once."""
        changed = settings.version != self._wanted
        self._wanted = settings.version
        if settings.variant != self._holder.desired.variant or changed:
            self._holder.change("sighup", variant=settings.variant)
        if changed or self._holder.desired.lacking is not None:
            # What was refused gets another chance.
            self._seen = ""
        self._nudged.set()

    # --- the registry ---------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the alias until cancelled; a registry that is away is waited for."""
        try:
            while True:
                delay_s = await self._poll_once()
                self._nudged.clear()
                try:
                    async with asyncio.timeout(delay_s):
                        await self._nudged.wait()
                except TimeoutError:
                    continue
        finally:
            await self._loader.close()

    async def _poll_once(self) -> float:
        """One look at the registry; returns the seconds until the next."""
        try:
            async with self._busy:
                await self._follow()
        except RegistryAwayError as error:
            delay_s = self._breaker.failed(time.monotonic(), str(error))
            self._events.polled(str(error), is_open=self._breaker.open)
            if not self._confirmed and self._holder.desired.lacking is None:
                what = f"the last good model serves: {error}"
                self._holder.change("registry", lacking=what)
            return delay_s
        self._breaker.worked()
        self._events.polled("", is_open=False)
        return self._settings.poll_s

    async def _follow(self) -> None:
        desired = self._holder.desired
        target = await self._loader.target(self._wanted)
        if target is None or target == self._seen:
            if not self._confirmed and desired.lacking is not None:
                self._holder.change("registry", "the registry answers", lacking=None)
            self._confirmed = True
            return
        trigger = "settings" if self._wanted else "alias"
        try:
            model = await self._loader.obtain(await self._loader.entry(target))
        except ArtefactError as error:
            lacking = f"version {target} is refused: {error}"
            self._holder.tell("refused", trigger, lacking)
            self._holder.change(trigger, lacking=lacking)
        else:
            if model is BASELINE:
                self._holder.change(trigger, f"version {target}", alias_baseline=True, lacking=None)
            else:
                self._fit(model, trigger)
                self._loader.remember(model, target)
        self._seen, self._confirmed = target, True

    def _fit(self, model: Model, trigger: str, **more: Any) -> Serving:
        """Another fitted model, or the same under the name that the registry has for it."""
        held = self._holder.desired.fitted
        changes: dict[str, Any] = {"fitted": model, "lacking": None, "alias_baseline": False}
        changes |= more
        if held is None or held.digest != model.digest:
            # What the guard holds was against another model.
            changes["stopped"] = None
        return self._holder.change(trigger, **changes)
