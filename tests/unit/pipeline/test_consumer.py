"""The consumer: when it commits, what it publishes before that, and what it does on a rebalance."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import START_NS, ScriptedBus, record, records, tick
from tests.unit.pipeline.unsteady import RecordingTracer
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.domain import BusUnavailableError
from volsvc.features import SymbolTable
from volsvc.features.forecast_history import ForecastHistory
from volsvc.models import packaged
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import OFF, Tracer
from volsvc.transport import OutRecord, Position, Record
from volsvc.transport.features_record import STATE_HEADER, RecordHeader, read_header

# So long that only an empty batch, a revocation or many records are a reason to commit.
SELDOM = 1e9


class Consuming:
    """A consumer with its table, its metrics and its bus."""

    def __init__(
        self, bus: ScriptedBus, interval_s: float = SELDOM, tracer: Tracer = OFF, **settings: Any
    ) -> None:
        self.bus = bus
        self.metrics = Metrics()
        self.topics = KafkaSettings(commit_interval_s=interval_s)
        self.table = SymbolTable(FeatureSettings(**settings))
        self.latest_store = LatestStore()
        holder = ModelHolder(DesiredModel("baseline", packaged().model))
        forecaster = Forecaster(self.table, holder, self.latest_store, self.metrics, "writer#1")
        self.consumer = Consumer(bus, self.topics, self.table, forecaster, self.metrics, tracer)

    async def run(self) -> None:
        """Consume to the end of the script."""
        # The first run may have to wait for the compiler.
        async with asyncio.timeout(300):
            await self.consumer.run()

    @property
    def history(self) -> ForecastHistory:
        """The forecasts of the symbol A: another object once its state was restored."""
        return self.table.get("A").forecast_history

    async def states(self) -> list[tuple[str, int, int]]:
        """Return symbol, partition and offset of the published states, in their order."""
        headers = map(read_header, await self.bus.log(self.topics.features_topic))
        found = [header for header in headers if header is not None]
        assert {header.writer for header in found} <= {"writer#1"}
        return [(header.symbol, header.partition, header.offset) for header in found]

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a series."""
        return self.metrics.registry.get_sample_value(f"volsvc_{name}", labels)


def seconds(first: int, last: int, symbol: str = "A", partition: int = 0) -> Sequence[Record]:
    """Return one tick a second, each at the offset of its second."""
    return records([tick(n, symbol) for n in range(first, last)], partition, first)


async def test_the_ticks_are_those_of_the_group() -> None:
    """The consumer joins the configured group on the configured topic."""
    bus = ScriptedBus([])
    await Consuming(bus).run()
    assert bus.subscribed == [("ticks.raw", "volsvc")]


async def test_an_empty_batch_is_a_time_to_commit() -> None:
    """Then everything processed so far is committed, by partition."""
    bus = ScriptedBus([seconds(0, 3), seconds(0, 2, "B", 1), [], seconds(3, 5), [], []])
    await Consuming(bus).run()
    assert bus.commits == [{0: 3, 1: 2}, {0: 5}]


async def test_a_short_interval_is_a_reason_to_commit() -> None:
    """With an interval that is over at once, each batch is committed."""
    bus = ScriptedBus([seconds(0, 3), seconds(3, 5)])
    await Consuming(bus, 1e-9).run()
    assert bus.commits == [{0: 3}, {0: 5}]


async def test_many_records_are_a_reason_to_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are counted over batches since the last commit."""
    monkeypatch.setattr("volsvc.pipeline.consumer.COMMIT_RECORDS", 4)
    batches = [seconds(0, 3), seconds(3, 4), seconds(4, 7), seconds(7, 9), seconds(9, 10)]
    bus = ScriptedBus(batches)
    await Consuming(bus).run()
    assert bus.commits == [{0: 4}, {0: 9}]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the consumer's clock, which stands still at `now`."""
    clock = SimpleNamespace(now=0.0)
    frozen = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr("volsvc.pipeline.consumer.time", frozen)
    return clock


