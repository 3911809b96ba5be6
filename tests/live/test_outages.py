"""Tests of outages of the feed: the daemon's answers meanwhile, and the time to recover."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp.web
import pytest

from tests.daemon import RunningDaemon, eventually, running
from tests.live.feed import SYMBOL, WATCHED, Feed, exchange, listening, now_trades, settings, trades
from volsvc.domain import SourceRow
from volsvc.simulator import Fault, Simulator
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.source import MAX_QUEUED_BATCHES

ROW = {"ret_mean": 0.0, "ret_std": 3e-5, "n": 49}
RECOVERY_S = 2.0


def daemon_on(simulator: Simulator, tmp_path: Path, *arguments: str, **keys: Any) -> Any:
    """Return the context of a daemon on the simulator's feed."""
    env = {f"VOLSVC_SOURCE__{k.upper()}": str(v) for k, v in {**WATCHED, **keys}.items()}
    urls = ("--ws-url", simulator.ws_url, "--rest-url", simulator.rest_url)
    live = ("--source", "coinbase", "--symbols", SYMBOL, *urls)
    return running(*live, *arguments, env=env, cwd=tmp_path)


async def waiting(daemon: RunningDaemon, name: str, value: float, within_s: float = 15) -> None:
    """Wait until a metric has a value."""

    async def reached() -> bool:
        return await daemon.metric(name) == value

    await eventually(reached, within_s, f"{name} {value}", every_s=0.02)


async def answers(daemon: RunningDaemon, bad: list[object]) -> None:
    """Request forecasts until cancelled; collects failed answers."""
    while True:
        status, body = await daemon.predict(rows=[ROW])
        if status != 200:
            bad.append((status, body))
        if (await daemon.status("/health")) != 200:
            bad.append("health")
        await asyncio.sleep(0.01)


async def test_every_fault_in_one_run(tmp_path: Path) -> None:
    """After faults of every kind the numbers add up, and the daemon has answered throughout."""
    kinds = ("skip", "duplicate", "reorder", "malformed", "error", "sequence_reset", "snapshot")
    hard = ("disconnect", "half_open", "stall", "drip")
    faults = [Fault(kind=k, at=10 * (i + 1)) for i, k in enumerate(kinds)]
    faults += [Fault(kind=k, at=100 + 10 * i, count=3, seconds=20) for i, k in enumerate(hard)]
    faults += [Fault(kind="refuse", at=100, count=2), Fault(kind="rest_429", at=110, seconds=0)]
    ticks = trades(160, 2)
    async with (
        exchange(ticks, *faults, snapshot_trades=4) as simulator,
        daemon_on(simulator, tmp_path, data_timeout_s=4.0, connect_timeout_s=2) as daemon,
    ):
        bad: list[object] = []
        asking = asyncio.create_task(answers(daemon, bad))
        await waiting(daemon, "volsvc_ticks_total", len(ticks), within_s=40)
        asking.cancel()
        assert bad == []
        for reason, count in (("closed", 1), ("refused", 2), ("heartbeat", 2), ("data", 1)):
            labelled = f'volsvc_feed_reconnects_total{{reason="{reason}"}}'
            assert await daemon.metric(labelled) == count
        # A skipped and a malformed message of 2 trades each. Three times 3 steps with 6 trades were
        # missed, of which the newest 4 came as a snapshot; so did the dripped step as a whole.
        # 2 + 2 + 3 * (6 - 4).
        assert await daemon.metric("volsvc_feed_backfilled_trades_total") == 10
        assert await daemon.metric('volsvc_feed_missed_total{kind="messages"}') == 2
        assert await daemon.metric('volsvc_feed_missed_total{kind="trades"}') == 0
        assert await daemon.metric('volsvc_feed_rest_requests_total{outcome="throttled"}') == 1
        assert await daemon.metric("volsvc_feed_gaps_total") == 0
        quality = (await daemon.get(f"/latest/{SYMBOL}"))["quality"]
        assert (quality["gaps"], quality["duplicates"], quality["late"]) == (0, 0, 0)
        assert daemon.log.count("feed_gap") == 2
        assert await daemon.stop() == 0


