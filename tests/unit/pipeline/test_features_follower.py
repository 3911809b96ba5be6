"""Tests of the latest store and of the features follower that updates it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.daemon import eventually
from tests.unit.pipeline.logged import ScriptedBus
from tests.variations import FORECAST
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import PointForecast, Snapshot
from volsvc.pipeline.features_follower import FeaturesFollower
from volsvc.pipeline.latest_store import LatestStore
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import PublishedState, encode_features
from volsvc.transport.features_record import RecordHeader, of_log
from volsvc.transport.memory import MemoryBus

TOPICS = KafkaSettings()
TOPIC = TOPICS.features_topic
# 1,800,000,000 seconds since the epoch.
PROCESSED = "2027-01-15T08:00:00.000Z"


def forecast(price: float, symbol: str = "BTC-USD") -> PointForecast:
    return FORECAST._replace(row=FORECAST.row._replace(symbol=symbol, price=price))


def snapshot(price: float, symbol: str = "BTC-USD") -> Snapshot:
    return forecast(price, symbol).snapshot()


def record(price: float, offset: int, writer: str, symbol: str = "BTC-USD") -> OutRecord:
    state = PublishedState(0, offset, None, b"content")
    return encode_features(forecast(price, symbol), state, PROCESSED, writer)


@given(st.lists(st.integers(0, 20), min_size=1))
def test_the_latest_store_never_goes_back(offsets: list[int]) -> None:
    """Entries in any order leave the one of the highest offset so far."""
    latest_store = LatestStore()
    for count, offset in enumerate(offsets, 1):
        latest_store.put(snapshot(float(offset + 1)), 0.0, offset)
        newest = max(offsets[:count])
        assert latest_store.get("BTC-USD").snapshot.row.price == newest + 1
        assert latest_store.offset("BTC-USD") == newest


async def test_the_follower_stores_records_of_others() -> None:
    """Newer records of others are stored with their time; older, own and broken ones are not."""
    bus, latest_store = MemoryBus(), LatestStore()
    headers: list[RecordHeader] = []
    follower = FeaturesFollower(bus, TOPICS, latest_store, headers.append)
    task = asyncio.create_task(follower.run())
    broken = record(1.0, 9, "other#1", "BROKEN")._replace(value=b"{}")
    await bus.publish(
        TOPIC,
        [
            record(100.0, 5, "other#1"),
            record(101.0, 7, "other#1"),
            record(50.0, 3, "stale#1"),
            record(60.0, 99, bus.identity),
            broken,
            OutRecord(b"BTC-USD", None),
            OutRecord(b"BTC-USD", b"somebody else's"),
        ],
    )

    async def applied() -> bool:
        return len(latest_store) > 0 and follower.caught_up.is_set()

    await eventually(applied, 10, "the records are applied")
    entry = latest_store.get("BTC-USD")
    assert (entry.snapshot.row.price, entry.offset) == (101.0, 7)
    assert entry.processed_s == 1_800_000_000
    assert entry.snapshot == snapshot(101.0)
    assert len(latest_store) == 1
    assert [header.offset for header in headers] == [5, 7, 3, 9]
    await bus.close()
    async with asyncio.timeout(60):
        await task


async def follow(
    latest_store: LatestStore | None, records: Sequence[OutRecord]
) -> tuple[FeaturesFollower, list[RecordHeader]]:
    """Return a follower that has read these records and the end of the topic."""
    bus, headers = MemoryBus(partitions=1), list[RecordHeader]()
    await bus.publish(TOPIC, records)
    follower = FeaturesFollower(bus, TOPICS, latest_store, headers.append)
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(5):
        await follower.caught_up.wait()
        await bus.close()
        await task
    return follower, headers


async def test_a_follower_has_caught_up_after_the_first_quiet_time() -> None:
    """Batches of records alone do not mean that the end was reached."""
    caught_up: list[bool] = []

    def script() -> Iterator[Sequence[Record]]:
        for batch in (["A"], ["B"], [], ["A"]):
            yield [received(record(1.0, 3, "other#1", symbol)) for symbol in batch]
            caught_up.append(follower.caught_up.is_set())

    follower = FeaturesFollower(ScriptedBus(script()), TOPICS, LatestStore())
    await follower.run()
    assert caught_up == [False, False, True, True]


def received(sent: OutRecord) -> Record:
    """Return a record as the bus delivers it."""
    return Record(TOPIC, 1, 40, sent.key, sent.value, sent.headers)


async def test_a_record_that_cannot_be_read_is_named() -> None:
    """The log has the place of the record, at which an operator finds it."""
    broken = record(1.0, 3, "other#1")._replace(value=b"{}")
    bus = ScriptedBus([[received(broken)]])
    with capture_logs() as logs:
        await FeaturesFollower(bus, TOPICS, LatestStore()).run()
    (entry,) = logs
    assert "is not a features record" in entry.pop("error")
    place = {"topic": TOPIC, "partition": 1, "offset": 40}
    assert entry == {"event": "features_not_read", "log_level": "warning", **place}


async def test_an_old_record_is_not_even_decoded() -> None:
    """Nothing is said of a broken record that would change nothing."""
    latest_store = LatestStore()
    latest_store.put(snapshot(1.0), 0.0, 4)
    broken = record(1.0, 3, "other#1")._replace(value=b"{}")
    with capture_logs() as logs:
        await FeaturesFollower(ScriptedBus([[received(broken)]]), TOPICS, latest_store).run()
    assert logs == []


@pytest.fixture
def soon_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bus say at once that nothing more has come."""
    monkeypatch.setattr("volsvc.transport.memory.QUIET_S", 0.001)


