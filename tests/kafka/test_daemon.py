"""Tests of the daemon on a real broker: features, restarts, outages."""

from __future__ import annotations

import asyncio
import csv
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import RunningDaemon, command, eventually, running
from tests.kafka.broker import Broker
from tests.kafka.log import LogRecord, committed, read_topic, write
from tests.made import features
from tests.recordings import TEN_MINUTES

PARTITIONS = 3
COLUMNS = ("symbol", "time", "price", "ret_mean", "ret_std", "n")


def environment(broker: Broker, name: str, **more: str) -> dict[str, str]:
    """Return the environment of a daemon with topics of its own."""
    return {
        "VOLSVC_BUS__TRANSPORT": "kafka",
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_TOPIC": f"{name}.raw",
        "VOLSVC_KAFKA__FEATURES_TOPIC": f"{name}.features",
        "VOLSVC_KAFKA__DEAD_LETTER_TOPIC": f"{name}.dlq",
        "VOLSVC_KAFKA__GROUP_ID": name,
        "VOLSVC_KAFKA__PARTITIONS": str(PARTITIONS),
        "VOLSVC_FEATURES__HISTORY": "100000",
        **more,
    }


def expected(path: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the features of `volsvc features` by symbol, time and row number."""
    with features(path, "csv")[0].open() as file:
        return {
            (row["symbol"], f"{row['time']}/{index}"): tuple(row[c] for c in COLUMNS)
            for index, row in enumerate(csv.DictReader(file))
        }


def as_text(value: dict[str, Any]) -> tuple[str, ...]:
    return tuple(v if isinstance(v, str) else repr(v) for v in (value[c] for c in COLUMNS))


async def published(broker: Broker, name: str) -> list[LogRecord]:
    return await read_topic(broker.bootstrap_servers, f"{name}.features", PARTITIONS)


async def assert_each_tick_once(broker: Broker, name: str, rows: int) -> None:
    """Assert that the log holds every row of the recording exactly once."""
    ticks = await read_topic(broker.bootstrap_servers, f"{name}.raw", PARTITIONS)
    positions = [record.headers["volsvc-position"] for record in ticks]
    assert len(set(positions)) == len(positions) == rows


async def all_processed(daemon: RunningDaemon, ticks: int, within_s: float = 60) -> None:
    async def processed() -> bool:
        return await daemon.metric("volsvc_ticks_total") >= ticks

    await eventually(processed, within_s, f"{ticks} ticks processed")


@pytest.mark.parametrize("speed", ["max", "30"])
@pytest.mark.parametrize("path", TEN_MINUTES)
async def test_same_features_as_the_command(
    path: Path, speed: str, broker: Broker, tmp_path: Path
) -> None:
    """Each row published on the broker is that of the command, to the last bit."""
    wanted = list(expected(path).values())
    name = uuid.uuid4().hex[:8]
    env = environment(broker, name)
    enough = len(wanted) if speed == "max" else 150
    async with running("--path", str(path), "--speed", speed, env=env, cwd=tmp_path) as daemon:
        await all_processed(daemon, enough)
        for symbol in {row[0] for row in wanted}:
            rows = (await daemon.get(f"/history/{symbol}?limit=100000"))["rows"]
            of_symbol = [row for row in wanted if row[0] == symbol]
            assert [as_text(row) for row in rows] == of_symbol[: len(rows)]
            assert speed != "max" or len(rows) == len(of_symbol)
        assert await daemon.stop() == 0
    records = [as_text(record.value) for record in await published(broker, name)]
    assert records
    assert set(records) <= set(wanted)


@pytest.mark.long
async def test_stop_and_restart(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """A stop at full speed and a restart neither lose nor duplicate a tick."""
    wanted = list(expected(recording).values())
    name = uuid.uuid4().hex[:8]
    env = environment(broker, name)
    arguments = ("--path", str(recording), "--speed", "max")
    for share in (0.2, 0.5):
        async with running(*arguments, env=env, cwd=tmp_path) as daemon:
            await all_processed(daemon, round(len(wanted) * share * 0.5))
            processed = await daemon.metric("volsvc_ticks_total")
            assert await daemon.stop() == 0
        offsets = await committed(broker.bootstrap_servers, name, f"{name}.raw", PARTITIONS)
        assert sum(offsets.values()) >= processed
    async with running(*arguments, env=env, cwd=tmp_path) as daemon:

        async def finished() -> bool:
            return "source_ended" in daemon.log

        await eventually(finished, 60, "the end of the recording")
        symbols = sorted({row[0] for row in wanted})
        last = {s: [row for row in wanted if row[0] == s][-1] for s in symbols}

        async def caught_up() -> bool:
            answers = [await daemon.get(f"/latest/{s}") for s in symbols]
            return all(a.get("as_of") == last[s][1] for a, s in zip(answers, symbols, strict=True))

        await eventually(caught_up, 60, "the last tick of every symbol")
        for symbol in symbols:
            answer = await daemon.get(f"/latest/{symbol}")
            assert as_text({**answer, "time": answer["as_of"]}) == last[symbol]
        assert await daemon.stop() == 0
    await assert_each_tick_once(broker, name, len(wanted))
    assert {as_text(r.value) for r in await published(broker, name)} <= set(wanted)


@pytest.mark.long
async def test_broker_comes_late_and_goes_away(
    own_broker: Broker, recording: Path, tmp_path: Path
) -> None:
    """No tick is lost or duplicated by a broker that starts 20 s late and is away for 20 s."""
    wanted = list(expected(recording).values())
    name = uuid.uuid4().hex[:8]
    env = environment(own_broker, name)
    async with running("--path", str(recording), "--speed", "20", env=env, cwd=tmp_path) as daemon:
        await asyncio.sleep(20)
        assert (await daemon.get("/health"))["status"] == "degraded"
        assert (await daemon.predict(rows=[{"ret_mean": 0.0, "ret_std": 1e-5, "n": 49}]))[0] == 200
        own_broker.start()
        await all_processed(daemon, 1_000, within_s=60)
        own_broker.kill()
        before = await daemon.get("/latest/BTC-USD")

        async def noticed() -> bool:
            return await daemon.metric("volsvc_kafka_connected") == 0

        await eventually(noticed, 20, "the outage is noticed")
        await asyncio.sleep(15)
        assert await daemon.status("/latest/BTC-USD") == 200
        assert (await daemon.get("/latest/BTC-USD"))["age_s"] > before["age_s"]
        own_broker.start()
        await all_processed(daemon, len(wanted), within_s=100)
        assert await daemon.metric("volsvc_ticks_total") == len(wanted)
        assert (await daemon.get("/health"))["checks"]["kafka:consumer"]["status"] == "ok"
        assert await daemon.stop() == 0
    await assert_each_tick_once(own_broker, name, len(wanted))
    assert {as_text(r.value) for r in await published(own_broker, name)} <= set(wanted)
    # The log has a line for each change of state, and none for each attempt.
    assert len(daemon.log.splitlines()) < 60


async def test_foreign_records(broker: Broker, tmp_path: Path) -> None:
    """Ticks of a foreign producer are processed, other records are dead letters with a reason."""
    name = uuid.uuid4().hex[:8]
    env = environment(broker, name)
    good = {"product_id": "BTC-USD", "timestamp": "2026-01-05T00:00:00Z", "price": "70000.5"}
    bad: list[tuple[bytes | None, str]] = [
        (None, "null"),
        (b"\xff", "json"),
        (b"[" * 50_000, "json"),
        (b'{"type": [1]}', "not_a_tick"),
        (b'{"type": "heartbeat"}', "not_a_tick"),
        (json.dumps({**good, "price": "-1"}).encode(), "price"),
        (json.dumps({**good, "timestamp": 10**30}).encode(), "time"),
        (json.dumps({**good, "v": 9}).encode(), "version"),
    ]
    async with running("--source", "none", env=env, cwd=tmp_path) as daemon:

        async def connected() -> bool:
            return await daemon.metric("volsvc_kafka_connected") == 1

        await eventually(connected, 30, "the broker is reached")
        ticks = [json.dumps({**good, "trade_id": i}).encode() for i in range(1, 4)]
        values = [ticks[0], *(value for value, _ in bad), *ticks[1:]]
        records: list[tuple[bytes | None, bytes | None]] = [(b"BTC-USD", v) for v in values]
        await write(broker.bootstrap_servers, f"{name}.raw", records)

        async def served() -> bool:
            return bool((await daemon.get("/latest/BTC-USD")).get("n") == 2)

        await eventually(served, 20, "the three good ticks")
        assert await daemon.metric("volsvc_dlq_records_total") == len(bad)
        assert await daemon.stop() == 0
    letters = await read_topic(broker.bootstrap_servers, f"{name}.dlq", 1)
    reasons = [letter.headers["volsvc-reason"].decode() for letter in letters]
    assert reasons == [reason for _, reason in bad]
    assert [letter.raw for letter in letters] == [value for value, _ in bad]
    origins = [letter.headers["volsvc-origin"].decode() for letter in letters]
    assert all(origin.startswith(f"{name}.raw/") for origin in origins)


async def test_the_replay_command(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """`volsvc replay` publishes each row exactly once, even if it is run twice."""
    name = uuid.uuid4().hex[:8]
    env = environment(broker, name)
    wanted = len(expected(recording))
    for word in ("done", "done"):
        arguments = ("replay", str(recording), "--speed", "max")
        code, _, err = await command(*arguments, env=env, cwd=tmp_path)
        assert code == 0
        assert word in err
    await assert_each_tick_once(broker, name, wanted)


@pytest.mark.parametrize(
    "how", ["never there", pytest.param("killed", marks=pytest.mark.long), "hanging"]
)
async def test_stop_while_the_broker_is_away(
    how: str, own_broker: Broker, recording: Path, tmp_path: Path
) -> None:
    """SIGTERM ends the daemon in time with code 0, whatever the state of the broker."""
    env = environment(own_broker, uuid.uuid4().hex[:8])
    if how != "never there":
        own_broker.start()
    async with running("--path", str(recording), "--speed", "20", env=env, cwd=tmp_path) as daemon:
        if how != "never there":
            await all_processed(daemon, 100)
        if how == "killed":
            own_broker.kill()
        if how == "hanging":
            own_broker.pause()
        began = time.monotonic()
        assert await daemon.stop(within_s=12) == 0, daemon.log
        assert time.monotonic() - began < 10, daemon.log
