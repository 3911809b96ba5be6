"""The producer: each tick of a source is published once, however often the bus is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.pipeline.unsteady import RecordingTracer, UnsteadyBus, ceilings
from volsvc.domain import NS, SourceRow, Tick
from volsvc.pipeline.producer import Producer
from volsvc.sources.base import Skip
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Record
from volsvc.transport.codec import POSITION_HEADER, decode_tick
from volsvc.transport.memory import MemoryBus

TOPIC = "ticks.raw"
START_NS = 1_767_571_200 * NS
# Of two partitions the first two share one.
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


class ListSource:
    """A source of rows in memory, in batches of a given size."""

    prompt = 0

    def __init__(self, count: int, batch: int, identity: str = "list@1", first: int = 0) -> None:
        self.identity = self.feed = identity
        self._batch = batch
        self.rows = [
            SourceRow(
                first + number, Tick(SYMBOLS[number % 3], START_NS + number * NS, 100.0 + number)
            )
            for number in range(count)
        ]

    async def batches(self, skip: Skip) -> AsyncIterator[Sequence[SourceRow]]:
        """Yield the rows that are not skipped."""
        rows = [row for row in self.rows if not skip(row)]
        for start in range(0, len(rows), self._batch):
            yield rows[start : start + self._batch]


async def published(bus: MemoryBus, partitions: int = 2) -> list[Record]:
    """Return all records of the topic."""
    batches = bus.read_all(TOPIC, range(partitions))
    return [record async for batch in batches for record in batch]


async def produce(source: ListSource, bus: MemoryBus, metrics: Metrics | None = None) -> None:
    """Publish a source to its end."""
    await Producer(source, bus, TOPIC, metrics or Metrics()).run()


def position(record: Record) -> bytes:
    """Return the header that says where in its source a tick was."""
    return dict(record.headers)[POSITION_HEADER]


async def test_every_tick_is_published_with_its_position() -> None:
    """Ticks come in their order, each with the source and its place there; all are counted."""
    source, bus, metrics = ListSource(10, 4), MemoryBus(partitions=1), Metrics()
    sizes: list[int] = []
    await Producer(source, bus, TOPIC, metrics).run(sizes.append)
    records = await published(bus, 1)
    assert [decode_tick(record) for record in records] == [row.tick for row in source.rows]
    assert [position(record) for record in records] == [b"list@1:%d" % n for n in range(10)]
    assert [len(record.headers) for record in records] == [1] * 10
    assert sizes == [0, 4, 4, 2]
    assert metrics.registry.get_sample_value("volsvc_ticks_published_total") == 10


@given(
    st.integers(1, 30),
    st.integers(1, 7),
    st.integers(0, 3),
    st.integers(0, 7),
    st.sampled_from([0, 5]),
)
def test_each_tick_arrives_once(
    count: int, batch: int, failures: int, arrives: int, first: int
) -> None:
    """Of a publication that failed, only what has not arrived is sent again."""
    source, bus = ListSource(count, batch, first=first), UnsteadyBus(failures, arrives)
    metrics = Metrics()
    with pytest.MonkeyPatch.context() as patch:
        ceilings(patch)
        asyncio.run(produce(source, bus, metrics))
    records = asyncio.run(published(bus))
    assert sorted(int(position(r).rpartition(b":")[2]) for r in records) == [
        row.position for row in source.rows
    ]
    restarts = metrics.registry.get_sample_value("volsvc_part_restarts_total", {"part": "producer"})
    assert restarts == failures - bus.failures


async def test_the_waits_for_a_bus_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts are a tenth of a second apart at first, and five seconds at last."""
    waits = ceilings(monkeypatch)
    await produce(ListSource(2, 2), UnsteadyBus(8))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize("before", [0, 1, 2, 7])
async def test_a_new_producer_sends_the_rest(before: int) -> None:
    """Rows that are in the log are skipped, by the newest position of each partition."""
    source, bus = ListSource(20, 3), MemoryBus(partitions=2)
    whole = source.rows
    source.rows = whole[:before]
    await produce(source, bus)
    source.rows = whole
    await produce(source, bus)
    records = await published(bus)
    assert sorted(decode_tick(record).time_ns for record in records) == [
        row.tick.time_ns for row in whole
    ]


async def test_another_source_starts_at_its_beginning() -> None:
    """Positions of a source say nothing of another one."""
    bus = MemoryBus(partitions=2)
    await produce(ListSource(6, 6), bus)
    await produce(ListSource(6, 6, "list@2"), bus)
    assert len(await published(bus)) == 12


async def test_records_name_the_span_of_their_batch() -> None:
    """Each batch has a span, which its records carry to their reader behind their position."""
    tracer, bus = RecordingTracer(), MemoryBus(partitions=1)
    await Producer(ListSource(3, 2), bus, TOPIC, Metrics(), tracer).run()
    assert tracer.spans == [("publish ticks.raw", "producer", None)] * 2
    assert [record.headers for record in await published(bus, 1)] == [
        ((POSITION_HEADER, b"list@1:%d" % n), ("traceparent", b"publish ticks.raw"))
        for n in range(3)
    ]


async def test_the_log_says_where_a_source_was_resumed_and_how_it_ended() -> None:
    """An operator sees that a replay is over, and how much of it was new."""
    source, bus = ListSource(10, 4), MemoryBus(partitions=2)
    for before, new in ((None, 10), (9, 0)):
        with capture_logs() as logs:
            await produce(source, bus)
        level = {"log_level": "info", "source": "list@1"}
        hint = {} if new else {"hint": "was read before; begin anew with --fresh"}
        ended = {"event": "source_ended", "published": new, **hint, **level}
        resumed = {"event": "source_resumes", "after": before, **level}
        assert logs == [*([resumed] if before else []), ended]


class SlowToExist(MemoryBus):
    """A bus whose topic does not exist before `ready` has been awaited, and is the only one."""

    exists = False

    async def ready(self) -> None:
        """Create the topics."""
        self.exists = True

    async def tail(self, topic: str) -> Sequence[Record]:
        """Return the newest records of a topic that exists."""
        assert self.exists
        return await super().tail(topic)

    def partition_for(self, topic: str, key: bytes) -> int:
        """Return the partition of a key in the topic that exists."""
        assert topic == TOPIC
        return super().partition_for(topic, key)


async def test_the_topics_exist_before_the_log_is_read() -> None:
    """A producer waits for the topics first."""
    bus = SlowToExist()
    await produce(ListSource(1, 1), bus)
    assert bus.exists
