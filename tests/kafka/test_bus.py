"""The bus on a real broker."""

import uuid
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace

import pytest

from tests.bus_contract import BusContract
from tests.kafka.broker import Broker
from volsvc.kafka_config import KafkaSettings
from volsvc.transport import Lag
from volsvc.transport.kafka import KafkaBus


class Heard:
    """Bus events, remembered."""

    def __init__(self) -> None:
        self.up: dict[str, bool] = {}
        self.lags: dict[int, Lag] = {}
        self.rebalances = 0

    def connected(self, part: str, up: bool, reason: str) -> None:
        """Note the state of a part."""
        self.up[part] = up

    def lag(self, topic: str, lags: Mapping[int, Lag]) -> None:
        """Note the lag."""
        self.lags = dict(lags)

    def rebalanced(self) -> None:
        """Count."""
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
    )


@pytest.fixture
async def bus(kafka: KafkaSettings) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(kafka, Heard(), "here")
    yield bus
    await bus.stop()


@pytest.fixture
def topics(kafka: KafkaSettings) -> SimpleNamespace:
    return SimpleNamespace(ticks=kafka.topic, features=kafka.features_topic)


class TestKafkaBus(BusContract):
    """The contract."""
