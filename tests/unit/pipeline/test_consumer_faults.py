"""The consumer without partitions, and with a features topic that was created again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from tests.unit.pipeline.logged import ScriptedBus
from tests.unit.pipeline.test_consumer import Consuming, seconds
from volsvc.transport import OutRecord, Record
from volsvc.transport.bus import RebalanceListener
from volsvc.transport.features_record import RecordHeader


async def test_work_counts_from_the_first_restore_on() -> None:
    """A run that gets no partitions, or cannot restore them, has done no work."""
    worked: list[int] = []

    class LateBus(ScriptedBus):
        async def play(self, listener: RebalanceListener) -> AsyncIterator[Sequence[Record]]:
            yield []
            worked.append(0)
            async for batch in super().play(listener):
                yield batch

    consuming = Consuming(LateBus([seconds(0, 3), []]))
    for _ in range(2):
        await consuming.consumer.run(lambda: worked.append(1))
    assert worked == [0, 1, 1] * 2


async def test_states_are_published_into_a_new_features_topic() -> None:
    """All states of our partitions are there before the next commit, also those without ticks."""

    def script() -> Iterator[Sequence[Record]]:
        yield seconds(0, 3)
        yield seconds(0, 2, "B", 1)
        yield []
        consuming.consumer.topic_recreated("ticks.outcomes")
        consuming.consumer.topic_recreated("ticks.features")
        # Its offsets start again, and so do those from which an older state is noticed.
        consuming.consumer.check_remote_write(RecordHeader("A", 0, 0, 1, "other#1"))
        yield seconds(3, 4)
        assert bus.commits[2:] == [{0: 4}]

    bus = ScriptedBus(script())
    consuming = Consuming(bus, 1e-9, publish_every_s=60)
    await consuming.run()
    (*_, last_a), (*_, last_b) = [
        [each for each in await consuming.states() if each[0] == symbol] for symbol in "AB"
    ]
    assert (last_a, last_b) == (("A", 0, 3), ("B", 1, 1))
    assert [each[0] for each in await consuming.states()].count("B") == 3
    assert consuming.metric("state_rewrites_total") == 3


async def test_a_commit_waits_for_the_states_that_a_new_topic_lacks() -> None:
    """If a publication shows that the topic is a new one, every state follows before the commit."""
    keys: list[bytes] = []

    class RecreatedBus(ScriptedBus):
        recreated = False

        async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
            await super().publish(topic, records)
            if topic == "ticks.features" and self.recreated:
                keys.extend(record.key for record in records)
                if len(keys) == 1:
                    consuming.consumer.topic_recreated(topic)

    def script() -> Iterator[Sequence[Record]]:
        yield [*seconds(0, 3), *seconds(0, 2, "B", 1)]
        yield []
        bus.recreated = True
        yield seconds(3, 4)
        yield []
        assert (sorted(keys), bus.commits[1:]) == ([b"A", b"A", b"B"], [{0: 4}])

    bus = RecreatedBus(script())
    consuming = Consuming(bus, publish_every_s=60)
    await consuming.run()
    assert bus.recreated
