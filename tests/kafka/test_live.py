"""Tests of a live feed during an outage of the broker."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from tests.daemon import eventually, running
from tests.kafka.broker import Broker
from tests.kafka.log import read_topic
from tests.kafka.test_daemon import PARTITIONS, all_processed, environment
from tests.live.feed import SYMBOL, WATCHED, exchange, trades

pytestmark = pytest.mark.long

ROW = {"ret_mean": 0, "ret_std": 3e-5, "n": 49}


async def test_broker_away_while_the_market_goes_on(own_broker: Broker, tmp_path: Path) -> None:
    """Each trade is in the log once and in order, those of the outage included."""
    ticks = trades(400, 2)
    name = uuid.uuid4().hex[:8]
    own_broker.start()
    keys = {f"VOLSVC_SOURCE__{k.upper()}": str(v) for k, v in WATCHED.items()}
    env = environment(own_broker, name, VOLSVC_MODEL__IMPORT_PACKAGED="false", **keys)
    async with exchange(ticks, speed=8) as simulator:
        urls = ("--ws-url", simulator.ws_url, "--rest-url", simulator.rest_url)
        live = ("--source", "coinbase", "--symbols", SYMBOL, *urls)
        async with running(*live, env=env, cwd=tmp_path) as daemon:
            await all_processed(daemon, 100)
            await asyncio.to_thread(own_broker.stop)

            async def unreachable() -> bool:
                return bool((await daemon.get("/health"))["status"] == "degraded")

            await eventually(unreachable, 15, "the outage is noticed")
            at = simulator.playback.steps_played

            async def progressed() -> bool:
                return simulator.playback.steps_played > at + 20

            await eventually(progressed, 15, "the market makes progress")
            assert (await daemon.predict(rows=[{"ret_mean": 0, "ret_std": 3e-5, "n": 49}]))[
                0
            ] == 200
            await asyncio.to_thread(own_broker.start)
            await all_processed(daemon, len(ticks))
            assert await daemon.metric("volsvc_feed_gaps_total") == 0
            assert await daemon.stop() == 0
    records = await read_topic(own_broker.bootstrap_servers, f"{name}.raw", PARTITIONS)
    assert [record.value["trade_id"] for record in records] == [tick.trade_id for tick in ticks]