async def test_a_silent_stall_is_shown(tmp_path: Path) -> None:
    """Heartbeats without data are shown in time by /health, /latest and metrics."""
    timeout_s = 1.5
    faults = (Fault(kind="stall", at=20), Fault(kind="refuse", at=20, count=1_000))
    async with (
        exchange(trades(40), *faults) as simulator,
        daemon_on(simulator, tmp_path, data_timeout_s=timeout_s) as daemon,
    ):
        await waiting(daemon, "volsvc_ticks_total", 38)
        seen = time.monotonic()
        latest = await daemon.get(f"/latest/{SYMBOL}")
        health = await daemon.get("/health")
        connected = await daemon.metric("volsvc_feed_connected")
        if time.monotonic() - seen < timeout_s / 2:
            assert health["checks"]["feed:0"]["status"] == "ok"
            assert connected == 1
            # The recorded times are old, which a live tick's age includes.
            assert latest["age_s"] > 1_000
        await waiting(daemon, 'volsvc_feed_reconnects_total{reason="data"}', 1, timeout_s + 2)
        noticed_s = time.monotonic() - seen
        assert noticed_s < timeout_s + 2
        assert await daemon.metric("volsvc_feed_connected") == 0
        health = await daemon.get("/health")
        assert health["status"] == "degraded"
        assert health["checks"]["feed:0"]["status"] == "degraded"
        assert (await daemon.get(f"/latest/{SYMBOL}"))["stale"] is True
        assert (await daemon.predict(rows=[ROW]))[0] == 200
        assert await daemon.stop() == 0


async def test_stale_goes_with_the_feed(tmp_path: Path) -> None:
    """A tick of any age is stale while the feed is down, and not stale once it is back."""
    async with (
        exchange(now_trades(200), speed=10) as simulator,
        daemon_on(simulator, tmp_path) as daemon,
    ):
        url = f"/latest/{SYMBOL}"
        await _until_latest(daemon, lambda latest: latest.get("stale") is False)
        await simulator.close()
        await _until_latest(daemon, lambda latest: latest["stale"] is True)
        assert (await daemon.get(url))["age_s"] < 60
        assert (await daemon.get("/health"))["status"] == "degraded"
        await simulator.open()
        await _until_latest(daemon, lambda latest: latest["stale"] is False)
        assert (await daemon.get("/health"))["status"] == "ok"
        assert await daemon.stop() == 0


async def _until_latest(daemon: RunningDaemon, state: Callable[[Any], bool]) -> None:
    async def reached() -> bool:
        return state(await daemon.get(f"/latest/{SYMBOL}"))

    await eventually(reached, 10, "the answer of /latest")


async def test_back_within_two_seconds() -> None:
    """Data arrive within two seconds after the venue is back, after an outage of any length."""
    ticks = trades(10_000, 1)
    async with (
        exchange(ticks, speed=20) as simulator,
        listening(settings(simulator, reconnect_max_s=1.5)) as feed,
    ):
        for away_s in (0.0, 0.5, 2.5):
            had = len(feed.rows)
            await feed.until(lambda had=had: len(feed.rows) > had, "data")  # type: ignore[misc]
            await simulator.close()
            await feed.until(lambda: feed.health.silent == {SYMBOL}, "the loss")
            await asyncio.sleep(away_s)
            had = len(feed.rows)
            back = time.monotonic()
            await simulator.open()
            await feed.until(lambda had=had: len(feed.rows) > had, "recovery")  # type: ignore[misc]
            assert time.monotonic() - back < RECOVERY_S
        assert feed.ids == list(range(1_000, 1_000 + len(feed.ids)))


@pytest.mark.usefixtures("loop_clock")
async def test_backoff_grows_until_data_arrive() -> None:
    """A venue that accepts connections and refuses subscriptions is not flooded with attempts."""
    fault = Fault(kind="refuse", at=0, count=1_000)
    async with (
        exchange(trades(10), fault) as simulator,
        listening(settings(simulator)) as feed,
    ):
        await asyncio.sleep(1_200)
        attempts = feed.metric('volsvc_feed_reconnects_total{reason="refused"}')
    # Ceilings of 4, 8, 16 … 300 s, half of that on average.
    assert 6 <= attempts <= 40


async def test_data_reset_the_backoff() -> None:
    """Each of many disconnects after some data is followed by a quick reconnect."""
    faults = [Fault(kind="disconnect", at=5 * (i + 1)) for i in range(12)]
    async with (
        exchange(trades(70), *faults) as simulator,
        listening(settings(simulator, reconnect_max_s=600)) as feed,
    ):
        # Without a reset the last waits alone would be minutes.
        await feed.until(lambda: len(feed.rows) == 140, "all trades")


async def test_stops_at_once_with_a_half_open_venue(tmp_path: Path) -> None:
    """SIGTERM ends the daemon promptly, although the venue does not even answer a close frame."""
    async with (
        exchange(trades(40), Fault(kind="half_open", at=20)) as simulator,
        daemon_on(simulator, tmp_path, heartbeat_timeout_s=60) as daemon,
    ):
        await waiting(daemon, "volsvc_ticks_total", 38)
        started = time.monotonic()
        assert await daemon.stop(signal.SIGTERM, within_s=5) == 0
        assert time.monotonic() - started < 5


