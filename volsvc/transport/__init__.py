"""How records travel: one interface, in process or through Kafka, and the codec of our topics."""

from volsvc.transport.bus import (
    Bus,
    BusEvents,
    Lag,
    Offsets,
    OutRecord,
    Position,
    Record,
    Subscription,
)

__all__ = [
    "Bus",
    "BusEvents",
    "Lag",
    "Offsets",
    "OutRecord",
    "Position",
    "Record",
    "Subscription",
]
