"""How records travel: one interface, in process or through Kafka, and the codec of our topics."""

from volsvc.transport.bus import Bus, BusEvents, Offsets, OutRecord, Record, Subscription

__all__ = ["Bus", "BusEvents", "Offsets", "OutRecord", "Record", "Subscription"]
