"""Positions in Kafka: the tracker against a log whose oldest records are deleted at any time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from volsvc.domain import BusError
from volsvc.transport import Record
from volsvc.transport.kafka.message import to_records
from volsvc.transport.kafka.positions import PositionTracker

TP = TopicPartition("ticks.raw", 0)


@dataclass
class Log:
    """A partition with records from `low` to `high`, and a consumer of it.

    The offsets in `control` hold no records; `before_answer` is called before the broker tells its
    low watermark.
    """

    low: int
    high: int
    offset: int | None = None
    control: frozenset[int] = frozenset()
    before_answer: Callable[[], None] = lambda: None

    async def committed(self, tp: TopicPartition) -> int | None:
        return self.offset

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.before_answer()
        return dict.fromkeys(tps, self.low)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.high)

    def poll(self, position: int, most: int) -> list[Any]:
        """Return the records after a position, as a client gives them."""
        offsets = range(max(position, self.low), self.high)
        kept = [offset for offset in offsets if offset not in self.control]
        return [SimpleNamespace(offset=offset) for offset in kept[:most]]


async def consume(log: Log, rng: random.Random, steps: int) -> tuple[int, int]:
    """Consume while records come and go; return the records reported lost, and those that were."""
    reported: list[int] = []
    tracker = PositionTracker(lambda partition, records: reported.append(records), 5.0)
    position = (await tracker.start(log, [TP]))[TP].next
    lost = position - (log.offset if log.offset is not None else position)
    for _ in range(steps):
        log.high += rng.choice((0, 1, 5))
        if rng.random() < 0.3:
            log.low = min(log.high, log.low + rng.choice((1, 3, 12)))
        messages = log.poll(position, rng.choice((1, 4)))
        if messages:
            lost += messages[0].offset - position
            # Retention goes on between the poll and the question.
            log.before_answer = lambda: setattr(
                log, "low", min(log.high, log.low + rng.choice((0, 0, 2)))
            )
            await tracker.advance(log, TP, messages)
            log.before_answer = lambda: None
            position = messages[-1].offset + 1
    return sum(reported), lost


async def test_every_record_deleted_unread_is_counted_once() -> None:
    """The losses reported are the records that were never polled, before and after the start."""
    losses = 0
    for seed in range(30):
        rng = random.Random(seed)
        low = rng.randrange(20)
        log = Log(low, low + 5, rng.choice((None, *range(low + 5))))
        reported, lost = await consume(log, rng, 60)
        assert reported == lost, seed
        losses += lost > 0
    assert losses > 20


async def test_offsets_without_records_are_no_loss() -> None:
    """Control records of transactions leave holes that are not reported."""
    log = Log(0, 100, 10, control=frozenset(range(11, 100, 3)))
    reported: list[tuple[int, int]] = []
    tracker = PositionTracker(lambda *lost: reported.append(lost), 5.0)
    position = (await tracker.start(log, [TP]))[TP].next
    while messages := log.poll(position, 3):
        await tracker.advance(log, TP, messages)
        position = messages[-1].offset + 1
    assert reported == []


@pytest.mark.parametrize(
    ("committed", "start", "lost"),
    [(None, 5, []), (3, 5, [2]), (4, 5, [1]), (5, 5, []), (6, 6, []), (9, 9, [])],
)
async def test_the_start(committed: int | None, start: int, lost: list[int]) -> None:
    """It is the committed offset, or the log's start if that is later."""
    found: list[int] = []
    tracker = PositionTracker(lambda partition, records: found.append(records), 5.0)
    log = Log(5, 9, committed)
    position = (await tracker.start(log, [TP]))[TP]
    assert (position.next, position.end, position.fresh) == (start, 9, committed is None)
    assert found == lost


async def test_partitions_are_asked_for_together() -> None:
    """However many there are, the broker is asked once for the starts and once for the ends."""

    class Counted(Log):
        questions = 0

        async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
            self.questions += 1
            return await super().beginning_offsets(tps)

        async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
            self.questions += 1
            return await super().end_offsets(tps)

    log, partitions = Counted(5, 9), [TopicPartition("ticks.raw", n) for n in range(6)]
    positions = await PositionTracker(lambda *_: None, 5.0).start(log, partitions)
    assert list(positions) == partitions
    assert log.questions == 2


async def test_a_log_that_ends_before_the_committed_offset_is_another_one() -> None:
    """An offset committed beyond the end raises, because the topic was made anew."""
    log = Log(5, 9, 10)
    with pytest.raises(BusError, match="recreated"):
        await PositionTracker(lambda *_: None, 5.0).start(log, [TP])


def test_a_header_without_a_value_is_an_empty_one() -> None:
    """Kafka allows it, and readers of headers must not meet None."""
    headers: Any = (("volsvc-position", None), ("a", b"1"))
    message = ConsumerRecord("t", 1, 2, 3, 0, b"k", b"v", None, 1, 1, headers)
    plain = ConsumerRecord("t", 1, 3, 3, 0, b"k", b"v", None, 1, 1, ())
    records = to_records([[message], [plain]])
    assert records == [
        Record("t", 1, 2, b"k", b"v", (("volsvc-position", b""), ("a", b"1")), 3),
        Record("t", 1, 3, b"k", b"v", (), 3),
    ]


async def test_a_log_that_goes_back_is_another_one() -> None:
    """Records before the position are of a topic that was created again, and are not processed."""
    log = Log(0, 100, 50)
    tracker = PositionTracker(lambda *_: None, 5.0)
    await tracker.start(log, [TP])
    await tracker.advance(log, TP, log.poll(50, 3))
    with pytest.raises(BusError, match=r"ticks\.raw/0 goes on at 0 after 53: .*recreated"):
        await tracker.advance(log, TP, log.poll(0, 3))
