"""Tests of the simulated exchange: its script, its steps, its REST API and its command."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import eventually, launch, running
from tests.live.feed import START_NS, SYMBOL, exchange, listening, settings, trades
from volsvc.domain import NS, SourceError, format_time
from volsvc.simulator import Fault, Script, Steps, read_script


def test_scripts(tmp_path: Path) -> None:
    """A script in TOML and the same one in JSON are equal."""
    toml, other = tmp_path / "s.toml", tmp_path / "s.json"
    toml.write_text('heartbeat_s = 0.5\n[[fault]]\nkind = "skip"\nat = 3\ncount = 2\n')
    other.write_text('{"heartbeat_s": 0.5, "fault": [{"kind": "skip", "at": 3, "count": 2}]}')
    expected = Script(heartbeat_s=0.5, fault=(Fault(kind="skip", at=3, count=2),))
    assert read_script(toml) == read_script(other) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[[fault]]\nkind = "skp"\nat = 1', "fault.0.kind"),
        ('[[fault]]\nkind = "skip"', "either `at` or `every_s`"),
        ('[[fault]]\nkind = "skip"\nevery_s = 1', "`disconnect` alone"),
        ("hartbeat_s = 1", "hartbeat_s"),
        ("= 1", "is not a script"),
        (None, "is not a script"),
    ],
)
def test_wrong_scripts(text: str | None, fault: str, tmp_path: Path) -> None:
    """A mistake raises an error with file and key."""
    path = tmp_path / "s.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_script(path)
    assert str(path) in str(caught.value)
    assert fault in str(caught.value)


def test_steps_depend_on_the_ticks_alone() -> None:
    """A step has a symbol's trades in a quarter of a second; trades without ids are numbered."""
    both = sorted(trades(3, 2) + trades(3, 1, "ETH-USD"), key=lambda tick: tick.time_ns)
    steps = list(Steps(both, 250))
    assert [(s.symbol, len(s.ticks)) for s in steps] == [(SYMBOL, 2), ("ETH-USD", 1)] * 3
    bare = [type(t)(t.symbol, t.time_ns, t.price) for t in trades(2, 2)]
    assert [t.trade_id for s in Steps(bare, 250) for t in s.ticks] == [1, 2, 3, 4]


async def ask(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json(content_type=None)


async def test_rest() -> None:
    """Trades are paged by id, newest first; candles match the trades; a mistake is answered 400."""
    simulator = exchange([])
    for tick in trades(960, 1):
        simulator.playback.steps.record(tick)
    async with simulator:
        base = f"{simulator.rest_url}/products/{SYMBOL}"
        status, page = await ask(f"{base}/trades?limit=3&after=1010")
        assert (status, [row["trade_id"] for row in page]) == (200, [1009, 1008, 1007])
        assert len((await ask(f"{base}/trades?limit=9999"))[1]) == 960
        start = START_NS // NS // 60 * 60 + 60
        span = "&".join(
            f"{name}={format_time(second * NS)}"
            for name, second in (("start", start), ("end", start + 60))
        )
        status, candles = await ask(f"{base}/candles?granularity=60&{span}")
        assert [row[0] for row in candles] == [start + 60, start]
        assert (await ask(f"{base}/trades?after=x"))[0] == 400
        assert (await ask(f"{base}/candles"))[0] == 400


async def test_periodic_disconnects() -> None:
    """`every_s` disconnects the clients again and again, at any speed of the playback."""
    fault = Fault(kind="disconnect", every_s=0.3)
    async with (
        exchange(trades(100_000), fault, speed=50) as simulator,
        listening(settings(simulator)) as feed,
    ):
        reason = 'volsvc_feed_reconnects_total{reason="closed"}'
        await feed.until(lambda: feed.metric(reason) >= 3, "three disconnects")
        had = len(feed.rows)
        await feed.until(lambda: len(feed.rows) > had, "data again")
        assert feed.ids == list(range(1_000, 1_000 + len(feed.ids)))


async def test_malformed_requests() -> None:
    """A malformed request is answered with an error, and the connection stays open."""
    async with (
        exchange(trades(4)) as simulator,
        aiohttp.ClientSession() as session,
        session.ws_connect(simulator.ws_url) as socket,
    ):
        for text in ("{", "[]", "{}", '{"type":"subscribe","channel":"x"}'):
            await socket.send_str(text)
            assert (await socket.receive_json())["type"] == "error"


async def test_the_command(tmp_path: Path) -> None:
    """`volsvc simulate` prints a command that runs a daemon on it."""
    process = await launch("simulate", "--port", "0", "--symbols", SYMBOL, cwd=tmp_path)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert (await process.stdout.readline()).startswith(b"exchange at ws://127.0.0.1:")
        words = (await process.stdout.readline()).decode().split()
    assert words[:2] == ["volsvc", "run"]
    async with running(*words[2:], "--symbols", SYMBOL, cwd=tmp_path) as daemon:

        async def known() -> bool:
            return await daemon.status(f"/latest/{SYMBOL}") == 200

        await eventually(known, 20, "the first forecast")
        latest = await daemon.get(f"/latest/{SYMBOL}")
        assert latest["stale"] is False
        assert latest["age_s"] < 60
        assert (await daemon.get("/health"))["checks"]["feed:0"]["status"] == "ok"
        assert await daemon.stop() == 0
    process.terminate()
    await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0


def test_everything_is_documented() -> None:
    """docs/live.md has every kind of fault, every key of a script and every metric of a feed."""
    from prometheus_client import CollectorRegistry

    from volsvc.telemetry.feed_metrics import FeedMetrics

    text = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
    registry = CollectorRegistry()
    FeedMetrics(registry)
    kinds = json.loads(json.dumps(Fault.model_json_schema()))["properties"]["kind"]["enum"]
    suffixes = {"counter": "_total"}
    families = [f.name + suffixes.get(f.type, "") for f in registry.collect()]
    # As words of code: in prose `at` and `count` are everywhere.
    code = re.findall(r"```toml\n(.+?)```|`([^`\n]+)`", text, re.DOTALL)
    words = {word for parts in code for part in parts for word in re.findall(r"\w+", part)}
    assert {*kinds, *Script.model_fields, *Fault.model_fields, *families} - words == set()
