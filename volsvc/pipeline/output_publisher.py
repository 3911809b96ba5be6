"""The records that the consumer publishes, and their delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from volsvc.backoff import Backoff
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.failpoints import failpoint
from volsvc.store import Minutes
from volsvc.store.minutes_record import encode_minutes
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Bus, OutRecord
from volsvc.transport.features_record import of_log


@dataclass(slots=True)
class Outputs:
    """Records to publish for a batch of ticks, by topic."""

    features: list[OutRecord] = field(default_factory=list)
    dead_letters: list[OutRecord] = field(default_factory=list)
    outcomes: list[OutRecord] = field(default_factory=list)
    minutes: list[Minutes] = field(default_factory=list)


class OutputPublisher:
    """Publishes outputs until they are delivered, however long the bus is away."""

    def __init__(self, bus: Bus, topics: KafkaSettings, metrics: Metrics) -> None:
        self._bus = bus
        self._topics = topics
        self._metrics = metrics

    async def publish(self, outputs: Outputs) -> None:
        """Publish dead letters, outcomes and minutes, and features with states, in this order."""
        # The order is the durability promise. Outcomes and minutes go before the states, because a
        # state no longer holds the forecasts that have matured, nor the minute that has ended:
        # after a crash between the two an outcome is published twice, in the other order it would
        # be lost. The offset is committed only after this returns (`Consumer.flush`), so no tick
        # is committed that a published state lacks.
        if outputs.dead_letters:
            await self._publish_until_delivered(
                self._topics.dead_letter_topic, outputs.dead_letters
            )
            failpoint("dead_letters_published")
        if outputs.outcomes:
            await self._publish_until_delivered(self._topics.outcomes_topic, outputs.outcomes)
            failpoint("outcomes_published")
        if outputs.minutes:
            # At once for all slices of a poll: most of the work is not for a single minute.
            minutes = list(encode_minutes(outputs.minutes))
            await self._publish_until_delivered(self._topics.minutes_topic, minutes)
            failpoint("minutes_published")
        if outputs.features:
            ticks = self._bus.log_name(self._topics.topic)
            states = [of_log(record, ticks) for record in outputs.features]
            await self._publish_until_delivered(self._topics.features_topic, states)
            failpoint("states_published")

    async def _publish_until_delivered(self, topic: str, records: Sequence[OutRecord]) -> None:
        # A record that arrives twice does no harm: readers of states go by the offset inside, and
        # outcomes and dead letters name their origin.
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await self._bus.publish(topic, records)
            except BusUnavailableError:
                # No log line: the bus has reported once to its listener that it is away.
                self._metrics.process.restarts.labels("consumer").inc()
                await asyncio.sleep(backoff.delay_s())