async def test_the_interval_is_counted_from_the_last_commit(clock: SimpleNamespace) -> None:
    """A commit is due when the interval has passed since the one before, and not sooner."""
    commits: list[int] = []

    def script() -> Iterator[Sequence[Record]]:
        for second, clock.now in enumerate((10.0, 10.1, 19.9, 20.0, 29.9, 30.1)):
            yield seconds(second, second + 1)
            commits.append(len(bus.commits))

    bus = ScriptedBus(script())
    await Consuming(bus, 10.0).run()
    assert commits == [1, 1, 1, 2, 2, 3]


async def test_the_state_behind_a_commit_is_published_first() -> None:
    """A flush publishes each symbol that changed since the last one, and no other."""
    bus = ScriptedBus([seconds(0, 3), seconds(1, 2, "B", 1), [], seconds(3, 5), []])
    consuming = Consuming(bus, publish_every_s=60)
    await consuming.run()
    first = [("A", 0, 0), ("A", 0, 2), ("A", 0, 4)]
    # The only state of B is that of the grid, so it is in the log already.
    assert await consuming.states() == [*first, ("B", 1, 1)]
    (*_, newest), _ = [
        [one for one in await bus.log("ticks.features") if one.partition == partition]
        for partition in (0, 1)
    ]
    table = consuming.table
    assert dict(newest.headers)[STATE_HEADER] == table.stored(table.row("A"))


async def turns(symbols: int) -> int:
    """Return how often others have their turn while the states of new symbols are flushed."""
    # Of two ticks the second is not on the grid.
    ticks = [tick(second, f"S{number}") for second in (1, 2) for number in range(symbols)]
    consuming = Consuming(ScriptedBus([records(ticks)]), publish_every_s=60)
    await consuming.run()
    count, flushed = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal count
        while not flushed.is_set():
            count += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    assert await consuming.consumer.flush()
    flushed.set()
    await watching
    assert len(await consuming.states()) == 2 * symbols
    return count


async def test_others_have_their_turn_during_a_flush() -> None:
    """Between eight states and the next eight another task may run."""
    least = await turns(1)
    assert [await turns(symbols) - least for symbols in (8, 9, 16, 17)] == [0, 1, 1, 2]


