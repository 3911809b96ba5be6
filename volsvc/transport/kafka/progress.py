"""Whether a consumer gets on: lag where it is known, and a watchdog that tells stuck from idle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import BusEvents, Lag, Record
from volsvc.transport.kafka.client import TROUBLE


class Watchdog:
    """Bites when a client has had reason to move for too long and has not.

    One that waits for records at the end of its partitions is idle, and may be so for ever.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None

    def moved(self) -> None:
        """The client got on, or has nothing to get on with."""
        self._since = None

    def stood_still(self, why: str) -> None:
        """The client did not get on; raises BusUnavailableError when that has lasted too long."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since > self._patience_s:
            self._since = None
            raise BusUnavailableError(f"no progress for {self._patience_s:g} s: {why}")


class Progress:
    """Watches one member of a group; reports its lag, and whether the broker answers it."""

    def __init__(self, topic: str, events: BusEvents, stall_s: float, answer_s: float) -> None:
        self._topic = topic
        self._events = events
        self._answer_s = answer_s
        self._watchdog = Watchdog(stall_s)
        self._stamps_ms: dict[int, int] = {}

    def processed(self, batch: Sequence[Record]) -> None:
        """Records that are done with."""
        for record in batch:
            self._stamps_ms[record.partition] = record.timestamp_ms

    async def look_around(self, consumer: AIOKafkaConsumer, *, busy: bool) -> None:
        """Report lag; when nothing came, ask the broker whether there was anything to come."""
        assigned = list(consumer.assignment())
        try:
            async with asyncio.timeout(self._answer_s):
                if busy:
                    ends = {tp: consumer.highwater(tp) for tp in assigned}
                else:
                    ends = await consumer.end_offsets(assigned)
                lags = await self._lags(consumer, ends)
        except TROUBLE as error:
            self._events.connected("consumer", False, str(error) or "no answer")
            self._events.lag(self._topic, {})
            self._watchdog.stood_still("the broker does not answer")
            return
        self._events.connected("consumer", True, "")
        self._events.lag(self._topic, lags)
        if busy or not any(lag.records for lag in lags.values()):
            self._watchdog.moved()
        else:
            self._watchdog.stood_still("records wait, and none arrive")

    async def _lags(
        self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int | None]
    ) -> dict[int, Lag]:
        lags = {}
        for tp, end in ends.items():
            if end is not None and tp in consumer.assignment():
                records = max(0, end - await consumer.position(tp))
                lags[tp.partition] = Lag(records, self._seconds(tp.partition, records))
        return lags

    def _seconds(self, partition: int, records: int) -> float | None:
        if not records:
            return 0.0
        stamp_ms = self._stamps_ms.get(partition)
        return None if stamp_ms is None else max(0.0, time.time() - stamp_ms / 1000)