@pytest.mark.usefixtures("soon_quiet")
async def test_a_follower_may_have_no_store() -> None:
    """Without a store it reports the records of others all the same."""
    _, headers = await follow(None, [record(1.0, 3, "other#1"), record(1.0, 4, "other#1", "B")])
    assert headers == [
        RecordHeader("BTC-USD", 0, 0, 3, "other#1"),
        RecordHeader("B", 0, 1, 4, "other#1"),
    ]


@pytest.mark.usefixtures("soon_quiet")
async def test_nobody_need_hear_of_the_records_of_others() -> None:
    """The store is updated although nobody is told."""
    bus, latest_store = MemoryBus(partitions=1), LatestStore()
    await bus.publish(TOPIC, [record(5.0, 3, "other#1")])
    follower = FeaturesFollower(bus, TOPICS, latest_store)
    task = asyncio.create_task(follower.run())
    assert not follower.caught_up.is_set()
    async with asyncio.timeout(5):
        await follower.caught_up.wait()
        await bus.close()
        await task
    assert latest_store.offset("BTC-USD") == 3


@pytest.mark.usefixtures("soon_quiet")
async def test_records_of_another_log_of_ticks_are_passed_over() -> None:
    """Neither the store nor the owner of a symbol hears of offsets in other ticks."""
    latest_store = LatestStore()
    others = [
        of_log(record(1.0, 99, "other#1", symbol), ticks)
        for symbol, ticks in (("A", "else.raw/1"), ("B", "ticks.raw/3"), ("C", "ticks.raw/1"))
    ]
    _, headers = await follow(latest_store, others)
    assert [header.symbol for header in headers] == ["C"]
    assert [entry.snapshot.row.symbol for entry in latest_store] == ["C"]


@pytest.mark.usefixtures("soon_quiet")
@pytest.mark.parametrize(("known", "price"), [(6, 2.0), (7, 3.0), (8, 1.0)])
async def test_what_is_known_already(known: int, price: float) -> None:
    """A record replaces an entry of its own offset, or of a lower one, with the latest such."""
    latest_store = LatestStore()
    latest_store.put(snapshot(1.0), 0.0, known)
    offsets = [(2.0, 7)] if known == 6 else [(2.0, 7), (3.0, 7), (4.0, 6)]
    await follow(latest_store, [record(price, offset, "other#1") for price, offset in offsets])
    assert latest_store.get("BTC-USD").snapshot.row.price == price


@pytest.mark.usefixtures("soon_quiet")
async def test_symbols_after_a_passed_over_record_are_stored() -> None:
    """Records of ours and of nobody do not hide those that follow in the batch."""
    latest_store = LatestStore()
    ours, broken = record(1.0, 3, "memory", "A"), record(1.0, 3, "other#1", "B")
    records = [ours, OutRecord(b"C", b""), broken._replace(value=b""), record(1.0, 3, "x", "D")]
    await follow(latest_store, records)
    assert [entry.snapshot.row.symbol for entry in latest_store] == ["D"]


@pytest.mark.usefixtures("soon_quiet")
async def test_others_have_their_turn_while_a_backlog_is_read() -> None:
    """Between 32 symbols and the next 32 another task may run."""
    latest_store, stored = LatestStore(), list[int]()
    reading = asyncio.create_task(
        follow(latest_store, [record(1.0, 3, "x", f"S{number}") for number in range(65)])
    )
    while len(latest_store) < 65:
        stored.append(len(latest_store))
        await asyncio.sleep(0)
    await reading
    assert [count for count in stored if count] == [32, 64]
