"""`volsvc run`: run the daemon, and reload its settings at SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.daemon import Daemon, while_compiling
from volsvc.daemon.gc_tuning import tune_gc
from volsvc.domain import StartupError
from volsvc.pipeline.warmup import load_packaged
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)


async def run_daemon(settings: Settings, load: Callable[[], Settings], stop: asyncio.Event) -> None:
    """Run the daemon until `stop` is set; `load` reads the settings again."""
    # Before the parts are built, which need the model: its check may compile kernels, and would
    # hold the event loop.
    if await while_compiling(load_packaged, stop) is None:
        log.info("stopped")
        return
    daemon = Daemon(settings)

    def reload() -> None:
        # A mistake in the file must not end a daemon that works.
        try:
            daemon.reload(load())
        except (SettingsError, StartupError) as error:
            log.warning("reload_refused", error=str(error))

    def on_ready(url: str) -> None:
        # Not before: what the start makes, which is most of all objects, is frozen too.
        background.append(asyncio.create_task(tune_gc(lambda: len(daemon.services.table))))
        # Flushed: scripts wait for this line on a pipe.
        print(f"volsvc is ready{f' at {url}/' if url else ''}", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    background: list[asyncio.Task[None]] = []
    try:
        await daemon.run(stop, on_ready)
    finally:
        for task in background:
            task.cancel()
