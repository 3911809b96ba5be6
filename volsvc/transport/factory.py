"""The configured bus."""

from __future__ import annotations

from volsvc.config.settings import Settings
from volsvc.transport import Bus, BusEvents
from volsvc.transport.memory import MemoryBus


def build_bus(settings: Settings, events: BusEvents, instance: str) -> Bus:
    """The configured bus, not connected yet; `instance` is our name in the consumer group."""
    if settings.bus.transport == "memory":
        return MemoryBus(
            partitions=settings.kafka.partitions, queue_max_records=settings.bus.queue_max_records
        )
    # aiokafka costs a fifth of a second to import, which the in-process bus need not pay.
    from volsvc.transport.kafka.bus import KafkaBus

    return KafkaBus(settings.kafka, events, instance)
