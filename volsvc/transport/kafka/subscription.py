"""The subscription of a Kafka consumer group's member: batches, commits, and assignment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError

from volsvc.backoff import Backoff
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusUnavailableError
from volsvc.transport.bus import BusEvents, Offsets, RebalanceListener, Record
from volsvc.transport.kafka.client import (
    TRANSIENT_ERRORS,
    cancel_on,
    client_options,
    close_quietly,
    with_retries,
)
from volsvc.transport.kafka.message import to_records
from volsvc.transport.kafka.positions import PositionTracker
from volsvc.transport.kafka.progress import ProgressMonitor
from volsvc.transport.partitions import check_added

POLL_MS = 500
MAX_POLL_RECORDS = 3_000
# Partitions of a poll with several: a poll of each costs as much as some records.
MAX_SHARES = 40
# Characters in a `group.instance.id`: the broker refuses longer ones.
MAX_INSTANCE_ID = 249
# Time for which a rebalance waits for a member that is alive but still flushes its state.
REBALANCE_TIMEOUT_S = 60


class GroupMember(NamedTuple):
    """A consumer group, and the name of our instance in it."""

    group_id: str
    instance: str


class KafkaSubscription:
    """A group member's consumer; batches and revocations exclude each other."""

    def __init__(
        self,
        topic: str,
        member: GroupMember,
        listener: RebalanceListener,
        *,
        settings: KafkaSettings,
        events: BusEvents,
        ready: Callable[[], Awaitable[Mapping[str, int]]],
        closing: asyncio.Event,
    ) -> None:
        """`ready` waits for the topics as they are now, and returns their numbers of partitions.

        `closing` ends the subscription if set.
        """
        self._topic = topic
        self._member = member
        self._listener = listener
        self._settings = settings
        self._events = events
        self._ready = ready
        self._closing = closing
        self._timeout_s = settings.request_timeout_ms / 1000
        self._progress = ProgressMonitor(topic, events, settings.stall_timeout_s, self._timeout_s)
        self._positions = PositionTracker(listener.records_lost, self._timeout_s)
        self._consumer: AIOKafkaConsumer | None = None
        # Held while a batch is processed, so that a revocation flushes what the batch has changed.
        self._batch_lock = asyncio.Lock()
        self._revoke_error: Exception | None = None
        self._to_restore: set[TopicPartition] | None = None
        self._rebalancing = False

    async def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Yield batches until the bus closes; raises BusUnavailableError on a stall."""
        counts = await cancel_on(self._closing, self._ready())
        if counts is None or self._closing.is_set():
            return
        partitions = counts[self._topic]
        consumer = await cancel_on(
            self._closing, with_retries("consumer", self._join, self._settings, self._events)
        )
        if consumer is None:
            return
        self._consumer = consumer
        try:
            while not self._closing.is_set():
                polled = await cancel_on(self._closing, self._poll(consumer))
                # The client looks only if it is the leader of its group, and an instance that was
                # killed and comes back under its name is not.
                known = consumer.partitions_for_topic(self._topic) or ()
                check_added(self._topic, len(known), partitions)
                async with self._batch_lock:
                    if await self._restore_assigned(consumer):
                        # Not even an empty batch, which would say that nothing waits.
                        continue
                    batch = await self._assigned_records(consumer, polled or {})
                    yield batch
                    self._progress.processed(batch)
                await self._progress.check(consumer, busy=bool(batch))
            # Upon the empty batch the consumer commits, while the partitions are still ours.
            async with self._batch_lock:
                yield []
        finally:
            self._consumer = None
            await close_quietly(consumer.stop())

    async def _join(self) -> AIOKafkaConsumer:
        consumer = _new_member(self._topic, self._member, self._settings)
        consumer.subscribe([self._topic], listener=_AiokafkaListener(self, consumer))
        try:
            await consumer.start()
        except BaseException:
            await close_quietly(consumer.stop())
            raise
        return consumer

    async def _poll(self, consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, Sequence[Any]]:
        """Return the next records of the partitions, in equal shares, after a wait for the first.

        The client alone returns one partition to its end before the next: the symbols of the others
        would fall behind, and all of a poll's states would be published to the same partition.
        """
        try:
            behind = self._positions.behind(consumer)
            chosen = random.sample(behind, min(len(behind), MAX_SHARES))
            share = MAX_POLL_RECORDS // max(1, len(chosen))
            polled: dict[TopicPartition, Sequence[Any]] = await consumer.getmany(
                timeout_ms=POLL_MS, max_records=share
            )
            for tp in chosen:
                if tp not in polled:
                    polled |= await consumer.getmany(tp, timeout_ms=0, max_records=share)
        except Exception as error:
            # `getmany` raises whatever ended one of the client's own tasks, of any class. Such a
            # client has left its group for good; a new one starts from the log.
            raise BusUnavailableError(f"consuming {self._topic} failed: {error!r}") from error
        return polled

    async def _assigned_records(
        self, consumer: AIOKafkaConsumer, polled: Mapping[TopicPartition, Sequence[Any]]
    ) -> list[Record]:
        """Return the polled records of partitions that are still assigned."""
        if self._rebalancing:
            # Polled before the revocation; the next owner starts at the commit before them.
            return []
        assigned = consumer.assignment()
        records = to_records(messages for tp, messages in polled.items() if tp in assigned)
        for tp in polled:
            if tp in assigned:
                await self._positions.advance(consumer, tp, polled[tp])
        return records

    # --- assignment -----------------------------------------------------------------------

    async def _restore_assigned(self, consumer: AIOKafkaConsumer) -> bool:
        """Restore what was assigned since the last batch; return False if nothing was.

        Raises the error of a revocation that failed.
        """
        if self._revoke_error is not None:
            error, self._revoke_error = self._revoke_error, None
            raise error
        if self._to_restore is None:
            return False
        partitions, self._to_restore = self._to_restore, None
        await self._restore(consumer, partitions)
        return True

    async def _restore(self, consumer: AIOKafkaConsumer, partitions: set[TopicPartition]) -> None:
        """Have the state of new partitions restored, then read on from their positions."""
        # Not in the client's callback: aiokafka sends no heartbeat during it, so a restore longer
        # than the session would cost the partitions. What was polled meanwhile is read again.
        try:
            async with asyncio.timeout(self._timeout_s * 2):
                # Partitions may have been added, or the topic deleted.
                await self._ready()
                positions = await self._positions.start(consumer, partitions)
            await self._listener.assigned({tp.partition: at for tp, at in positions.items()})
            for tp, at in positions.items():
                if tp in consumer.assignment():
                    consumer.seek(tp, at.next)
                    consumer.resume(tp)
        except TRANSIENT_ERRORS as error:
            raise BusUnavailableError(f"taking over {self._topic} failed: {error!r}") from error

    def assigned(self, partitions: set[TopicPartition]) -> None:
        """Note newly assigned partitions, which are restored before the next batch."""
        self._events.rebalanced()
        self._rebalancing = False
        self._to_restore = set(partitions)

    async def revoked(self, partitions: set[TopicPartition]) -> None:
        """Have the state of revoked partitions flushed, after the current batch."""
        async with self._batch_lock:
            # Those that still wait to be restored have no state to flush.
            restored = [tp.partition for tp in partitions - (self._to_restore or set())]
            self._to_restore = None
            self._rebalancing = True
            try:
                if restored:
                    await self._listener.revoked(restored)
            except Exception as error:  # noqa: BLE001
                # aiokafka would log and drop it; `batches` raises it instead.
                self._revoke_error = error

    async def commit(self, offsets: Offsets) -> bool:
        """Commit for the partitions that are still assigned; others are their new owner's."""
        consumer = self._consumer
        if consumer is None:
            return False
        positions = {
            tp: offsets[tp.partition]
            for tp in consumer.assignment()
            if tp.topic == self._topic and tp.partition in offsets
        }
        committed = await _commit(consumer, positions, self._settings, self._events)
        return committed and len(positions) == len(offsets)


