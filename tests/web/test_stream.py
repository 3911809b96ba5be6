"""Tests of Server-Sent Events: the snapshot, resumption, slow readers and limits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sse import Reader, ReceivedEvent
from tests.web.conftest import in_its_loop
from tests.web.serving import serving
from volsvc.domain import FeatureRow, Prediction, Quality, Snapshot
from volsvc.pipeline import event_hub as streams
from volsvc.pipeline.event_hub import EventHub
from volsvc.web.routes import stream as sse

QUALITY = Quality(0, 0, 0, 1.0, "ok")
FORECAST = Prediction(60.0, 1e-3, 5e-4, 2e-3, 1.5e-3, 0.25)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def snapshot(symbol: str, price: float = 100.0) -> Snapshot:
    row = FeatureRow(symbol, 1_767_622_800_000_000_000, price, 0.0, 1e-5, 49, 10.0)
    return Snapshot(row, 0.25, "baseline", "2", (FORECAST,), QUALITY, {})


async def read(client: aiohttp.ClientSession, count: int, **options: Any) -> list[ReceivedEvent]:
    """Return the first events of a new stream."""
    async with client.get("/stream", **options) as response:
        assert response.status == 200
        return await Reader(response).take(count)


async def test_a_snapshot_then_the_news() -> None:
    """A new client gets a snapshot, then every forecast and gap, with rising ids."""
    async with serving() as (client, daemon):
        daemon.services.latest_store.put(snapshot("BTC-USD"), 1.0)
        async with client.get("/stream") as response:
            assert response.content_type == "text/event-stream"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Accel-Buffering"] == "no"
            reader = Reader(response)
            (first,) = await reader.take(1)
            assert reader.retry == [2000]
            daemon.services.latest_store.put(snapshot("ETH-USD", 5.0), 2.0)
            daemon.services.latest_store.notify("gap", "BTC-USD", {"symbol": "BTC-USD", "gaps": 1})
            news = await reader.take(2)
        async with client.get("/latest/ETH-USD") as response:
            latest = await response.json()
    assert (first.kind, first.data["reason"]) == ("resync", "start")
    assert [s["symbol"] for s in first.data["symbols"]] == ["BTC-USD"]
    assert [(e.kind, e.data["symbol"]) for e in news] == [
        ("forecast", "ETH-USD"),
        ("gap", "BTC-USD"),
    ]
    assert set(news[0].data) == set(latest), "an event has the fields of /latest"
    boot, seqs = daemon.services.hub.boot, [int(e.id.split("-")[1]) for e in (first, *news)]
    assert seqs == [seqs[0], seqs[0] + 1, seqs[0] + 2]
    assert all(e.id.startswith(boot + "-") for e in news)


async def test_resume_without_a_loss() -> None:
    """A client that sends Last-Event-ID gets exactly the events after that one."""
    async with serving({"http": {"stream_ring": 50}}) as (client, daemon):
        (first,) = await read(client, 1)
        for price in range(30):
            daemon.services.latest_store.put(snapshot("BTC-USD", float(price + 1)), 1.0)
        missed = await read(client, 30, headers={"Last-Event-ID": first.id})
        assert [e.data["price"] for e in missed] == [float(p + 1) for p in range(30)]
        again = await read(client, 10, headers={"Last-Event-ID": missed[19].id})
        assert [e.data["price"] for e in again] == [float(p + 1) for p in range(20, 30)]
        of_one = {"headers": {"Last-Event-ID": missed[19].id}, "params": {"symbols": "ETH-USD"}}
        daemon.services.latest_store.put(snapshot("ETH-USD"), 1.0)
        assert [e.data["symbol"] for e in await read(client, 1, **of_one)] == ["ETH-USD"]


async def test_resync_when_the_past_is_gone() -> None:
    """An id that is too old, of another run or malformed leads to a snapshot."""
    async with serving({"http": {"stream_ring": 5}}) as (client, daemon):
        (first,) = await read(client, 1)
        for price in range(10):
            daemon.services.latest_store.put(snapshot("BTC-USD", float(price + 1)), 1.0)
        boot = daemon.services.hub.boot
        for last in (
            first.id,
            "0badf00d-3",
            f"{boot}-99999",
            f"{boot}-x",
            "nonsense",
            f"{boot}--1",
        ):
            (event,) = await read(client, 1, headers={"Last-Event-ID": last})
            assert (event.kind, event.data["reason"]) == ("resync", "unknown-id"), last
            assert event.data["symbols"][0]["price"] == 10.0
            assert event.id == daemon.services.hub.last_id


async def test_filter_and_limit() -> None:
    """`symbols` filters events of symbols but not of the service; `limit` ends the stream."""
    async with serving() as (client, daemon):
        params = {"symbols": "ETH-USD, SOL-USD", "limit": "3"}
        async with client.get("/stream", params=params) as response:
            reader = Reader(response)
            await reader.take(1)
            for symbol in ("BTC-USD", "ETH-USD", "BTC-USD"):
                daemon.services.latest_store.put(snapshot(symbol), 1.0)
            daemon.services.hub.publish("model", None, {"variant": "ml"})
            rest = await reader.take(9)
        assert [e.kind for e in rest] == ["forecast", "model"]
        for bad in ({"symbols": ""}, {"symbols": ","}, {"symbols": "a b"}, {"limit": "0"}):
            async with client.get("/stream", params=bad) as response:
                assert response.status == 422, bad


async def test_a_slow_reader_gets_the_newest_and_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader gets the newest forecasts, and the number of dropped events."""
    async with serving() as (client, daemon), client.get("/stream") as response:
        reader = Reader(response)
        await reader.take(1)
        # No await between them, so that the writer sees all of them at once.
        for price in range(100):
            daemon.services.latest_store.put(snapshot("BTC-USD", float(price + 1)), 1.0)
            daemon.services.latest_store.put(snapshot("ETH-USD", float(price + 1)), 1.0)
        daemon.services.latest_store.notify("gap", "BTC-USD", {"symbol": "BTC-USD", "gaps": 1})
        dropped, *news = await reader.take(4)
        assert (dropped.kind, dropped.data) == ("dropped", {"dropped": 198})
        assert [(e.kind, e.data.get("price")) for e in news] == [
            ("forecast", 100.0),
            ("forecast", 100.0),
            ("gap", None),
        ]
        async with client.get("/metrics") as metrics:
            text = await metrics.text()
        assert 'volsvc_stream_events_dropped_total{reason="conflated"} 198.0' in text
        assert "volsvc_stream_clients 1.0" in text


