"""Who changes what serves: operators, the registry's aliases, settings. One change at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from volsvc.config import ModelSettings
from volsvc.domain import VolsvcError
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model
from volsvc.models.breaker import Breaker
from volsvc.models.cache import ModelCache
from volsvc.models.holder import BASELINE, ModelHolder, Serving
from volsvc.models.loading import load_model
from volsvc.models.remote import Entry, RegistryAwayError, Remote
from volsvc.supervisor import Backoff

ALIAS: Final = "ml"
LONGEST_WAIT: Final = 10.0
"""Times poll_s that a registry which is away is left alone at the most."""
T = TypeVar("T")


class ModelRefusedError(VolsvcError):
    """A version that was asked for must not serve, or does not exist; what serves goes on."""


class ControlEvents(Protocol):
    """Hears how the registry fares, for health and metrics."""

    def polled(self, reason: str, *, is_open: bool) -> None:
        """A poll ended; with a reason the registry did not answer."""
        ...


class ModelControl:
    """Loads candidates off the event loop and hands the good ones to the holder."""

    def __init__(
        self,
        settings: ModelSettings,
        holder: ModelHolder,
        remote: Remote,
        cache: ModelCache,
        events: ControlEvents,
    ) -> None:
        self._settings = settings
        self._holder = holder
        self._remote = remote
        self._cache = cache
        self._events = events
        self._wanted = settings.version
        self._seen = note.seen if (note := cache.last_good()) else ""
        self._confirmed = False
        self._breaker = Breaker(Backoff(settings.poll_s, settings.poll_s * LONGEST_WAIT))
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
        model = self._holder.wish.fitted
        if version is not None or model is None:
            async with self._busy:
                model = await self._requested(version, trigger)
        if model is BASELINE:
            return self._holder.change(trigger, variant=variant, alias_baseline=True)
        # An operator's word is above the guard's.
        serving = self._fit(model, trigger, variant=variant, stopped=None)
        self._cache.remember(model, self._seen)
        return serving

    async def _requested(self, version: str | None, trigger: str) -> Model:
        try:
            return await self._obtain(await self._guarded(self._resolve, version))
        except ArtefactError as error:
            self._holder.tell("refused", trigger, str(error))
            raise ModelRefusedError(str(error)) from error

    def rollback(self, trigger: str) -> Serving:
        """Serve what served before; raises ModelRefusedError when nothing did."""
        serving = self._holder.rollback(trigger)
        if serving is None:
            raise ModelRefusedError("nothing else has served since the start")
        fitted = self._holder.wish.fitted
        if fitted is not None:
            self._cache.remember(fitted, self._seen)
        return serving

    async def entries(self) -> list[Entry]:
        """The versions that the registry holds, newest first; raises RegistryAwayError."""
        return await self._guarded(self._remote.entries)

    def reload(self, settings: ModelSettings) -> None:
        """Take over variant and version of fresh settings, and poll at once."""
        changed = settings.version != self._wanted
        self._wanted = settings.version
        if settings.variant != self._holder.wish.variant or changed:
            self._holder.change("sighup", variant=settings.variant)
        if changed:
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
            await self._remote.close()

    async def _poll_once(self) -> float:
        """One look at the registry; returns the seconds until the next."""
        try:
            async with self._busy:
                await self._follow()
        except RegistryAwayError as error:
            delay_s = self._breaker.failed(time.monotonic(), str(error))
            self._events.polled(str(error), is_open=self._breaker.open)
            if not self._confirmed and self._holder.wish.lacking is None:
                what = f"the last good model serves: {error}"
                self._holder.change("registry", lacking=what)
            return delay_s
        self._breaker.worked()
        self._events.polled("", is_open=False)
        return self._settings.poll_s

    async def _follow(self) -> None:
        wish = self._holder.wish
        target = await self._target()
        if target is None or target == self._seen:
            if not self._confirmed and wish.lacking is not None:
                self._holder.change("registry", "the registry answers", lacking=None)
            self._confirmed = True
            return
        trigger = "settings" if self._wanted else "alias"
        try:
            model = await self._obtain(await self._resolve(target))
        except ArtefactError as error:
            lacking = f"version {target} is refused: {error}"
            self._holder.tell("refused", trigger, lacking)
            self._holder.change(trigger, lacking=lacking)
        else:
            if model is BASELINE:
                self._holder.change(trigger, f"version {target}", alias_baseline=True, lacking=None)
            else:
                self._fit(model, trigger)
                self._cache.remember(model, target)
        self._seen, self._confirmed = target, True

    async def _target(self) -> str | None:
        """The version to follow: the one that is pinned, the latest, or the alias."""
        if self._wanted == "latest":
            return next((e.version for e in await self._fitted_entries()), None)
        if self._wanted:
            return self._wanted
        return (await self._bounded(self._remote.aliases())).get(ALIAS)

    async def _resolve(self, version: str | None) -> Entry:
        """A version's entry; `latest` is the newest fitted one, None the alias."""
        entries = await self._bounded(self._remote.entries())
        if version is None:
            version = (await self._bounded(self._remote.aliases())).get(ALIAS, "")
        if version == "latest":
            found = next(iter(await self._fitted_entries()), None)
        else:
            found = next((entry for entry in entries if entry.version == version), None)
        if found is None:
            raise ArtefactError(f"{self._settings.name} has no version {version or ALIAS!r}")
        return found

    async def _fitted_entries(self) -> list[Entry]:
        entries = await self._bounded(self._remote.entries())
        return [e for e in entries if e.digest != BASELINE.digest and e.variant != "baseline"]

    async def _obtain(self, entry: Entry) -> Model:
        """A model that was proved, from what is held, the cache or the registry.

        Raises ArtefactError with the reason why it must not serve.
        """
        held = self._holder.wish.fitted
        if held is not None and (held.version, held.digest) == (entry.version, entry.digest):
            return held
        if entry.digest == BASELINE.digest or entry.variant == BASELINE.variant:
            return BASELINE
        cached = self._cache.find(entry.digest) if entry.digest else None
        if cached is not None:
            return await self._load(cached, entry)
        with self._cache.incoming() as folder:
            path = await self._bounded(self._remote.fetch(entry, folder))
            if path is None:
                raise ArtefactError(f"version {entry.version} holds no .npz artefact")
            return await self._load(path, entry)

    async def _load(self, path: Path, entry: Entry) -> Model:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.load_timeout_s):
                model = await asyncio.to_thread(
                    load_model, path, entry.digest, entry.version, settings
                )
                await asyncio.to_thread(self._cache.keep, path)
        except TimeoutError as error:
            limit = f"model.load_timeout_s = {settings.load_timeout_s:g}"
            raise ArtefactError(f"was not proved within {limit}") from error
        except OSError as error:
            raise ArtefactError(f"{path.name}: {error.strerror or error}") from error
        return model

    def _fit(self, model: Model, trigger: str, **more: Any) -> Serving:
        """Another fitted model, or the same under the name that the registry has for it."""
        held = self._holder.wish.fitted
        changes: dict[str, Any] = {"fitted": model, "lacking": None, "alias_baseline": False}
        changes |= more
        if held is None or held.digest != model.digest:
            # What the guard holds was against another model.
            changes["stopped"] = None
        return self._holder.change(trigger, **changes)

    async def _guarded(self, call: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """An operator's call: it fails at once while the registry is known to be away."""
        self._breaker.check(time.monotonic())
        return await self._bounded(call(*arguments))

    async def _bounded(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._settings.load_timeout_s):
                return await call
        except TimeoutError as error:
            limit = f"model.load_timeout_s = {self._settings.load_timeout_s:g}"
            raise RegistryAwayError(f"the registry does not answer within {limit}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegistryAwayError(f"the registry's answer is not MLflow's: {error!r}") from error
