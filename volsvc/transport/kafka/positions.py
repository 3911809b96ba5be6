"""Where a consumer goes on, against the low and the high watermark of its partitions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from volsvc.domain import BusError
from volsvc.transport.bus import Position
from volsvc.transport.kafka.client import TROUBLE


class Positions:
    """Knows which offset comes next, and so what the broker deleted before it was read."""

    def __init__(self, lost: Callable[[int, int], None], answer_s: float) -> None:
        """`lost(partition, records)` hears of what retention took."""
        self._lost = lost
        self._answer_s = answer_s
        self._expected: dict[int, int] = {}

    async def of(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> Position:
        """The committed offset of a partition, unless the log begins after or ends before it.

        Raises BusError when it ends before it: another topic of the same name.
        """
        committed = await consumer.committed(tp)
        low = (await consumer.beginning_offsets([tp]))[tp]
        high = (await consumer.end_offsets([tp]))[tp]
        if committed is not None and committed > high:
            raise BusError(
                f"{tp.topic}/{tp.partition} ends at {high}, but offset {committed} is committed: "
                "the topic was made anew or truncated; delete the features topic and the group's "
                "offsets too, or name other topics"
            )
        if committed is not None and committed < low:
            self._lost(tp.partition, low - committed)
        at = Position(max(low, committed or 0), high, fresh=committed is None)
        self._expected[tp.partition] = at.next
        return at

    async def read(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, messages: Sequence[Any]
    ) -> None:
        """Take note of what came.

        Offsets may also be missing because transactions use them; the low watermark tells.
        """
        expected = self._expected.get(tp.partition)
        self._expected[tp.partition] = messages[-1].offset + 1
        if expected is None or messages[0].offset <= expected:
            return
        with contextlib.suppress(*TROUBLE):
            async with asyncio.timeout(self._answer_s):
                low = (await consumer.beginning_offsets([tp]))[tp]
            if low > expected:
                self._lost(tp.partition, low - expected)
