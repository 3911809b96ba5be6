"""Choice of the configured bus."""

from __future__ import annotations

from volsvc.config.settings import Settings
from volsvc.transport import Bus, BusEvents
from volsvc.transport.memory import MemoryBus


def build_bus(settings: Settings, events: BusEvents, instance: str) -> Bus:
    """Return the configured bus, not connected yet.

    `instance` is the name of this process in its consumer group.
    """
    if settings.bus.transport == "memory":
        kafka = settings.kafka
        consumed = "consumer" in settings.service.roles
        return MemoryBus(
            partitions=kafka.partitions,
            queue_max_records=settings.bus.queue_max_records,
            groups={kafka.topic: kafka.group_id} if consumed else {},
        )
    # Imported here: aiokafka takes a fifth of a second, which the in-process bus need not pay.
    from volsvc.transport.kafka.bus import KafkaBus

    return KafkaBus(settings.kafka, events, instance)
