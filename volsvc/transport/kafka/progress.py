"""Progress of a consumer: its lag, and a detector that tells a stalled client from an idle one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from operator import attrgetter

from aiokafka import AIOKafkaConsumer, TopicPartition

from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import BusEvents, Lag, Record
from volsvc.transport.kafka.client import TRANSIENT_ERRORS


class StallDetector:
    """Raises if a client with work to do makes no progress for too long.

    A client that waits for records at the end of its partitions is idle, for any length of time.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._since: float | None = None

    def progressed(self) -> None:
        """Note that the client made progress, or that it is idle."""
        self._since = None

    def stalled(self, reason: str) -> None:
        """Note a lack of progress; raises BusUnavailableError if it has lasted too long."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since > self._timeout_s:
            self._since = None
            raise BusUnavailableError(f"no progress for {self._timeout_s:g} s: {reason}")


class ProgressMonitor:
    """Reports the lag of a group member, and whether the broker answers it."""

    def __init__(self, topic: str, events: BusEvents, stall_s: float, timeout_s: float) -> None:
        """`timeout_s` is the time for one answer, `stall_s` that for any progress."""
        self._topic = topic
        self._events = events
        self._timeout_s = timeout_s
        self._stall_detector = StallDetector(stall_s)
        self._processed_ms: dict[int, int] = {}

    def processed(self, batch: Sequence[Record]) -> None:
        """Note the publication times of the newest processed records."""
        self._processed_ms |= map(attrgetter("partition", "timestamp_ms"), batch)

    async def check(self, consumer: AIOKafkaConsumer, *, busy: bool) -> None:
        """Report the lag, and raise BusUnavailableError on a stall.

        A `busy` consumer, which has just polled records, knows its lag without a request.
        """
        assigned = list(consumer.assignment())
        try:
            async with asyncio.timeout(self._timeout_s):
                if busy:
                    ends = {tp: consumer.highwater(tp) for tp in assigned}
                else:
                    ends = await consumer.end_offsets(assigned)
                lags = await self._lags(consumer, ends)
        except TRANSIENT_ERRORS as error:
            self._events.connected("consumer", False, str(error) or "no answer")
            # Unknown, which is not the same as 0.
            self._events.lag(self._topic, {})
            self._stall_detector.stalled("the broker does not answer")
            return
        self._events.connected("consumer", True, "")
        self._events.lag(self._topic, lags)
        if busy or not any(lag.records for lag in lags.values()):
            self._stall_detector.progressed()
        else:
            self._stall_detector.stalled("records wait, and none arrive")

    async def _lags(
        self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int | None]
    ) -> dict[int, Lag]:
        lags = {}
        for tp, end in ends.items():
            # The assignment may have changed during the requests.
            if end is not None and tp in consumer.assignment():
                records = max(0, end - await consumer.position(tp))
                lags[tp.partition] = Lag(records, self._seconds(tp.partition, records))
        return lags

    def _seconds(self, partition: int, records: int) -> float | None:
        if not records:
            return 0.0
        published_ms = self._processed_ms.get(partition)
        # Not below 0: the stamp may be of a host whose clock is ahead of ours.
        return None if published_ms is None else max(0.0, time.time() - published_ms / 1000)
