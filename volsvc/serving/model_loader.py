"""Versions of the registry as models that were proved: looked up, fetched, cached, loaded."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from volsvc.config.settings import ModelSettings
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model
from volsvc.serving.cache import LastGood, ModelCache
from volsvc.serving.candidate import load_model
from volsvc.serving.holder import BASELINE
from volsvc.serving.mlflow_rest import Entry, RegistryAwayError, Remote

ALIAS: Final = "ml"
LATEST: Final = "latest"
YIELD_S: Final = 2e-4
# Models that stay loaded, so that going back to one of them costs requests nothing.
KEPT: Final = 3
T = TypeVar("T")


class ModelLoader:
    """A registry with a cache before it; nothing here blocks the event loop.

    Every call raises RegistryAwayError when the registry does not answer within load_timeout_s.
    """

    def __init__(self, settings: ModelSettings, remote: Remote, cache: ModelCache) -> None:
        self._settings = settings
        self._remote = remote
        self._cache = cache
        self._alive: WeakValueDictionary[tuple[str, str], Model] = WeakValueDictionary()
        self._recent: deque[Model] = deque(maxlen=KEPT)

    async def target(self, wanted: str) -> str | None:
        """The version to serve: a number that is wanted, the latest, or where the alias points."""
        if wanted == LATEST:
            return next((entry.version for entry in await self._fitted()), None)
        return wanted or (await self._bounded(self._remote.aliases())).get(ALIAS)

    async def entry(self, version: str | None) -> Entry:
        """A version's entry, None for the alias's; raises ArtefactError when there is none."""
        number = await self.target(version or "")
        found = [e for e in await self._bounded(self._remote.entries()) if e.version == number]
        if not found:
            raise ArtefactError(f"{self._settings.name} has no version {version or ALIAS!r}")
        return found[0]

    async def _fitted(self) -> list[Entry]:
        return [e for e in await self._bounded(self._remote.entries()) if not _is_baseline(e)]

    async def obtain(self, entry: Entry) -> Model:
        """A model that was proved: one that is in use, from the cache, or from the registry.

        Raises ArtefactError with the reason why it must not serve.
        """
        if _is_baseline(entry):
            return BASELINE
        alive = self._alive.get((entry.version, entry.digest or ""))
        if alive is not None:
            return self._kept(alive)
        cached = self._cache.find(entry.digest) if entry.digest else None
        if cached is not None:
            return await self._load(cached, entry, proved=True)
        with self._cache.incoming() as folder:
            path = await self._bounded(self._remote.fetch(entry, folder))
            if path is None:
                raise ArtefactError(f"version {entry.version} holds no .npz artefact")
            return await self._load(path, entry, proved=await self._prove(path, entry))

    async def _prove(self, path: Path, entry: Entry) -> bool:
        """Try a new file out where it can do no harm; raises ArtefactError.

        False for a pickle: one that is not allowed is refused without being read, and one that is
        allowed is tried out where it is loaded.
        """
        if path.suffix == ".pkl":
            return False
        command = [sys.executable, "-m", "volsvc.serving.candidate", str(path), entry.digest or ""]
        command.append(self._settings.model_dump_json())
        limit_s = self._settings.load_timeout_s
        try:
            # In a thread: the event loop's own way of starting a process holds it for 50 ms.
            ended = await asyncio.to_thread(
                subprocess.run, command, stderr=subprocess.PIPE, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            limit = f"model.load_timeout_s = {limit_s:g}"
            raise ArtefactError(f"was not proved within {limit}") from error
        if ended.returncode:
            lines = ended.stderr.decode(errors="replace").strip().splitlines()
            raise ArtefactError(lines[-1] if lines else f"its proof ended by {ended.returncode}")
        return True

    async def _load(self, path: Path, entry: Entry, *, proved: bool) -> Model:
        settings = self._settings
        load = partial(load_model, path, entry.digest, entry.version, settings, proved=proved)
        try:
            async with asyncio.timeout(settings.load_timeout_s):
                with _yielding():
                    model = await asyncio.to_thread(load)
                await asyncio.to_thread(self._cache.keep, path)
        except TimeoutError as error:
            limit = f"model.load_timeout_s = {settings.load_timeout_s:g}"
            raise ArtefactError(f"was not proved within {limit}") from error
        except OSError as error:
            raise ArtefactError(f"{path.name}: {error.strerror or error}") from error
        self._alive[model.version, model.digest] = model
        return self._kept(model)

    def _kept(self, model: Model) -> Model:
        """Note that a model is in use, and let the one go that was not for longest."""
        if model in self._recent:
            self._recent.remove(model)
        self._recent.append(model)
        return model

    def remember(self, model: Model, seen: str) -> None:
        """Note what the next start serves before it has asked the registry."""
        self._cache.remember(model, seen)

    def last_good(self) -> LastGood | None:
        """What was remembered."""
        return self._cache.last_good()

    async def close(self) -> None:
        """Let go of connections."""
        await self._remote.close()

    async def _bounded(self, call: Awaitable[T]) -> T:
        limit_s = self._settings.load_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except TimeoutError as error:
            raise RegistryAwayError(f"the registry does not answer in {limit_s:g} s") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegistryAwayError(f"the registry's answer is not MLflow's: {error!r}") from error


@contextlib.contextmanager
def _yielding() -> Iterator[None]:
    """Make threads hand the interpreter over more often.

    The event loop gives it up at every system call, and would wait the usual 5 ms each time to have
    it back from a thread that reads a model: requests would take twenty times as long.
    """
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(YIELD_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)


def _is_baseline(entry: Entry) -> bool:
    return entry.digest == BASELINE.digest or entry.variant == BASELINE.variant
