"""Loads versions of the registry as verified models: resolved, downloaded, cached, loaded."""

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

from volsvc.config.model import ModelSettings
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model
from volsvc.serving.artefact_cache import LastGood, ModelCache
from volsvc.serving.candidate import REFUSED, load_model
from volsvc.serving.model_choice import BASELINE
from volsvc.serving.registry_client import RegisteredVersion, RegistryAwayError, RegistryClient

ALIAS: Final = "ml"
LATEST: Final = "latest"
SWITCH_INTERVAL_S: Final = 2e-4
# Models that stay loaded, so that a rollback to one of them costs requests nothing.
KEPT_LOADED: Final = 3
T = TypeVar("T")


class UnjudgedError(ArtefactError):
    """There is no verdict on a version: it is missing, or this machine could not prove it in time.

    It may be tried again, while another ArtefactError holds for good.
    """


class ModelLoader:
    """A registry with a cache before it; nothing here blocks the event loop.

    Every call raises RegistryAwayError if the registry does not answer within load_timeout_s.
    """

    def __init__(
        self, settings: ModelSettings, registry: RegistryClient, cache: ModelCache
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._cache = cache
        self._loaded: WeakValueDictionary[tuple[str, str | None], Model] = WeakValueDictionary()
        self._recent: deque[Model] = deque(maxlen=KEPT_LOADED)
        # Records are written in the order of the changes.
        self._recording = asyncio.Lock()
        # The thread that reads a model, or has read the last one.
        self._thread: asyncio.Future[Model] | None = None

    async def resolve(self, wanted: str) -> str | None:
        """Return the number of a wanted version: itself, `latest`, or empty for the alias's.

        None if the registry has no such version.
        """
        if wanted == LATEST:
            return next((v.version for v in await self._versions() if not _is_baseline(v)), None)
        return wanted or (await self._bounded(self._registry.aliases())).get(ALIAS)

    async def find(self, version: str | None) -> RegisteredVersion:
        """Return a version, None for the alias's; raises UnjudgedError if there is none."""
        number = await self.resolve(version or "")
        found = [v for v in await self._versions() if v.version == number]
        if not found:
            raise UnjudgedError(f"{self._settings.name} has no version {version or ALIAS!r}")
        return found[0]

    async def _versions(self) -> list[RegisteredVersion]:
        return await self._bounded(self._registry.versions())

    async def load(self, version: RegisteredVersion) -> Model:
        """Return a verified model: one in use, one from the cache, or one from the registry.

        Raises ArtefactError with the reason for which it must not serve, and UnjudgedError if that
        is a fault of the machine: too busy, or without memory, processes or room on its disk.
        """
        try:
            return await self._load(version)
        except (OSError, MemoryError) as error:
            raise UnjudgedError(f"cannot be loaded: {_reason(error)}") from error

    async def _load(self, version: RegisteredVersion) -> Model:
        if _is_baseline(version):
            return BASELINE
        loaded = self._loaded.get((version.version, version.digest))
        if loaded is not None:
            return self._keep(loaded)
        cached = self._cache.find(version.digest) if version.digest else None
        if cached is not None:
            try:
                return await self._load_file(cached, version, verified=True)
            except UnjudgedError:
                raise
            except ArtefactError:
                # Its copy may be damaged, so the registry's own file decides.
                cached.unlink(missing_ok=True)
        with self._cache.incoming() as folder:
            path = await self._bounded(self._registry.download(version, folder))
            if path is None:
                raise ArtefactError(f"version {version.version} holds no .npz artefact")
            return await self._load_file(path, version, verified=await self._verify(path, version))

    async def _verify(self, path: Path, version: RegisteredVersion) -> bool:
        """Verify a new file in a process of its own; raises ArtefactError or OSError.

        False for a pickle: one that is not allowed is refused without being unpickled, and one
        that is allowed is verified in the process that loads it.
        """
        if path.suffix == ".pkl":
            return False
        module = "volsvc.serving.candidate"
        command = [sys.executable, "-m", module, str(path), version.digest or ""]
        command.append(self._settings.model_dump_json())
        limit_s = self._settings.load_timeout_s
        try:
            # In a thread: asyncio's way of starting a process holds the event loop for 50 ms.
            ended = await asyncio.to_thread(
                subprocess.run, command, stderr=subprocess.PIPE, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise self._too_slow() from error
        if ended.returncode:
            lines = ended.stderr.decode(errors="replace").strip().splitlines()
            # A process that was killed, or that fails by itself, has judged nothing.
            verdict = ArtefactError if ended.returncode == REFUSED else UnjudgedError
            raise verdict(lines[-1] if lines else f"its proof ended by {ended.returncode}")
        return True

    async def _load_file(self, path: Path, version: RegisteredVersion, *, verified: bool) -> Model:
        settings = self._settings
        digest, number = version.digest, version.version
        load = partial(load_model, path, digest, number, settings, verified=verified)
        # A thread cannot be ended, and further attempts must not pile threads up.
        if self._thread is not None and not self._thread.done():
            raise UnjudgedError("the thread of an earlier attempt has not ended yet")
        self._thread = asyncio.ensure_future(asyncio.to_thread(load))
        self._thread.add_done_callback(_take_error)
        try:
            async with asyncio.timeout(settings.load_timeout_s):
                with _short_switch_interval():
                    model = await asyncio.shield(self._thread)
                await asyncio.to_thread(self._cache.keep, path)
        except TimeoutError as error:
            raise self._too_slow() from error
        # Under its number in the registry, which is not the version of the packaged model.
        self._loaded[number, model.digest] = model
        return self._keep(model)

    def _too_slow(self) -> UnjudgedError:
        limit_s = self._settings.load_timeout_s
        return UnjudgedError(f"was not proved within model.load_timeout_s = {limit_s:g}")

    def _keep(self, model: Model) -> Model:
        """Mark a model as the most recently used; the least recently used one is released."""
        if model in self._recent:
            self._recent.remove(model)
        self._recent.append(model)
        return model

    async def remember(self, model: Model, alias_version: str) -> None:
        """Record the model that the next start serves before the registry has answered."""
        async with self._recording:
            await asyncio.to_thread(self._cache.remember, model, alias_version)

    def last_good(self) -> LastGood | None:
        """Return the recorded model."""
        return self._cache.last_good()

    async def close(self) -> None:
        """Close the connections to the registry."""
        await self._registry.close()

    async def _bounded(self, call: Awaitable[T]) -> T:
        """Await a call of the registry; every failure of it becomes a RegistryAwayError."""
        limit_s = self._settings.load_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except TimeoutError as error:
            raise RegistryAwayError(f"the registry does not answer in {limit_s:g} s") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegistryAwayError(f"the registry's answer is not MLflow's: {error!r}") from error


@contextlib.contextmanager
def _short_switch_interval() -> Iterator[None]:
    """Make threads release the interpreter more often than every 5 ms.

    The event loop releases it at every system call, and would wait the whole interval each time to
    get it back from a thread that reads a model: requests would take twenty times as long.
    """
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)


def _take_error(thread: asyncio.Future[Model]) -> None:
    """Retrieve the error of a thread that nobody waits for any more; it would be logged."""
    if not thread.cancelled():
        thread.exception()


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f"{Path(error.filename).name}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return str(error) or type(error).__name__


def _is_baseline(version: RegisteredVersion) -> bool:
    return version.digest == BASELINE.digest or version.variant == BASELINE.variant
