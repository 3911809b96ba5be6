"""Choice of the configured bus."""

from __future__ import annotations

from volsvc.config.settings import Settings
from volsvc.transport import Bus, BusEvents
from volsvc.transport.memory import Keeper, MemoryBus


def build_bus(
    settings: Settings, events: BusEvents, instance: str, keeper: Keeper | None = None
) -> Bus:
    """Return the configured bus, not connected yet.

    `instance` is the name of this process in its consumer group. An in-process bus goes on where
    the `keeper`'s former process had committed.
    """
    if settings.bus.transport == "memory":
        kafka = settings.kafka
        consumed = "consumer" in settings.service.roles
        return MemoryBus(
            partitions=kafka.partitions if keeper is None else keeper.partitions,
            queue_max_records=settings.bus.queue_max_records,
            groups={kafka.topic: kafka.group_id} if consumed else {},
            kept_topic=kafka.features_topic,
            keeper=keeper,
        )
    # Imported here: aiokafka takes a fifth of a second, which the in-process bus need not pay.
    from volsvc.transport.kafka.bus import KafkaBus

    return KafkaBus(settings.kafka, events, instance)
