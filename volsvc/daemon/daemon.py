"""Starts, supervises and drains the parts of a daemon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from volsvc.backoff import Backoff
from volsvc.compiled.compilations import Compilations
from volsvc.config.settings import Settings
from volsvc.daemon.clock_watch import ClockWatch
from volsvc.daemon.parts import CONSUMER_SHARE, build_parts
from volsvc.daemon.supervisor import Part, finish, supervise
from volsvc.domain import BusError
from volsvc.models.artefact import packaged_digest
from volsvc.pipeline.warmup import ABOUT_S, WarmUpCancelledError, warm_up
from volsvc.serving.publish_packaged import register_packaged
from volsvc.telemetry.logs import get_logger

LOOP_CHECK_S = 0.5
# The longest wait for first answers before "ready".
FIRST_ANSWER_S = 10.0

T = TypeVar("T")

log = get_logger(__name__)


async def while_compiling(
    work: Callable[[Callable[[], None], threading.Event], T], stop: asyncio.Event
) -> T | None:
    """Do work that may compile kernels in a thread; return its result, None once `stop` is set.

    `work` is called with what it has to call before the first compilation, and with an event that
    ends it.
    """
    cancel = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, _log_compilation, cancel))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    cancel.set()
    try:
        return await task
    except WarmUpCancelledError:
        return None


class Daemon:
    """One process: its parts, started together and drained downstream."""

    def __init__(self, settings: Settings) -> None:
        """Build the parts; raises SettingsError, SourceError or StartupError."""
        self.settings = settings
        self._parts = parts = build_parts(settings)
        self.services = parts.services
        self.bus = parts.bus
        self._server = parts.server

    def reload(self, settings: Settings) -> None:
        """Adopt keys, certificate, variant and version; other settings need a restart.

        Raises SettingsError or StartupError; the former settings then stay in force.
        """
        if self._server:
            self._server.reload_certificate(settings.http)
        keyring = self.services.keyring
        keyring.replace(settings.auth)
        self.services.controller.reload(settings.model)
        log.info(
            "reloaded",
            variant=settings.model.variant,
            log_level=settings.service.log_level,
            keys=list(keyring.names),
        )

    async def run(self, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        """Run until `stop` is set or a part fails for good, then drain.

        `on_ready` is called with the base URL once the server is bound, empty without the role
        `api`. Raises the error of the part that failed.
        """
        try:
            await self._serve(stop, on_ready)
        finally:
            self._parts.data_folder.release()

    async def _serve(self, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        services, instance_name = self.services, self._parts.instance_name
        # Bound first: a port that is taken ends the process before anything else has begun.
        url = await self._server.start() if self._server else ""
        holder = services.holder
        holder.notify("start", "settings", holder.current.fallback_reason or "")
        try:
            if await self._warm_up(stop):
                with Compilations(_warn_of_compilation):
                    await self._run_parts(stop, lambda: on_ready(url))
        finally:
            services.health.ready = False
            if self._server:
                await self._server.close()
            await self.bus.stop()
            await asyncio.to_thread(services.tracer.close)
            if instance_name:
                instance_name.release()
            holder.notify("stop", "settings")
            log.info("stopped")

    async def _warm_up(self, stop: asyncio.Event) -> bool:
        """Load the kernels, compiled if the cache lacks some; False if `stop` was set meanwhile.

        Before the consumer starts, and in a thread: a kernel that is compiled when it is first
        called would hold the event loop.
        """
        if not (self._parts.consumer or self._parts.server):
            # A producer computes nothing.
            return True
        health = self.services.health
        health.report("kernels", "fail", "are being compiled")
        done = await while_compiling(warm_up, stop)
        if done is None:
            return False
        health.report("kernels", "ok")
        if done.compiled:
            log.info("compiled", **done._asdict())
        return True

    async def _run_parts(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = self._start(group)
            await self._until_remembered(stop)
            await self._until_answering(stop)
            ready()
            await self._until_caught_up(stop)
            self.services.health.ready = True
            await stop.wait()
            await self._drain(tasks)

    def _start(self, group: asyncio.TaskGroup) -> dict[str, asyncio.Task[None]]:
        """Start the parts that the roles need; return their tasks by name."""
        parts, services = self._parts, self.services
        started: dict[str, Coroutine[Any, Any, None]] = {"monitor": self._measure_loop()}
        following = {"replica": parts.follower, "history": parts.history}
        for name, part in {"consumer": parts.consumer, **following}.items():
            if part:
                started[name] = self._supervise(name, part.run)
        if parts.store:
            started["store"] = parts.store.run()
        if parts.producer:
            started["producer"] = self._supervise("producer", self._produce)
        started["models"] = services.controller.run()
        if parts.consumer:
            started["quality"] = services.quality_monitor.run()
        if services.drift is not None:
            started["drift"] = services.drift.run()
        model = self.settings.model
        if model.import_packaged and model.variant == "ml":
            started["registration"] = register_packaged(
                self.settings, packaged_digest(), services.health
            )
        return {name: group.create_task(task, name=name) for name, task in started.items()}

    async def _produce(self, worked: Callable[[], None]) -> None:
        """Publish the source's ticks; in process only once it can be known where they go on."""
        producer, remembering = self._parts.producer, self._parts.remembering
        assert producer is not None
        if remembering:
            await remembering.restored.wait()
        await producer.run(lambda ticks: worked())

    async def _drain(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        """End the parts downstream: each stage before the one that it feeds."""
        log.info("draining")
        self.services.health.draining = True
        self.services.hub.close()
        await finish(tasks.pop("producer", None), within_s=0)
        # Ends the loop of the consumer: in process after the ticks that were published, on Kafka
        # at once, because the log keeps the rest.
        await self.bus.close()
        grace_s = self.settings.service.shutdown_timeout_s * CONSUMER_SHARE
        await finish(tasks.pop("consumer", None), within_s=grace_s)
        if self._parts.store:
            # What it has read is written by the store.
            await finish(tasks.pop("history", None), within_s=grace_s)
            self._parts.store.close()
            await finish(tasks.pop("store", None), within_s=grace_s)
        for task in tasks.values():
            await finish(task, within_s=0)

    async def _until_remembered(self, stop: asyncio.Event) -> None:
        """Wait until what the store has kept can be asked for."""
        if remembering := self._parts.remembering:
            await _either(stop.wait(), remembering.restored.wait())

    async def _until_answering(self, stop: asyncio.Event) -> None:
        """Wait for the first answer about each symbol that is due now, but not for long.

        Whoever reads that the service is ready asks for one.
        """
        if self._parts.producer is None or self._parts.consumer is None:
            return
        known = self.services.latest_store.until_known(self._parts.producer.prompt)
        await _either(stop.wait(), known, within_s=FIRST_ANSWER_S)

    async def _until_caught_up(self, stop: asyncio.Event) -> None:
        """Wait until every symbol is known, at most for kafka.restore_timeout_s.

        A balancer that sends requests earlier would get 404 for symbols that other instances know.
        """
        follower = self._parts.follower
        if follower is None:
            return
        within_s = self.settings.kafka.restore_timeout_s
        await _either(stop.wait(), follower.caught_up.wait(), within_s=within_s)

    async def _supervise(self, name: str, part: Part) -> None:
        kafka, health = self.settings.kafka, self.services.health
        backoff = Backoff(kafka.retry_backoff_ms / 1000, kafka.retry_backoff_max_ms / 1000)
        health.report(name, "ok")
        try:
            await supervise(name, part, backoff, self._parts.listener)
        except BusError as error:
            health.report(name, "fail", str(error))
            raise

    async def _measure_loop(self) -> None:
        """Measure the delay of the event loop's timers, count its tasks, and watch the clock."""
        loop, metrics = asyncio.get_running_loop(), self.services.metrics.process
        clock = ClockWatch(self.services.health)
        while True:
            due = loop.time() + LOOP_CHECK_S
            await asyncio.sleep(LOOP_CHECK_S)
            metrics.event_loop_lag.set(max(0.0, loop.time() - due))
            metrics.tasks.set(len(asyncio.all_tasks()))
            clock.check()


async def _either(*events: Coroutine[Any, Any, Any], within_s: float | None = None) -> None:
    """Wait until the first of some waits has ended, or for `within_s`."""
    waits = [asyncio.ensure_future(event) for event in events]
    await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


# Once a process, whatever is compiled first.
@cache
def _log_compilation() -> None:
    log.info("compiling_once", about_s=ABOUT_S)


def _warn_of_compilation(kernel: str) -> None:
    # A fault of the warm-up, which does not cover some types: everything waits for the compiler.
    log.warning("compiled_late", kernel=kernel)
