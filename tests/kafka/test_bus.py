"""Tests of the Kafka bus on a real broker."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.group import HeartbeatRequest

from tests.bus_contract import BusContract, records, take
from tests.kafka.broker import Broker
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.transport import Lag
from volsvc.transport.kafka.bus import KafkaBus


class RecordedBusEvents:
    """Bus events that records every report."""

    def __init__(self) -> None:
        self.up: dict[str, bool] = {}
        self.lags: dict[int, Lag] = {}
        self.rebalances = 0

    def connected(self, part: str, up: bool, reason: str) -> None:
        """Record the state of a part."""
        self.up[part] = up

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """Record the lag."""
        self.lags = dict(lags)

    def rebalanced(self) -> None:
        """Count the rebalance."""
        self.rebalances += 1


@pytest.fixture
def kafka(broker: Broker) -> KafkaSettings:
    name = uuid.uuid4().hex[:8]
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        topic=f"{name}.raw",
        features_topic=f"{name}.features",
        dead_letter_topic=f"{name}.dlq",
        partitions=3,
        heartbeat_interval_ms=300,
    )


@pytest.fixture
async def bus(kafka: KafkaSettings) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(kafka, RecordedBusEvents(), "here")
    yield bus
    await bus.stop()


@pytest.fixture
def topics(kafka: KafkaSettings) -> SimpleNamespace:
    return SimpleNamespace(ticks=kafka.topic, features=kafka.features_topic)


class TestKafkaBus(BusContract):
    """The contract on a real broker."""


async def test_partitions_take_turns(bus: KafkaBus, kafka: KafkaSettings) -> None:
    """While records of several partitions wait, none is read to its end before the others."""
    await bus.ready()
    for partition in range(kafka.partitions):
        sent = [record._replace(partition=partition) for record in records(5_000)]
        await bus.publish(kafka.topic, sent)
    taken = await take(bus, kafka.topic, 9_000, commit=False)
    each = Counter(record.partition for record in taken)
    assert len(each) == kafka.partitions
    assert min(each.values()) > 1_000


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), AssertionError("lost")])
async def test_any_client_error_is_transient(
    error: Exception, bus: KafkaBus, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of any class in the client's heartbeat is raised as a transient one."""
    send = AIOKafkaConnection.send

    def refused(self: AIOKafkaConnection, request: Any, *rest: Any, **more: Any) -> Any:
        if isinstance(request, HeartbeatRequest):
            raise error
        return send(self, request, *rest, **more)

    monkeypatch.setattr(AIOKafkaConnection, "send", refused)
    with pytest.raises(BusUnavailableError, match=str(error)):
        await take(bus, kafka.topic, 1, commit=False)
