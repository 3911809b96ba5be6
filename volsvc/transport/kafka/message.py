"""Messages of aiokafka as records of ours."""

from __future__ import annotations

from typing import Any

from volsvc.transport.bus import Record


def to_record(message: Any) -> Record:
    """Return an aiokafka message as a record of ours."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        # Kafka allows a header without a value, which no reader of ours expects.
        tuple((name, b"" if value is None else value) for name, value in message.headers),
        message.timestamp,
    )
