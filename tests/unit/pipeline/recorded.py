"""A consumer over an in-process bus that records what it is asked to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS
from volsvc.features import SymbolTable
from volsvc.features.stored_state import unpack
from volsvc.models import packaged
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.sources.generator import Generator, GeneratorSpec, MarketSpec
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record, Subscription
from volsvc.transport.bus import Offsets, RebalanceListener
from volsvc.transport.codec import encode_tick
from volsvc.transport.features_record import STATE_HEADER
from volsvc.transport.memory import MemoryBus

# So short that every batch is flushed and committed.
TOPICS = KafkaSettings(commit_interval_s=1e-9)
# Ten seconds of event time between published states: each has some 20 kB, which a run decodes.
FEATURES = FeatureSettings(publish_every_s=10)
# With a tolerance within which some ticks of each symbol wait.
TOLERANT = FeatureSettings(publish_every_s=10, late_tolerance_s=12)
# Of two partitions the second and the third share one.
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
PARTITIONS = 2
START_NS, FUTURE_NS = 1_767_571_200 * NS, 4_000_000_000 * NS
# Some seven minutes: forecasts for one minute and for five mature.
TICKS, TICKS_PER_S = 240, 0.2
FUTURE_TICKS = 6
# Often enough that some are the last of their symbol in a batch, and so held over a commit.
BAD_PRINTS, BAD_EVERY = 20, 12
COMMIT = "commit"


@cache
def tick_records() -> Sequence[OutRecord]:
    """Return ticks, among them repeated, late, future and badly priced ones, and a broken one."""
    market = MarketSpec(100.0, ticks_per_s=TICKS_PER_S)
    spec = GeneratorSpec(SYMBOLS, seed=5, start_ns=START_NS)
    ticks = [each.tick for each in islice(Generator(spec, lambda _: market).ticks(), TICKS)]
    late, future = (
        msgspec.structs.replace(ticks[0], time_ns=time_ns, trade_id=trade_id)
        for time_ns, trade_id in ((START_NS, 1_000_001), (FUTURE_NS, 1_000_002))
    )
    for place in range(TICKS, 0, -BAD_EVERY):
        near = ticks[place - 1]
        none: dict[str, Any] = dict.fromkeys(("best_bid", "best_ask", "trade_id", "sequence"))
        bad = msgspec.structs.replace(near, price=near.price * 2, **none)
        ticks.insert(place, bad)
    sent = [ticks[0], *ticks, late]
    for place in range(0, TICKS, TICKS // FUTURE_TICKS):
        sent.insert(place, future)
    return [*map(encode_tick, sent), OutRecord(SYMBOLS[0].encode(), b"{")]


class RecordingBus(MemoryBus):
    """An in-process bus that records publications, by topic, and commits, in their order."""

    def __init__(self) -> None:
        super().__init__(partitions=PARTITIONS)
        self.steps: list[tuple[str, Sequence[OutRecord]]] = []

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, then record the step."""
        await super().publish(topic, records)
        self.steps.append((topic, records))

    def subscribe(  # type: ignore[override]
        self, topic: str, group: str, listener: RebalanceListener
    ) -> Subscription:
        """Join `group`; commits of the subscription are recorded."""
        return _RecordingSubscription(super().subscribe(topic, group, listener), self)

    def published(self, topic: str) -> list[OutRecord]:
        """Return every record published to a topic."""
        return [record for name, records in self.steps if name == topic for record in records]


class _RecordingSubscription:
    def __init__(self, subscription: Subscription, bus: RecordingBus) -> None:
        self._subscription = subscription
        self._bus = bus

    def batches(self) -> AsyncIterator[Sequence[Record]]:
        return self._subscription.batches()

    async def commit(self, offsets: Offsets) -> bool:
        committed = await self._subscription.commit(offsets)
        self._bus.steps.append((COMMIT, ()))
        return committed


async def filled_bus() -> RecordingBus:
    """Return a bus that holds the ticks and takes no more, so that a consumer ends after them."""
    bus = RecordingBus()
    await bus.publish(TOPICS.topic, tick_records())
    await bus.close()
    return bus


async def consume(bus: RecordingBus, features: FeatureSettings = FEATURES) -> SymbolTable:
    """Run a new consumer to the end of the ticks, and return its table, which was empty."""
    table, metrics = SymbolTable(features), Metrics()
    holder = ModelHolder(DesiredModel("ml", packaged().model))
    forecaster = Forecaster(table, holder, LatestStore(), metrics, bus.identity)
    await Consumer(bus, TOPICS, table, forecaster, metrics).run()
    return table


def content_of(stored: bytes) -> tuple[bytes, ...]:
    """Return a stored state without its places in a table and its ticks' times of publication."""
    unpacked = unpack(stored, FEATURES.window_size)
    window, outside = unpacked.state.ticks.window, unpacked.outside.copy()
    window.at = window.history = 0
    outside["symbol"] = outside["published_ns"] = 0
    return tuple(part.tobytes() for part in unpacked._replace(outside=outside))


class Results(NamedTuple):
    """The results of a run: states in memory and in the log, and records without repetitions."""

    states: dict[str, tuple[bytes, ...]]
    published: dict[bytes, tuple[bytes, ...]]
    outcomes: set[OutRecord]
    dead_letters: set[OutRecord]


def results(bus: RecordingBus, table: SymbolTable) -> Results:
    """Return the results of a run that ended with this table."""
    rows = {table.symbol(row): row for row in table.rows.tolist()}
    return Results(
        {symbol: content_of(table.stored(row)) for symbol, row in rows.items()},
        {
            record.key: content_of(dict(record.headers)[STATE_HEADER])
            for record in bus.published(TOPICS.features_topic)
        },
        set(bus.published(TOPICS.outcomes_topic)),
        set(bus.published(TOPICS.dead_letter_topic)),
    )
