"""Tests of poisoned topics: one record in a hundred is invalid, in ten ways."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from pathlib import Path

import pytest

from tests.daemon import command, eventually, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import PARTITIONS, assert_identical, caught_up, environment, undisturbed
from tests.kafka.log import read_topic, write
from volsvc.domain import format_time

FUTURE = "2031-01-01T00:00:00Z"
EVERY = 100
GOOD = {"symbol": "BTC-USD", "time": "2026-01-05T14:10:00Z", "price": 70_000.0}
KEY = b"BTC-USD"


def bad(**more: object) -> bytes:
    return json.dumps({**GOOD, **more}).encode()


POISONS: tuple[tuple[str, bytes | None, bytes | None, str], ...] = (
    ("bad JSON", KEY, b'{"symbol":"BTC-USD","time":', "json"),
    ("wrong types", KEY, bad(price=["70000"]), "price"),
    ("negative price", KEY, bad(price=-1), "price"),
    ("NaN", KEY, bad(price=float("nan")), "json"),
    ("future time", KEY, bad(time=FUTURE), "future"),
    ("huge record", KEY, bad(note="x" * 700_000), "too_large"),
    ("unknown symbol", b"DOGE-USD", bad(symbol="DOGE-USD"), "unknown_symbol"),
    ("null value", KEY, None, "null"),
    ("wrong key", b"ETH-USD", bad(), "key"),
    ("old schema", KEY, bad(v=0), "version"),
)


@pytest.mark.long
async def test_one_in_a_hundred(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """Every invalid record is a dead letter with its reason, every valid tick is processed."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    digests, newest = undisturbed(recording)
    env = environment(servers, name, VOLSVC_FEATURES__SYMBOLS=",".join(newest))
    code, _, err = await command("replay", str(recording), "--speed", "max", env=env, cwd=tmp_path)
    assert code == 0, err
    # The recording once more in another topic, with poison between its ticks.
    ticks = await read_topic(servers, f"{name}.raw", PARTITIONS)
    ticks.sort(key=lambda tick: int(tick.headers["volsvc-position"].rpartition(b":")[2]))
    poisoned = environment(servers, f"{name}p", VOLSVC_FEATURES__SYMBOLS=",".join(newest))
    records: list[tuple[bytes | None, bytes | None]] = []
    sent: Counter[str] = Counter()
    for index, tick in enumerate(ticks):
        records.append((tick.key, tick.raw))
        if index % EVERY == 0:
            _, key, value, reason = POISONS[index // EVERY % len(POISONS)]
            records.append((key, value))
            sent[reason] += 1
    async with running("--source", "none", env=poisoned, cwd=tmp_path) as daemon:

        async def connected() -> bool:
            return await daemon.metric("volsvc_kafka_connected") == 1

        await eventually(connected, 30, "the broker is reached")
        await write(servers, f"{name}p.raw", records)
        await caught_up(daemon, newest, 60)

        async def dead_lettered() -> bool:
            return await daemon.metric("volsvc_dlq_records_total") == sum(sent.values())

        await eventually(dead_lettered, 20, "every invalid record is found")
        # The quality is that at the symbol's newest tick, so later rejections are not in it yet.
        assert 0 < (await daemon.get("/latest/BTC-USD"))["quality"]["future"] <= sent["future"]
        assert await daemon.metric("volsvc_feed_future_total") == sent["future"]
        assert await daemon.stop() == 0
    letters = await read_topic(servers, f"{name}p.dlq", 1)
    assert Counter(letter.headers["volsvc-reason"].decode() for letter in letters) == sent
    assert len({letter.headers["volsvc-origin"] for letter in letters}) == len(letters)
    await assert_identical(servers, f"{name}p", digests, tmp_path)


def test_the_future_is_ahead_of_the_recordings() -> None:
    """The poisoned time is later than that of any recording."""
    assert format_time(0) < FUTURE
    assert len(POISONS) == 10