async def test_rejected_symbols_have_no_state_to_publish() -> None:
    """A symbol of which no tick was accepted is committed, but not published."""
    batch = [record(0, tick(100), timestamp_ms=START_NS // 1_000_000), record(1, tick(0, "B"))]
    bus = ScriptedBus([batch, []])
    consuming = Consuming(bus, future_tolerance_s=1)
    await consuming.run()
    assert {symbol for symbol, _, _ in await consuming.states()} == {"B"}
    assert bus.commits == [{0: 2}]


async def test_readers_have_the_newest_tick_before_the_commit() -> None:
    """The latest store is up to date after each batch, whatever is published."""
    bus = ScriptedBus([seconds(0, 3)])
    consuming = Consuming(bus, publish_every_s=60)
    await consuming.run()
    assert consuming.latest_store.offset("A") == 2
    assert await consuming.states() == [("A", 0, 0)]
    assert bus.commits == []


async def test_dead_letters_of_a_whole_batch_are_published() -> None:
    """Each slice of a batch adds its own."""
    batch = [record(offset, b"{") for offset in range(300)]
    bus = ScriptedBus([batch, []])
    consuming = Consuming(bus)
    await consuming.run()
    assert len(await bus.log(consuming.topics.dead_letter_topic)) == 300
    assert bus.commits == [{0: 300}]


async def test_gaps_are_told_to_the_streams() -> None:
    """A gap reaches whoever is notified by the latest store."""
    events: list[tuple[str, str]] = []
    consuming = Consuming(ScriptedBus([[*seconds(0, 1), *seconds(100, 101)]]))
    consuming.latest_store.notify = lambda kind, symbol, news: events.append((kind, symbol))
    await consuming.run()
    assert ("gap", "A") in events


class AwayBus(ScriptedBus):
    """A bus of which the first publication fails."""

    away = True

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, unless it is the first time."""
        if self.away:
            self.away = False
            raise BusUnavailableError("is away")
        await super().publish(topic, records)


async def test_a_bus_that_was_away_is_counted() -> None:
    """A publication that failed is made later, before the commit."""
    bus = AwayBus([seconds(0, 3), []])
    consuming = Consuming(bus, publish_every_s=60)
    await consuming.run()
    assert consuming.metric("part_restarts_total", part="consumer") == 1
    assert await consuming.states() == [("A", 0, 0), ("A", 0, 2)]
    assert bus.commits == [{0: 3}]


async def test_the_first_commit_waits_for_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval begins with the run, however long the machine is up."""
    clock = SimpleNamespace(monotonic=lambda: 1e12)
    monkeypatch.setattr("volsvc.pipeline.consumer.time", clock)
    bus = ScriptedBus([seconds(0, 3), seconds(3, 5)])
    await Consuming(bus).run()
    assert bus.commits == []


async def test_a_new_run_trusts_nothing_in_memory() -> None:
    """Work that a run had not committed is neither published nor committed by the next."""
    bus = ScriptedBus([seconds(0, 3)])
    consuming = Consuming(bus)
    await consuming.run()
    published = len(await consuming.states())
    bus.script = [[]]
    await consuming.run()
    # Of the state in the log, which is that of the grid.
    assert consuming.table.get("A").offset == 2
    assert (len(await consuming.states()), bus.commits) == (published, [])


async def test_batches_are_spans_of_the_trace_of_their_first_record() -> None:
    """The span of a batch continues the trace that its first record names, if it names one."""
    tracer = RecordingTracer()
    traced = [one._replace(headers=(("traceparent", b"first"),)) for one in seconds(0, 1)]
    bus = ScriptedBus([[*traced, *seconds(1, 2)], seconds(2, 3), []])
    await Consuming(bus, tracer=tracer).run()
    spans = [("process ticks.raw", "consumer", parent) for parent in ("first", None, None)]
    assert tracer.spans == spans


AT_3 = {0: Position(3, 3, fresh=False)}


@pytest.mark.parametrize(
    ("positions", "owned", "kept"),
    [
        (AT_3, True, True),
        (AT_3, False, False),
        ({0: Position(4, 4, fresh=False)}, True, False),
    ],
)
async def test_a_revocation_commits_and_keeps_what_is_ours(
    positions: dict[int, Position], owned: bool, kept: bool
) -> None:
    """States stay for the next assignment if they were committed, and nobody has gone on."""
    bus = ScriptedBus([seconds(0, 3)], owned=owned)
    consuming = Consuming(bus, publish_every_s=60)
    await consuming.run()
    before = consuming.history
    await consuming.consumer.revoked([0])
    assert bus.commits == [{0: 3}]
    assert (await consuming.states())[-1] == ("A", 0, 2)
    await consuming.consumer.assigned(positions)
    assert (consuming.history is before) is kept


async def test_states_beyond_the_last_commit_are_not_kept() -> None:
    """If the last commit of a partition is refused, its states are those of another owner."""
    bus = ScriptedBus([seconds(3, 5)], AT_3, owned=False)
    consuming = Consuming(bus)
    await consuming.run()
    before = consuming.history
    await consuming.consumer.revoked([0])
    await consuming.consumer.assigned(AT_3)
    assert consuming.history is not before


async def test_between_two_assignments_nothing_is_committed() -> None:
    """A flush without partitions does nothing, and a second revocation keeps nothing."""
    bus = ScriptedBus([seconds(0, 3)])
    consuming = Consuming(bus)
    await consuming.run()
    await consuming.consumer.revoked([0, 1])
    assert await consuming.consumer.flush()
    await consuming.consumer.revoked([0, 1])
    assert bus.commits == [{0: 3}]


async def test_a_refused_commit_is_not_made_again() -> None:
    """Records of a partition that is no longer ours are left to its owner."""
    bus = ScriptedBus([seconds(0, 3), []], owned=False)
    consuming = Consuming(bus)
    await consuming.run()
    assert await consuming.consumer.flush()
    assert bus.commits == [{0: 3}]


@pytest.mark.parametrize(("fresh", "kept"), [(False, True), (True, False)])
async def test_an_idle_partition_is_kept_from_its_commit(fresh: bool, kept: bool) -> None:
    """States of a partition without new ticks are kept if something was committed there."""
    consuming = Consuming(ScriptedBus([seconds(0, 3), []]))
    await consuming.run()
    await consuming.consumer.revoked([0])
    at = {0: Position(5, 5, fresh=fresh)}
    for keeps in (False, kept):
        before = consuming.history
        await consuming.consumer.assigned(at)
        assert (consuming.history is before) is keeps
        await consuming.consumer.revoked([0])


async def test_lost_records_are_counted_and_are_a_gap() -> None:
    """The loss is told and counted at once; each symbol there has a gap from its next tick on."""
    bus = ScriptedBus([seconds(0, 3), seconds(0, 1, "B", 1)])
    consuming = Consuming(bus)
    await consuming.run()
    with capture_logs() as logs:
        consuming.consumer.records_lost(0, 7)
        consuming.consumer.records_lost(1, 2)
    assert consuming.metric("kafka_lost_records_total") == 9
    level = {"log_level": "error", "event": "ticks_lost", "reason": "retention"}
    places = [{"partition": 0, "records": 7}, {"partition": 1, "records": 2}]
    assert logs == [{**level, **place} for place in places]
    await consuming.consumer.flush()
    bus.script = [[]]
    await consuming.run()
    gaps = {state.symbol: state.quality().gaps for state in consuming.table}
    assert gaps == {"A": 1, "B": 1}


async def test_an_older_state_over_ours_is_written_over_at_once(clock: SimpleNamespace) -> None:
    """The next batch publishes our state again, though no commit is due and nothing new came."""

    def script() -> Iterator[Sequence[Record]]:
        clock.now = 10.5
        yield seconds(0, 3)
        assert bus.commits == [{0: 3}]
        consuming.consumer.check_remote_write(RecordHeader("A", 0, 99, 2, "other#1"))
        yield seconds(0, 1)
        assert consuming.metric("state_rewrites_total") == 0
        assert len(bus.commits) == 1
        consuming.consumer.check_remote_write(RecordHeader("A", 0, 99, 1, "other#1"))
        assert consuming.metric("state_rewrites_total") == 1
        yield seconds(0, 1)
        assert len(bus.commits) == 2

    bus = ScriptedBus(script())
    consuming = Consuming(bus, 10.0, publish_every_s=60)
    await consuming.run()
    assert await consuming.states() == [("A", 0, 0), ("A", 0, 2), ("A", 0, 2)]


async def test_states_that_were_written_over_are_published_after_a_restore() -> None:
    """An owner that finds an older state over a newer one in the log publishes the newer one."""
    bus = ScriptedBus([seconds(0, 3), []])
    consuming = Consuming(bus, publish_every_s=60)
    await consuming.run()
    features = consuming.topics.features_topic
    oldest = (await bus.log(features))[0]
    assert oldest.key is not None
    await bus.publish(features, [OutRecord(oldest.key, oldest.value, oldest.headers, 0)])
    bus.script = [[]]
    await consuming.run()
    assert consuming.metric("state_rewrites_total") == 1
    assert await consuming.states() == [("A", 0, offset) for offset in (0, 2, 0, 2)]


async def test_without_a_subscription_there_is_nothing_to_commit() -> None:
    """A flush before the first run does nothing."""
    bus = ScriptedBus([])
    assert await Consuming(bus).consumer.flush()
    assert bus.commits == []
