"""The environment of the demo: real services on loopback, in a folder of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.daemon import RunningDaemon, command, eventually, running
from tests.demo import market
from tests.demo.film import Film, filming
from tests.demo.narrator import Narrator
from tests.kafka.broker import Broker, free_port
from tests.monitoring.rig import Notifications, monitoring
from volsvc.client import AsyncClient, ClientError, Retries

# Factor by which today is replayed faster than real time.
SPEED: Final = 90
REFERENCE_HOURS: Final = range(24 * 7)
YESTERDAY: Final = range(25)
TODAY: Final = range(25, 42)
COARSE_FROM: Final = 28
# Seconds for a week or a day of ticks: some 15 s, and many times that on a busy machine.
WORK_S: Final = 300.0
# Seconds between two requests of the load.
BEAT_S: Final = 0.1
ROW: Final = {"ret_mean": 0.0, "ret_std": 2e-4, "n": 49, "span_s": 300.0}


@dataclass
class Load:
    """A caller that sends requests all the time, without retries."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)

    async def run(self, url: str) -> None:
        """Send requests until cancelled."""
        async with AsyncClient(url, retries=Retries(attempts=1), timeout_s=5) as client:
            while True:
                try:
                    await client.predict([ROW])
                    self.answered += 1
                except ClientError as error:
                    self.failed.append(str(error))
                await asyncio.sleep(BEAT_S)


@dataclass(frozen=True)
class Stage:
    """The daemon, its dependencies, its monitoring, and its caller."""

    folder: Path
    broker: Broker
    store: str
    heard: Notifications
    daemon: RunningDaemon
    client: AsyncClient
    narrator: Narrator
    film: Film
    load: Load
    env: Mapping[str, str]
    # The measurements by name.
    figures: dict[str, float]

    def rows(self) -> list[str]:
        """Yield the rows of the recordings, in the order in which they are published."""
        files = (self.folder / name for name in ("yesterday.csv", "today.csv"))
        return [row for file in files for row in file.read_text().splitlines()[1:]]

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure how long something takes, in seconds."""
        began = time.monotonic()
        yield
        self.figures[f"{what}, s"] = round(time.monotonic() - began, 2)

    async def act(self, title: str) -> None:
        """Begin a part, in the terminal and in the film's caption."""
        self.narrator.act(title)
        await self.film.caption(title)

    async def until_health(self, part: str, status: str, within_s: float = 60) -> str:
        """Wait until a part of the daemon (or a prefix of its name) has a state; return its name.

        `ok` is waited for of all such parts.
        """
        found: list[str] = []

        async def reached() -> bool:
            checks = (await self.client.health()).checks
            ours = {name: check for name, check in checks.items() if name.startswith(part)}
            found[:] = [f"{n}: {c.detail}" for n, c in ours.items() if c.status == status]
            return len(found) == len(ours) if status == "ok" else bool(found)

        await eventually(reached, within_s, f"{part} is {status}")
        return found[0]


async def prepare(folder: Path, narrator: Narrator) -> None:
    """Write the recordings, and the drift reference of a calm week."""
    narrator.say("Before the start: a calm week to compare with, yesterday's ticks, and today's.")
    market.write(folder / "week.csv", REFERENCE_HOURS, seed=1)
    market.write(folder / "yesterday.csv", YESTERDAY, seed=2, coarse_from=COARSE_FROM)
    market.write(folder / "today.csv", TODAY, seed=2, coarse_from=COARSE_FROM)
    reference = ("--save-reference", "reference.npz")
    await _done(folder, {}, "drift", "--current", "week.csv", *reference)


async def _done(folder: Path, env: Mapping[str, str], *arguments: str) -> str:
    code, out, error = await command(*arguments, env=env, cwd=folder, within_s=WORK_S)
    assert code == 0, error
    return out


def _environment(broker: Broker, store: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "MLFLOW_TRACKING_URI": store,
        "VOLSVC_MODEL__IMPORT_PACKAGED": "true",
        "VOLSVC_MODEL__POLL_S": "0.5",
        "VOLSVC_DRIFT__REFERENCE": "reference.npz",
        "VOLSVC_DRIFT__INTERVAL_S": "7200",
        "VOLSVC_DRIFT__FALSE_ALARMS_PER_WEEK": "0.5",
        "VOLSVC_DRIFT__MIN_ROWS": "50",
    }


@asynccontextmanager
async def staged(folder: Path, narrator: Narrator) -> AsyncIterator[Stage]:
    """Yield the running stage: the daemon replays today, and a browser shows its page."""
    store, port = f"sqlite:///{folder / 'mlflow.db'}", free_port()
    await prepare(folder, narrator)
    broker = Broker(folder / "broker")
    env = _environment(broker, store)
    replay = ("--transport", "kafka", "--path", "today.csv", "--speed", str(SPEED))
    async with AsyncExitStack() as stack:
        stack.callback(broker.kill)
        await asyncio.to_thread(broker.start)
        narrator.show("broker", f"Apache Kafka at {broker.bootstrap_servers}")
        await _done(folder, env, "replay", "yesterday.csv", "--speed", "max")
        heard = await stack.enter_async_context(monitoring(folder / "monitoring", [port]))
        narrator.show("watched by", "Prometheus and Alertmanager, rules 60 times as fast")
        enter: Any = stack.enter_async_context
        daemon = await enter(running(*replay, "--port", str(port), env=env, cwd=folder))
        client = await enter(AsyncClient(daemon.url))
        film = await enter(filming(daemon.url, folder / "film"))
        load = Load()
        calls = asyncio.create_task(load.run(daemon.url))
        try:
            yield Stage(folder, broker, store, heard, daemon, client, narrator, film, load, env, {})
        except (AssertionError, ClientError):
            print(f"the daemon's exit code: {daemon.process.returncode}\n{daemon.log[-4_000:]}")
            raise
        finally:
            calls.cancel()
            await asyncio.wait({calls})
