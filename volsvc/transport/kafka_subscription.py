"""A member of a Kafka consumer group: batches, commits, assignment, signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from volsvc.config import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.supervisor import Backoff
from volsvc.transport.bus import Assignee, BusEvents, Offsets, Record
from volsvc.transport.kafka_client import client_options, let_go, retrying

T = TypeVar("T")

POLL_MS = 500
MAX_POLL_RECORDS = 2_000
REBUILD_S = 60.0
"""Without an answer for this long the client is rebuilt: some never come back by themselves."""


def to_record(message: Any) -> Record:
    """An aiokafka message as ours."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        tuple(message.headers),
    )


class KafkaSubscription:
    """One consumer; batches and rebalances exclude each other."""

    def __init__(
        self,
        topic: str,
        group: str,
        assignee: Assignee,
        *,
        settings: KafkaSettings,
        events: BusEvents,
        ready: Callable[[], Awaitable[None]],
        closing: asyncio.Event,
    ) -> None:
        self._topic = topic
        self._group = group
        self._assignee = assignee
        self._settings = settings
        self._events = events
        self._ready = ready
        self._closing = closing
        self._gate = asyncio.Lock()
        self._failure: Exception | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._silent_since: float | None = None

    async def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Batches until the bus closes; raises BusUnavailableError when the client is stuck."""
        await self._until_closing(self._ready())
        if self._closing.is_set():
            return
        consumer = await self._until_closing(
            retrying("consumer", self._start, self._settings, self._events)
        )
        if consumer is None:
            return
        self._consumer = consumer
        try:
            while not self._closing.is_set():
                polled = await self._until_closing(
                    consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_POLL_RECORDS)
                )
                async with self._gate:
                    yield self._owned(consumer, polled or {})
                await self._look_around(consumer, bool(polled))
            # What was processed since the last commit is flushed while we still own it.
            async with self._gate:
                yield []
        finally:
            self._consumer = None
            await let_go(consumer.stop())

    async def _until_closing(self, work: Awaitable[T]) -> T | None:
        """The result of `work`, or None when the bus closes first."""
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            closing.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _start(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        consumer.subscribe([self._topic], listener=_Listener(self))
        try:
            await consumer.start()
        except BaseException:
            await let_go(consumer.stop())
            raise
        return consumer

    def _owned(
        self, consumer: AIOKafkaConsumer, polled: Mapping[TopicPartition, Sequence[Any]]
    ) -> list[Record]:
        """What was polled, without partitions that have gone elsewhere meanwhile."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        owned = consumer.assignment()
        return [to_record(m) for tp, ms in polled.items() if tp in owned for m in ms]

    async def _look_around(self, consumer: AIOKafkaConsumer, busy: bool) -> None:
        """Report lag; when nothing came, ask the broker whether it is still there."""
        now = asyncio.get_running_loop().time()
        assigned = list(consumer.assignment())
        try:
            if busy:
                ends = {tp: consumer.highwater(tp) for tp in assigned}
            else:
                async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                    ends = await consumer.end_offsets(assigned)
            lag = {
                tp.partition: max(0, end - await consumer.position(tp))
                for tp, end in ends.items()
                if end is not None and tp in consumer.assignment()
            }
        except (KafkaError, TimeoutError, OSError) as error:
            self._silent_since = self._silent_since or now
            self._events.connected("consumer", False, str(error) or "no answer")
            self._events.lag(self._topic, {})
            if now - self._silent_since > REBUILD_S:
                raise BusUnavailableError(f"no answer for {REBUILD_S:g} s") from error
        else:
            self._silent_since = None
            self._events.connected("consumer", True, "")
            self._events.lag(self._topic, lag)

    async def commit(self, offsets: Offsets) -> None:
        """Commit for the partitions still owned; a lost partition is the new owner's."""
        consumer = self._consumer
        if consumer is None or not offsets:
            return
        positions = {
            tp: offsets[tp.partition]
            for tp in consumer.assignment()
            if tp.topic == self._topic and tp.partition in offsets
        }
        backoff = Backoff(self._settings.retry_backoff_ms / 1000, 1.0)
        deadline = asyncio.get_running_loop().time() + REBUILD_S
        while positions:
            try:
                async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                    await consumer.commit(positions)
                return
            except (CommitFailedError, IllegalStateError):
                # Revoked while we committed: the new owner starts from the state we flushed.
                return
            except (KafkaError, TimeoutError, OSError) as error:
                self._events.connected("consumer", False, f"commit: {error or 'no answer'}")
                if asyncio.get_running_loop().time() > deadline:
                    raise BusUnavailableError("offsets cannot be committed") from error
                await asyncio.sleep(backoff.delay_s())

    async def assigned(self, partitions: Sequence[int]) -> None:
        """Hand new partitions to their owner before their first batch."""
        self._events.rebalanced()
        await self._tell(self._assignee.assigned, partitions)

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Take partitions back after the batch in hand."""
        await self._tell(self._assignee.revoked, partitions)

    async def _tell(
        self, hear: Callable[[Sequence[int]], Awaitable[None]], partitions: Sequence[int]
    ) -> None:
        async with self._gate:
            try:
                await hear(partitions)
            except Exception as error:  # noqa: BLE001
                # The client would log and swallow it; the reader of batches has to see it.
                self._failure = error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, subscription: KafkaSubscription) -> None:
        self._subscription = subscription

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            await self._subscription.revoked([tp.partition for tp in revoked])

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        if assigned:
            await self._subscription.assigned([tp.partition for tp in assigned])
