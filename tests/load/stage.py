"""A service on a broker, what publishes its ticks, and what watches it, for a soak under faults."""

from __future__ import annotations

import asyncio
import itertools
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemon import eventually, launch, running
from tests.kafka.test_restore import INSTANCE
from tests.load.phases import NO_ANSWER, OK, Course
from tests.load.slow_readers import Life, SlowReaders
from tests.load.tools import Service
from tests.waiting import PATIENCE
from tests.web.test_slow_readers import SYMBOLS
from volsvc.sources.generator import market_of

# Symbols of few ticks, at a quiet hour: some 370 ticks a second over a thousand of them.
MOST_TICKS_PER_S, QUIET = 0.55, "2026-01-05T04:00:00Z"
PARTITIONS, POLL_S, SAMPLE_S = 3, 2.0, 1.0
READY_S, KNOWN_S = 30.0, 60.0


def quiet_symbols() -> tuple[str, ...]:
    """Return names whose generated markets have few ticks."""
    names = (f"S{number}-USD" for number in itertools.count())
    quiet = (name for name in names if market_of(name).ticks_per_s < MOST_TICKS_PER_S)
    return tuple(itertools.islice(quiet, SYMBOLS))


def environment(servers: str, topic: str, partitions: int, data_dir: Path) -> dict[str, str]:
    """Return the settings of a service; the other topics follow the name of that of the ticks."""
    return {
        "VOLSVC_BUS__TRANSPORT": "kafka",
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_TOPIC": topic,
        "VOLSVC_KAFKA__PARTITIONS": str(partitions),
        "VOLSVC_SERVICE__DATA_DIR": str(data_dir),
        "VOLSVC_MODEL__POLL_S": str(POLL_S),
        # Kept rows fill early and then are no growth.
        "VOLSVC_FEATURES__HISTORY": "20",
    }


class Stage:
    """A service on a broker, what publishes its ticks, and what reads from it."""

    def __init__(
        self, folder: Path, ticks: Path, servers: str, stack: AsyncExitStack, *, small: bool
    ) -> None:
        """`small` says that the service's folder is a disk of its own, which can be filled."""
        self.folder, self.servers, self.disk = folder, servers, folder / "disk"
        self.course = Course()
        self.readers = SlowReaders(self.course)
        self.lives: list[Life] = []
        self.starts = self.kills = self.ticks = self.swaps = 0
        self._ticks, self._stack, self.small = ticks, stack, small
        self._replay: asyncio.subprocess.Process | None = None
        self._replayed: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._works: list[asyncio.Task[None]] = []
        self.use(f"{uuid.uuid4().hex[:8]}.raw", PARTITIONS)

    def use(self, topic: str, partitions: int) -> None:
        """Set the topic of ticks of every process that is started from now on."""
        self.topic, self.partitions = topic, partitions
        self.env = environment(self.servers, topic, partitions, self.disk)

    @property
    def life(self) -> Life:
        """The newest process of the service."""
        return self.lives[-1]

    # --- processes ------------------------------------------------------------------------

    async def start(self, symbols: int) -> None:
        """Start the service, and wait until it is ready: it knows so many symbols then."""
        began_s = self.course.now_s
        service = running(*INSTANCE, env=self.env, cwd=self.folder)
        daemon = await self._stack.enter_async_context(service)
        self.lives.append(Life(daemon))
        self.starts += 1
        self.readers.ask(self.life)

        async def ready() -> bool:
            return await daemon.status("/health/ready") == 200

        await eventually(ready, READY_S, "the service is ready")
        self.life.ready_s = self.course.now_s - began_s
        known = len((await daemon.get("/latest"))["symbols"])
        assert known == symbols, f"{known} of {symbols} symbols are known when it is ready"

    async def kill(self) -> None:
        """Kill the service as a lack of memory does."""
        self.ending()
        assert await self.life.daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        assert await health_of(self.life) == NO_ANSWER
        self.kills += 1

    def ending(self) -> None:
        """Say that the service ends from now on, so that its answers may be cut."""
        self.life.ending = True
        self.readers.ask(None)

    async def publish(self) -> None:
        """Start to replay the ticks, or go on behind the last one that is published."""
        arguments = ("replay", str(self._ticks), "--speed", "1")
        self._replay = await launch(*arguments, env=self.env, cwd=self.folder)
        self._replayed = asyncio.ensure_future(self._replay.communicate())

    async def published(self, within_s: float) -> tuple[int | None, str]:
        """Wait for the end of the replay; return its exit code and what it said."""
        assert self._replay is not None
        assert self._replayed is not None
        async with asyncio.timeout(PATIENCE * within_s):
            _, err = await self._replayed
        return self._replay.returncode, err.decode()

    async def stop_publishing(self) -> None:
        """Stop the replay after the batch at hand."""
        assert self._replay is not None
        self._replay.send_signal(signal.SIGTERM)
        code, said = await self.published(30)
        assert code == 0, said

    def kill_replay(self) -> None:
        """Leave no replay behind, however the soak ends."""
        if self._replay is not None and self._replay.returncode is None:
            self._replay.kill()

    # --- what goes on all the time --------------------------------------------------------

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Sample, and read slowly, until the block ends."""
        self._works = [asyncio.create_task(work) for work in (self._sample(), self.readers.run())]
        try:
            yield
        finally:
            for work in self._works:
                work.cancel()
            await asyncio.gather(*self._works, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            asked, life = self.course.phase, self.life if self.lives else None
            if life is not None:
                self.course.saw(await health_of(life), asked)
                if not life.ending:
                    process = Service(life.daemon.url, life.daemon.process.pid)
                    rss_mb, life.peak_mb = process.rss_mb(), process.peak_mb()
                    life.at_s.append(self.course.now_s)
                    life.rss_mb.append(rss_mb)
                    self.course.phase.rss_mb.append(rss_mb)
            await asyncio.sleep(SAMPLE_S)

    async def go_on(self, seconds: float) -> None:
        """Let everything go on for a while; raises what ended before its time."""
        assert self._replayed is not None
        ends: list[asyncio.Future[Any]] = [*self._works, self._replayed]
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
        assert not done, "the replay of the ticks has ended"

    async def calm(self, seconds: float, what: str = "calm") -> None:
        """Let everything go on in a phase in which health is ok."""
        self.course.begin(what, OK)
        await self.go_on(seconds)

    async def every_symbol(self) -> None:
        """Wait until each symbol has had a tick."""

        async def known() -> bool:
            return len((await self.life.daemon.get("/latest"))["symbols"]) == SYMBOLS

        await eventually(known, KNOWN_S, "every symbol is known", 1.0)


async def health_of(life: Life) -> str:
    """Return the status of a service's health, with the names of parts that are not ok."""
    try:
        found = await life.daemon.get("/health")
    except (aiohttp.ClientError, OSError, TimeoutError):
        return NO_ANSWER
    bad = sorted(name for name, check in found["checks"].items() if check["status"] != "ok")
    return ": ".join(filter(None, (found["status"], ", ".join(bad))))
