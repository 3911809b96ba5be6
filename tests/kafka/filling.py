"""A log filled with the states of many symbols."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from tests.daemon import running
from tests.kafka.fleet import PARTITIONS, caught_up, environment, published, undisturbed
from tests.kafka.log import LogRecord
from volsvc.config.kafka import KafkaSettings
from volsvc.features.kernels import record
from volsvc.features.stored_state import StoredState, pack
from volsvc.transport import Lag, OutRecord
from volsvc.transport.features_record import STATE_HEADER, state_headers
from volsvc.transport.kafka.bus import KafkaBus


class NullBusEvents:
    """Bus events that ignores every report."""

    def connected(self, part: str, up: bool, reason: str) -> None:
        """Ignore the report."""

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """Ignore the report."""

    def rebalanced(self) -> None:
        """Ignore the report."""


def settings_of(servers: str, name: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=servers,
        topic=f"{name}.raw",
        features_topic=f"{name}.features",
        dead_letter_topic=f"{name}.dlq",
        group_id=name,
        partitions=PARTITIONS,
    )


async def warm_record(servers: str, recording: Path, folder: Path) -> LogRecord:
    """Return a features record as the service writes it after twenty minutes."""
    name = uuid.uuid4().hex[:8]
    _, newest = undisturbed(recording)
    env = environment(servers, name)
    async with running("--path", str(recording), "--speed", "max", env=env, cwd=folder) as daemon:
        await caught_up(daemon, newest, 60)
        assert await daemon.stop() == 0
    return max(await published(servers, name), key=lambda one: len(one.raw or b""))


def placed(stored: StoredState, partition: int, offset: int) -> bytes:
    """Return a stored state as that after the tick at another place in the log."""
    ticks = np.frombuffer(stored.ticks, record.TICKS).copy()
    ticks["partition"], ticks["offset"] = partition, offset
    return pack(msgspec.structs.replace(stored, ticks=ticks.tobytes()))


async def fill(settings: KafkaSettings, warm: LogRecord, symbols: int) -> None:
    """Write a tick, and the state after it, for each of many symbols."""
    bus = KafkaBus(settings, NullBusEvents(), "filler")
    await bus.ready()
    value = json.loads(warm.raw or b"")
    stored = msgspec.msgpack.decode(warm.headers[STATE_HEADER], type=StoredState)
    ends = [0] * PARTITIONS
    states, raw = [], []
    for number in range(symbols):
        symbol = f"S{number}-USD"
        partition = bus.partition_for(settings.topic, symbol.encode())
        content = placed(stored, partition, ends[partition])
        headers = state_headers(ends[partition], "filler", content)
        encoded = json.dumps({**value, "symbol": symbol}).encode()
        states.append(OutRecord(symbol.encode(), encoded, headers, partition))
        tick = {"symbol": symbol, "time": value["time"], "price": 1.0}
        raw.append(OutRecord(symbol.encode(), json.dumps(tick).encode()))
        ends[partition] += 1
    await bus.publish(settings.topic, raw)
    for start in range(0, symbols, 1_000):
        await bus.publish(settings.features_topic, states[start : start + 1_000])
    await bus.stop()
