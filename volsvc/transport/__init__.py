"""The log of records: one interface, in process or on Kafka, and the codec of our topics."""

from volsvc.transport.bus import (
    Beginning,
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
    "Beginning",
    "Bus",
    "BusEvents",
    "Lag",
    "Offsets",
    "OutRecord",
    "Position",
    "Record",
    "Subscription",
]
