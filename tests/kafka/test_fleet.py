"""Tests of many instances in one group: members that join, die, hang and return."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.daemon import RunningDaemon, eventually, launch, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import (
    PARTITIONS,
    SESSION_MS,
    assert_identical,
    caught_up,
    environment,
    of_instance,
    undisturbed,
)
from tests.made import generated

pytestmark = pytest.mark.long

SYMBOLS = tuple(f"{coin}-USD" for coin in ("BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "LTC", "BCH"))
ROLES = ("--source", "none", "--roles", "consumer,api")


@pytest.fixture(scope="module")
def eight_markets() -> Path:
    """A recording of eight generated markets over eight minutes."""
    return generated("markets.ndjson.gz", SYMBOLS, minutes=8, seed=5)


class Prober:
    """Requests every symbol of instances over and over, and records every wrong answer."""

    def __init__(self) -> None:
        self.daemons: dict[str, RunningDaemon] = {}
        self.answers = 0
        self.wrong: list[str] = []
        self._newest: dict[tuple[str, str], str] = {}

    async def run(self) -> None:
        """Send requests until cancelled."""
        while True:
            for name, daemon in list(self.daemons.items()):
                for symbol in SYMBOLS:
                    await self._once(name, daemon, symbol)
            await asyncio.sleep(0.05)

    async def _once(self, name: str, daemon: RunningDaemon, symbol: str) -> None:
        try:
            answer = await daemon.get(f"/latest/{symbol}")
        except (aiohttp.ClientError, TimeoutError) as error:
            answer = {"error": repr(error)}
        if name not in self.daemons:
            return
        self.answers += 1
        as_of = answer.get("as_of")
        if as_of is None or answer["age_s"] < 0:
            self.wrong.append(f"{name}: {symbol}: {answer}")
        elif as_of < self._newest.get((name, symbol), ""):
            self.wrong.append(f"{name}: {symbol}: back to {as_of}")
        else:
            self._newest[name, symbol] = as_of


async def every_symbol_known(daemon: RunningDaemon) -> None:
    async def all_known() -> bool:
        return len((await daemon.get("/latest"))["symbols"]) == len(SYMBOLS)

    await eventually(all_known, 20, "every symbol is known")


async def ready(daemon: RunningDaemon) -> None:
    async def is_ready() -> bool:
        return await daemon.status("/health/ready") == 200

    await eventually(is_ready, 20, "the instance is ready")


async def test_added_killed_paused(broker: Broker, eight_markets: Path, tmp_path: Path) -> None:
    """No tick is lost and no request fails while members are added, killed and paused."""
    digests, newest = undisturbed(eight_markets)
    name = uuid.uuid4().hex[:8]
    env = environment(broker.bootstrap_servers, name)
    prober = Prober()
    async with AsyncExitStack() as stack:

        async def start(instance: str) -> RunningDaemon:
            own_env = of_instance(env, f"{name}-{instance}")
            daemon = await stack.enter_async_context(running(*ROLES, env=own_env, cwd=tmp_path))
            await ready(daemon)
            return daemon

        a, b, c = [await start(instance) for instance in "abc"]
        replay = await launch("replay", str(eight_markets), "--speed", "20", env=env, cwd=tmp_path)
        for daemon in (a, b, c):
            await every_symbol_known(daemon)
        prober.daemons = {"a": a, "b": b, "c": c}
        probing = asyncio.create_task(prober.run())

        d = await start("d")
        prober.daemons["d"] = d
        await owns_something(d)

        del prober.daemons["a"]
        await a.stop(signal.SIGKILL)
        await owned_by({"b": b, "c": c, "d": d})

        del prober.daemons["b"]
        b.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SESSION_MS / 1000 * 2)
        await owned_by({"c": c, "d": d})
        b.process.send_signal(signal.SIGCONT)
        prober.daemons["b"] = b

        assert await replay.wait() == 0
        for instance, daemon in {"b": b, "c": c, "d": d}.items():
            await caught_up(daemon, newest, 30, f"every last tick on {instance}")
        await owned_by({"b": b, "c": c, "d": d})
        probing.cancel()
        for daemon in (b, c, d):
            assert await daemon.stop() == 0
    assert prober.wrong == []
    assert prober.answers > 500
    await assert_identical(broker.bootstrap_servers, name, digests, tmp_path)


async def owns_something(daemon: RunningDaemon) -> None:
    async def owns() -> bool:
        return await partitions_of(daemon) > 0

    await eventually(owns, 20, "the new instance has partitions")


async def partitions_of(daemon: RunningDaemon) -> int:
    """Return the number of partitions that an instance owns: those with a lag."""
    text = await daemon.text("/metrics")
    return text.count("volsvc_kafka_consumer_lag_records{")


async def owned_by(fleet: Mapping[str, RunningDaemon]) -> None:
    """Wait until every partition has one owner among these instances."""

    async def all_owned() -> bool:
        owned = [await partitions_of(daemon) for daemon in fleet.values()]
        return sum(owned) == PARTITIONS and min(owned) > 0

    await eventually(all_owned, 20, f"{PARTITIONS} partitions owned by {', '.join(fleet)}")
