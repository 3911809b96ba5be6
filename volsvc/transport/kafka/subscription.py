"""A member of a Kafka consumer group: batches, commits, assignment, signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError

from volsvc.backoff import Backoff
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import Assignee, BusEvents, Offsets, Record
from volsvc.transport.kafka.client import TROUBLE, client_options, let_go, retrying, unless
from volsvc.transport.kafka.positions import Positions
from volsvc.transport.kafka.progress import Progress
from volsvc.transport.kafka.reader import to_record

POLL_MS = 500
MAX_POLL_RECORDS = 2_000
# Characters in the name of a member.
MAX_NAME = 249
# How long the others wait for a member that is alive but still flushes its state.
REBALANCE_S = 60


class GroupMember(NamedTuple):
    """A group, and our name in it, which a restart keeps and with it its partitions."""

    group: str
    instance: str


class KafkaSubscription:
    """One consumer; batches and rebalances exclude each other."""

    def __init__(
        self,
        topic: str,
        member: GroupMember,
        assignee: Assignee,
        *,
        settings: KafkaSettings,
        events: BusEvents,
        ready: Callable[[], Awaitable[None]],
        closing: asyncio.Event,
    ) -> None:
        self._topic = topic
        self._member = member
        self._assignee = assignee
        self._settings = settings
        self._events = events
        self._ready = ready
        self._closing = closing
        self._answer_s = settings.request_timeout_ms / 1000
        self._progress = Progress(topic, events, settings.stall_timeout_s, self._answer_s)
        self._gate = asyncio.Lock()
        self._failure: Exception | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._arrived: set[TopicPartition] | None = None
        self._between = False
        self._positions = Positions(assignee.lost, self._answer_s)

    async def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Batches until the bus closes; raises BusUnavailableError when the client is stuck."""
        await unless(self._closing, self._ready())
        if self._closing.is_set():
            return
        consumer = await unless(
            self._closing, retrying("consumer", self._join, self._settings, self._events)
        )
        if consumer is None:
            return
        self._consumer = consumer
        try:
            while not self._closing.is_set():
                polled = await unless(self._closing, self._poll(consumer))
                async with self._gate:
                    batch = await self._owned(consumer, polled or {})
                    yield batch
                    self._progress.processed(batch)
                await self._progress.look_around(consumer, busy=bool(batch))
            # What was processed since the last commit is flushed while we still own it.
            async with self._gate:
                yield []
        finally:
            self._consumer = None
            await let_go(consumer.stop())

    async def _join(self) -> AIOKafkaConsumer:
        consumer = _new_member(self._topic, self._member, self._settings)
        consumer.subscribe([self._topic], listener=_Listener(self))
        try:
            await consumer.start()
        except BaseException:
            await let_go(consumer.stop())
            raise
        return consumer

    async def _poll(
        self, consumer: AIOKafkaConsumer
    ) -> Mapping[TopicPartition, Sequence[Any]] | None:
        try:
            polled: Mapping[TopicPartition, Sequence[Any]] = await consumer.getmany(
                timeout_ms=POLL_MS, max_records=MAX_POLL_RECORDS
            )
        except Exception as error:
            # Whatever one of the client's own tasks died of comes out here, of any class; the
            # client gives up on a group this way, and a new one starts from the log.
            raise BusUnavailableError(f"consuming {self._topic} failed: {error!r}") from error
        return polled

    async def _owned(
        self, consumer: AIOKafkaConsumer, polled: Mapping[TopicPartition, Sequence[Any]]
    ) -> list[Record]:
        """What was polled, without partitions that have gone elsewhere meanwhile."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._arrived is not None:
            arrived, self._arrived = self._arrived, None
            await self._take_over(consumer, arrived)
            return []
        if self._between:
            # Polled before the partitions went; whoever has them next goes on before it.
            return []
        owned = consumer.assignment()
        records = [to_record(m) for tp, ms in polled.items() if tp in owned for m in ms]
        for tp in polled:
            if tp in owned:
                await self._positions.read(consumer, tp, polled[tp])
        return records

    # --- assignment -----------------------------------------------------------------------

    async def _take_over(self, consumer: AIOKafkaConsumer, arrived: set[TopicPartition]) -> None:
        """Restore what came, then read on from there; here, and not in the client's callback.

        The client sends no heartbeat during the callback, so a long restore would cost it the
        partitions. What was polled meanwhile is read again.
        """
        try:
            async with asyncio.timeout(self._answer_s * 2):
                positions = {tp: await self._positions.of(consumer, tp) for tp in arrived}
            await self._assignee.assigned({tp.partition: at for tp, at in positions.items()})
            for tp, at in positions.items():
                if tp in consumer.assignment():
                    consumer.seek(tp, at.next)
        except TROUBLE as error:
            raise BusUnavailableError(f"taking over {self._topic} failed: {error!r}") from error

    def assigned(self, partitions: set[TopicPartition]) -> None:
        """Note what came; it is taken over before the next batch."""
        self._events.rebalanced()
        self._between = False
        self._arrived = set(partitions)

    async def revoked(self, partitions: set[TopicPartition]) -> None:
        """Take partitions back after the batch in hand."""
        async with self._gate:
            gone = [tp.partition for tp in partitions - (self._arrived or set())]
            self._arrived = None
            self._between = True
            try:
                if gone:
                    await self._assignee.revoked(gone)
            except Exception as error:  # noqa: BLE001
                # The client would log and swallow it; the reader of batches has to see it.
                self._failure = error

    async def commit(self, offsets: Offsets) -> bool:
        """Commit for the partitions still owned; a lost partition is the new owner's."""
        consumer = self._consumer
        if consumer is None:
            return False
        positions = {
            tp: offsets[tp.partition]
            for tp in consumer.assignment()
            if tp.topic == self._topic and tp.partition in offsets
        }
        backoff = Backoff(self._settings.retry_backoff_ms / 1000, 1.0)
        deadline = asyncio.get_running_loop().time() + self._settings.stall_timeout_s
        while positions:
            try:
                async with asyncio.timeout(self._answer_s):
                    await consumer.commit(positions)
                break
            except (CommitFailedError, IllegalStateError):
                # Revoked while we committed: the new owner starts from the state we flushed.
                return False
            except TROUBLE as error:
                self._events.connected("consumer", False, f"commit: {error or 'no answer'}")
                if asyncio.get_running_loop().time() > deadline:
                    raise BusUnavailableError("offsets cannot be committed") from error
                await asyncio.sleep(backoff.delay_s())
        return len(positions) == len(offsets)


def _new_member(topic: str, member: GroupMember, settings: KafkaSettings) -> AIOKafkaConsumer:
    # The client keeps the assignment in the assignor's class; a subclass is one member's own.
    sticky = type("Sticky", (StickyPartitionAssignor,), {})
    return AIOKafkaConsumer(
        **client_options(settings),
        group_id=member.group,
        # A broker gives a name that comes back its former partitions, of whatever topic.
        group_instance_id=f"{member.instance}.{topic}"[:MAX_NAME],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=REBALANCE_S * 1000,
        partition_assignment_strategy=(sticky,),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, subscription: KafkaSubscription) -> None:
        self._subscription = subscription

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._subscription.revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._subscription.assigned(assigned)
