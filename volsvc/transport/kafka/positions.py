"""The positions of a consumer, checked against the watermarks of its partitions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from volsvc.domain import BusError
from volsvc.transport.bus import Position
from volsvc.transport.kafka.client import TRANSIENT_ERRORS


class PositionTracker:
    """Tracks the next offset of each partition, and detects records that were deleted unread."""

    def __init__(self, on_lost: Callable[[int, int], None], timeout_s: float) -> None:
        """`on_lost(partition, records)` is called for records that retention has deleted.

        `timeout_s` is the time for one answer of the broker.
        """
        self._on_lost = on_lost
        self._timeout_s = timeout_s
        self._expected: dict[int, int] = {}

    async def start(
        self, consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Position]:
        """Return the committed offsets of partitions, or the log's start where that is later.

        Raises BusError if a log ends before the committed offset: it is of another topic.
        """
        # A request for all of them at once: each would wait behind the fetch in flight, which the
        # broker holds back for half a second while nothing new arrives.
        committed = await asyncio.gather(*map(consumer.committed, partitions))
        lows = await consumer.beginning_offsets(partitions)
        highs = await consumer.end_offsets(partitions)
        return {
            tp: self._start(tp, offset, lows[tp], highs[tp])
            for tp, offset in zip(partitions, committed, strict=True)
        }

    def _start(self, tp: TopicPartition, committed: int | None, low: int, high: int) -> Position:
        if committed is not None and committed > high:
            raise _recreated(tp, f"ends at {high}, but offset {committed} is committed")
        if committed is not None and committed < low:
            self._on_lost(tp.partition, low - committed)
        position = Position(max(low, committed or 0), high, fresh=committed is None)
        self._expected[tp.partition] = position.next
        return position

    def behind(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        """Return the assigned partitions in which the client knows that records wait."""
        return [
            tp
            for tp in consumer.assignment()
            if self._expected.get(tp.partition, 0) < (consumer.highwater(tp) or 0)
        ]

    async def advance(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, messages: Sequence[Any]
    ) -> None:
        """Move past polled messages, and report a loss if retention overtook the position.

        Raises BusError if they are before the position: they are of another topic.
        """
        expected = self._expected.get(tp.partition)
        self._expected[tp.partition] = messages[-1].offset + 1
        if expected is None or messages[0].offset == expected:
            return
        if messages[0].offset < expected:
            # The client starts again by itself where a log has become shorter than its position.
            raise _recreated(tp, f"goes on at {messages[0].offset} after {expected}")
        # Offsets are missing. Control records of transactions use offsets too, so only the low
        # watermark shows that records were deleted.
        with contextlib.suppress(*TRANSIENT_ERRORS):
            async with asyncio.timeout(self._timeout_s):
                low = (await consumer.beginning_offsets([tp]))[tp]
            # What was polled is not lost, even if retention has overtaken it meanwhile.
            lost = min(low, messages[0].offset) - expected
            if lost > 0:
                self._on_lost(tp.partition, lost)


def _recreated(tp: TopicPartition, detail: str) -> BusError:
    return BusError(
        f"{tp.topic}/{tp.partition} {detail}: the topic was recreated or truncated; delete the "
        "features topic and the group's offsets too, or use other topics"
    )
