"""Messages of aiokafka as records of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from volsvc.transport.bus import Headers, Record


def to_records(polled: Iterable[Sequence[Any]]) -> list[Record]:
    """Return aiokafka's messages of some partitions, one after the other, as records of ours."""
    new = tuple.__new__
    # `Record(...)` is one more call in Python for each of them.
    return [
        new(
            Record,
            (
                m.topic,
                m.partition,
                m.offset,
                m.key,
                m.value,
                _headers(m.headers) if m.headers else (),
                m.timestamp,
            ),
        )
        for messages in polled
        for m in messages
    ]


def _headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    # Kafka allows a header without a value, which no reader of ours expects.
    return tuple((name, b"" if value is None else value) for name, value in headers)