@pytest.mark.usefixtures("loop_clock")
async def test_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet stream sends comments."""
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.1)
    async with serving() as (client, _), client.get("/stream?limit=2") as response:
        reader = Reader(response)
        with pytest.raises(TimeoutError):
            await reader.take(2, within_s=1)
        assert len(reader.comments) >= 3


async def test_streams_are_bounded() -> None:
    """A stream above the limit gets 429; one that ends makes room for another."""
    async with serving({"http": {"max_streams": 2, "max_inflight": 1}}) as (client, daemon):
        async with client.get("/stream") as one, client.get("/stream") as two:
            assert (one.status, two.status) == (200, 200)
            async with client.get("/stream") as three:
                assert three.status == 429
                assert (await three.json(content_type=None))["type"] == "/problems/overloaded"
            async with client.get("/latest") as response:
                assert response.status == 200, "open streams do not count as requests in flight"
        async with asyncio.timeout(60):
            while len(daemon.services.hub):
                daemon.services.hub.publish("drift", None, {})
                await asyncio.sleep(0.01)
        assert len(await read(client, 1)) == 1
        async with client.head("/stream") as response:
            assert response.status == 200


async def test_a_drain_ends_streams_first() -> None:
    """While draining, open and new streams end at once, with a retry hint."""
    async with serving() as (client, _), client.get("/stream") as response:
        reader = Reader(response)
        await reader.take(1)
    # Leaving the block has stopped the daemon. Below, a separate client sees its stream end.
    done: list[list[int]] = []

    async def watch(client: aiohttp.ClientSession, ready: asyncio.Event) -> None:
        async with client.get("/stream") as response:
            reader = Reader(response)
            await reader.take(1)
            ready.set()
            assert await reader.take(1) == []
            done.append(reader.retry)

    async with serving() as (client, daemon):
        ready = asyncio.Event()
        task = asyncio.create_task(watch(client, ready))
        await ready.wait()
        daemon.services.hub.close()
        async with asyncio.timeout(60):
            await task
        assert [e.kind for e in await read(client, 2)] == ["resync"], "a new stream ends at once"
    (retry,) = done
    assert 1_000 <= retry[-1] <= 5_000


async def test_an_overflow_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber's queue is bounded even when nothing can be conflated."""
    monkeypatch.setattr(streams, "MAX_PENDING", 10)
    hub = EventHub(100, "boot")
    subscriber = hub.subscribe()
    for number in range(25):
        hub.publish("gap", "BTC-USD", number)
    assert [event.payload for event in await subscriber.take(0)] == list(range(15, 25))
    missed = subscriber.take_dropped()
    assert (missed.overflowed, missed.conflated) == (15, 0)
    assert not subscriber.take_dropped().total


@in_its_loop
async def test_real_forecasts_stream(service: aiohttp.ClientSession) -> None:
    """The snapshot of a stream equals /latest for a replayed market."""
    (event,) = await read(service, 1, params={"limit": "1", "symbols": "BTC-USD"})
    async with service.get("/latest/BTC-USD") as response:
        latest = await response.json()
    (shown,) = event.data["symbols"]
    moving = {"ts": 0, "age_s": 0}
    assert {**shown, **moving} == {**latest, **moving}
