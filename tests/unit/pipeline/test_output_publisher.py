"""The publisher of the consumer's outputs: the order of the topics, and a bus that is away."""

from __future__ import annotations

import pytest

from tests.unit.pipeline.recorded import TOPICS
from tests.unit.pipeline.unsteady import UnsteadyBus, ceilings
from volsvc.config.kafka import KafkaSettings
from volsvc.pipeline.output_publisher import OutputPublisher, Outputs
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord

ORDER = (TOPICS.dead_letter_topic, TOPICS.outcomes_topic, TOPICS.features_topic)


def outputs() -> Outputs:
    """Return one record of features, two dead letters and three outcomes."""
    features, dead_letters, outcomes = (
        [OutRecord(b"A", b"%d" % number) for number in range(count)] for count in (1, 2, 3)
    )
    return Outputs(features, dead_letters, outcomes)


@pytest.mark.parametrize("failures", [0, 1, 4])
async def test_outputs_are_published_until_they_are_delivered(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each topic is tried until it has its records, and only then comes the next one."""
    waits, metrics, bus = ceilings(monkeypatch), Metrics(), UnsteadyBus(failures)
    await OutputPublisher(bus, TOPICS, metrics).publish(outputs())
    assert bus.calls == [(ORDER[0], 2)] * failures + list(zip(ORDER, (2, 3, 1), strict=True))
    assert [len(await bus.log(topic)) for topic in ORDER] == [2, 3, 1]
    assert waits == [0.1, 0.2, 0.4, 0.8][:failures]
    name, labels = "volsvc_part_restarts_total", {"part": "consumer"}
    assert metrics.registry.get_sample_value(name, labels) == failures


async def test_the_waits_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts are five seconds apart at last."""
    waits = ceilings(monkeypatch)
    await OutputPublisher(UnsteadyBus(9), TOPICS, Metrics()).publish(outputs())
    assert waits[-3:] == [5.0] * 3


async def test_topics_without_records_are_left_alone() -> None:
    """Nothing is published where there is nothing."""
    bus = UnsteadyBus(0)
    publisher = OutputPublisher(bus, TOPICS, Metrics())
    await publisher.publish(Outputs())
    assert bus.calls == []
    await publisher.publish(Outputs(outcomes=outputs().outcomes))
    assert bus.calls == [(TOPICS.outcomes_topic, 3)]


async def test_states_name_the_log_of_their_offsets() -> None:
    """Each features record, and no other, has the topic of ticks and its number of partitions."""
    bus = UnsteadyBus(0)
    await OutputPublisher(bus, KafkaSettings(topic="X.raw"), Metrics()).publish(outputs())
    names = {
        topic: [record.headers async for batch in bus.read_all(topic, range(2)) for record in batch]
        for topic in ("X.features", "X.outcomes")
    }
    assert names == {"X.features": [(("volsvc-ticks", b"X.raw/2"),)], "X.outcomes": [()] * 3}