async def test_another_server_at_the_address(tmp_path: Path) -> None:
    """A server that is not a venue is shown by /health; forecasts are still answered."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    env = {f"VOLSVC_SOURCE__{k.upper()}": str(v) for k, v in WATCHED.items()}
    arguments = ("--source", "coinbase", "--ws-url", f"ws://127.0.0.1:{port}")
    async with server, running(*arguments, env=env, cwd=tmp_path) as daemon:

        async def refused() -> bool:
            return await daemon.metric('volsvc_feed_reconnects_total{reason="connect"}') > 1

        await eventually(refused, 10, "attempts")
        check = (await daemon.get("/health"))["checks"]["feed:0"]
        assert check["status"] == "degraded"
        assert str(port) in check["detail"]
        assert (await daemon.predict(rows=[ROW]))[0] == 200
        assert await daemon.stop() == 0


@asynccontextmanager
async def repeating_venue(text: str, times: int, every_s: float = 0.0) -> AsyncIterator[str]:
    """Run a WebSocket server that repeats one message; yields its address."""

    async def talk(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(times):
            await socket.send_str(text)
            await asyncio.sleep(every_s)
        async for _ in socket:
            pass
        return socket

    app = aiohttp.web.Application()
    app.router.add_get("/", talk)
    runner = aiohttp.web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_another_protocol() -> None:
    """Many malformed messages in a row end the connection."""
    keys = settings(exchange([]))
    async with (
        repeating_venue("nonsense", 100) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):
        reason = 'volsvc_feed_reconnects_total{reason="protocol"}'
        await feed.until(lambda: feed.metric(reason) >= 1, "the protocol is refused")
        assert feed.metric('volsvc_feed_messages_total{kind="malformed"}') >= 20


async def test_unconfirmed_subscriptions() -> None:
    """Subscriptions that are not confirmed in time are tried again, despite heartbeats."""
    beat = '{"channel":"heartbeats","timestamp":"x","sequence_num":0,"events":[]}'
    keys = settings(exchange([]), confirm_timeout_s=0.5)
    async with (
        repeating_venue(beat, 1_000, 0.05) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):
        reason = 'volsvc_feed_reconnects_total{reason="unconfirmed"}'
        await feed.until(lambda: feed.metric(reason) >= 1, "the wait ends")
        assert feed.health.checks["feed:0"].status == "degraded"


async def test_data_of_other_symbols() -> None:
    """Data that were not asked for are counted, and no sign that the feed works."""
    trade = {"type": "match", "product_id": "ETH-USD", "price": "1", "time": "2026-04-07T14:30:02Z"}
    keys = settings(exchange([]), confirm_timeout_s=30, data_timeout_s=0.5)
    async with (
        repeating_venue(json.dumps(trade), 1_000, 0.02) as url,
        listening(keys.model_copy(update={"ws_url": url})) as feed,
    ):
        reason = 'volsvc_feed_reconnects_total{reason="data"}'
        await feed.until(lambda: feed.metric(reason) >= 1, "the wait for data ends")
        assert feed.metric('volsvc_feed_messages_total{kind="unasked"}') > 1
        assert feed.health.checks["feed:0"].status == "degraded"
        assert feed.health.silent == {SYMBOL}
        assert feed.metric("volsvc_feed_connected") == 0
        assert feed.metric("volsvc_tick_delay_seconds_count") == 0
        assert feed.rows == []


async def test_backpressure_of_a_slow_bus() -> None:
    """The number of queued batches is bounded while the bus is slow, and no tick is lost."""
    ticks = trades(4 * MAX_QUEUED_BATCHES, 1)
    async with exchange(ticks) as simulator:
        source = Feed(settings(simulator), (SYMBOL,), Coinbase()).source
        batches = source.batches(lambda row: False)
        ids = [row.tick.trade_id for row in await anext(batches)]

        async def full() -> bool:
            return source._queue.qsize() >= MAX_QUEUED_BATCHES

        await eventually(full, 10, "the queue is full")
        # Only time shows that nothing more is read.
        await asyncio.sleep(0.3)
        assert source._queue.qsize() == MAX_QUEUED_BATCHES
        while len(ids) < len(ticks):
            ids += [row.tick.trade_id for row in await anext(batches)]
        await batches.aclose()  # type: ignore[attr-defined]
    assert ids == [tick.trade_id for tick in ticks]


async def test_restart_of_the_publisher() -> None:
    """The last batch is yielded again, without rows that have arrived; positions keep rising."""
    ticks = trades(100, 2)
    rows: list[SourceRow] = []
    async with exchange(ticks, speed=100) as simulator:
        source = Feed(settings(simulator), (SYMBOL,), Coinbase()).source
        while len(rows) < len(ticks):
            arrived = len(rows)
            batches = source.batches(lambda row, n=arrived: row.position < n)  # type: ignore[misc]
            rows += await anext(batches)
            lost = await anext(batches) if len(rows) < len(ticks) else []
            await batches.aclose()  # type: ignore[attr-defined]
            if lost:
                assert lost[0].position == len(rows)
    assert [row.position for row in rows] == list(range(len(ticks)))
    assert [row.tick.trade_id for row in rows] == [tick.trade_id for tick in ticks]