async def _commit(
    consumer: AIOKafkaConsumer,
    positions: Mapping[TopicPartition, int],
    settings: KafkaSettings,
    events: BusEvents,
) -> bool:
    """Commit positions, with retries; return False if one was revoked meanwhile.

    Raises BusUnavailableError if the broker does not answer within `stall_timeout_s`.
    """
    backoff = Backoff(settings.retry_backoff_ms / 1000, 1.0)
    deadline = asyncio.get_running_loop().time() + settings.stall_timeout_s
    while positions:
        try:
            async with asyncio.timeout(settings.request_timeout_ms / 1000):
                await consumer.commit(positions)
            break
        except (CommitFailedError, IllegalStateError):
            # Revoked during the commit: the new owner starts from the state that we flushed.
            return False
        except TRANSIENT_ERRORS as error:
            events.connected("consumer", False, f"commit: {error or 'no answer'}")
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnavailableError("offsets cannot be committed") from error
            await asyncio.sleep(backoff.delay_s())
    return True


def _new_member(topic: str, member: GroupMember, settings: KafkaSettings) -> AIOKafkaConsumer:
    # aiokafka keeps the present assignment in the assignor's class, which all members of a process
    # would share; a subclass belongs to one member.
    sticky = type("Sticky", (StickyPartitionAssignor,), {})
    return AIOKafkaConsumer(
        **client_options(settings),
        group_id=member.group_id,
        # With the topic in it, because a broker gives a name that returns its former partitions, of
        # whatever topic they are.
        group_instance_id=f"{member.instance}.{topic}"[:MAX_INSTANCE_ID],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_S * 1000,
        partition_assignment_strategy=(sticky,),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )


class _AiokafkaListener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, subscription: KafkaSubscription, consumer: AIOKafkaConsumer) -> None:
        self._subscription = subscription
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._subscription.revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        # Until they are restored: the broker holds a fetch back for half a second while nothing
        # new arrives, and the requests of a restore would wait behind it.
        self._consumer.pause(*assigned)
        self._subscription.assigned(assigned)
