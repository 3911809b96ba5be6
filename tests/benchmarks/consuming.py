"""The engine as benchmarks drive it: states alone, and a consumer on the in-process bus."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.market import DIFFERENT, START_NS, symbol_of, warm_records
from tests.daemon import eventually
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.daemon.gc_tuning import THRESHOLDS
from volsvc.domain import format_time
from volsvc.features import SymbolTable
from volsvc.models import HORIZONS_S, SymbolForecasts, packaged
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.tick_applier import TickApplier
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.store import Store
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import PublishedState, encode_features
from volsvc.transport.memory import MemoryBus

CHUNK = 512
APPLIED_S = 60.0
TOPIC = KafkaSettings().topic
METRICS = Metrics()


@contextmanager
def daemon_gc() -> Iterator[None]:
    """Set the garbage collector as the daemon does (`volsvc.daemon.gc_tuning`)."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


# --- states alone -------------------------------------------------------------------------


def table_of(symbols: int, **settings: int) -> SymbolTable:
    """Return an empty table with room for `symbols`."""
    return SymbolTable(FeatureSettings(max_symbols=max(10_000, symbols), **settings))


def record_bytes() -> int:
    """Return the size of a symbol's record, without the rings beside it."""
    return int(table_of(0).records.itemsize)


def absorb(table: SymbolTable, records: Iterable[OutRecord]) -> None:
    """Decode records, check the ticks and apply them to their states, and do nothing else."""
    applier = TickApplier(table, LatestStore(), METRICS)
    # As long as a poll of the consumer.
    given = (
        Record(TOPIC, 0, offset, record.key, record.value) for offset, record in enumerate(records)
    )
    while poll := list(islice(given, CHUNK)):
        for _ in applier.slices(poll):
            pass


@lru_cache(1)
def warm_states() -> Sequence[bytes]:
    """Return states that know every feature and have learnt from their forecasts.

    There is no event loop yet where this is called: it runs a consumer.
    """
    table = table_of(DIFFERENT)
    through(warm_records(), table)
    return [table.stored(row) for row in table.rows]


def warm(table: SymbolTable, symbols: int, states: Sequence[bytes]) -> None:
    """Copy warm states to symbols; those that get the same have the same prices."""
    for number in range(symbols):
        state = table.restore(symbol_of(number), states[number % len(states)], START_NS)
        # As if nothing of the log that follows had been read.
        state.record.ticks.partition, state.record.ticks.offset = 0, -1
    known(table)


def warm_table(symbols: int) -> SymbolTable:
    """Return the states of warm symbols."""
    table = table_of(symbols)
    warm(table, symbols, warm_states())
    return table


def known(table: SymbolTable) -> None:
    """Check that every symbol was watched for a minute, and that all of its features are known."""
    points = table.newest(table.rows)
    assert len(points), "there are symbols"
    assert not points["quality"]["cold"].any(), "the forecasts of a cold symbol are another work"
    assert not np.isnan(points["features"]).any(), "a forecast without its features costs less"


def accepted(table: SymbolTable) -> NDArray[np.int64]:
    """Return the number of ticks that each state has accepted."""
    return cast("NDArray[np.int64]", table.records["ticks"]["check"]["accepted"][table.rows])


# --- forecasts ----------------------------------------------------------------------------


def forecasting(table: SymbolTable) -> Callable[[], object]:
    """Return the work of forecasting every symbol at all horizons, with interval and score.

    It ends in the latest store, which keeps the numbers until somebody reads them.
    """
    forecaster = forecaster_of(table, LatestStore(watched=lambda: False), METRICS, "bench")
    symbols = [table.symbol(row) for row in table.rows]
    return partial(forecaster.refresh, symbols)


def forecaster_of(
    table: SymbolTable,
    latest: LatestStore,
    metrics: Metrics,
    writer: str,
    *,
    shadow: bool = True,
    store: Store | None = None,
) -> Forecaster:
    """Return a forecaster with the packaged model; a `store` keeps its minutes."""
    holder = ModelHolder(DesiredModel("ml", packaged().model), shadow=shadow)
    keep = None if store is None else lambda minutes, outputs: store.keep_minutes(minutes)
    return Forecaster(table, holder, latest, metrics, writer, keep_minutes=keep)


def publishing(table: SymbolTable) -> Callable[[], object]:
    """Return the work of encoding the record of every symbol once, with state and forecasts."""
    forecasts = SymbolForecasts(table, packaged().model, table.newest(table.rows), HORIZONS_S)
    forecasts.settle_all()
    points = [forecasts.point_forecast(index, HORIZONS_S[0]) for index in range(len(table))]

    def work() -> None:
        for row, forecast in zip(table.rows.tolist(), points, strict=True):
            closed = table.digest(row).closed
            digest = None if closed is None else closed.fields()
            state = PublishedState(0, 0, digest, table.stored(row))
            encode_features(forecast, state, format_time(time.time_ns()), "bench")

    return work


# --- on the in-process bus ----------------------------------------------------------------


class Consuming:
    """A consumer with the packaged model, running on a bus of its own until `finish`."""

    def __init__(
        self,
        table: SymbolTable,
        *,
        shadow: bool = True,
        queue: int = 10_000,
        store: Store | None = None,
    ) -> None:
        """Needs a running event loop; the bus keeps up to `queue` records, a `store` the states."""
        kept = KafkaSettings().features_topic
        self.bus = MemoryBus(queue_max_records=queue, kept_topic=kept, keeper=store)
        self._table = table
        self._store = store
        self._storing = None if store is None else asyncio.create_task(store.run())
        metrics = Metrics()
        # As without a reader of the stream, the usual case.
        latest = LatestStore(watched=lambda: False)
        writer = self.bus.identity
        forecaster = forecaster_of(table, latest, metrics, writer, shadow=shadow, store=store)
        consumer = Consumer(self.bus, KafkaSettings(), table, forecaster, metrics)
        self._running = asyncio.create_task(consumer.run())

    async def ready(self) -> None:
        """Wait until the consumer has begun, which drops the states that it has not restored."""
        await asyncio.sleep(0)

    async def publish(self, records: Iterable[OutRecord], chunk: int = CHUNK) -> None:
        """Publish records in chunks; the bus waits for the consumer."""
        rest = iter(records)
        while part := list(islice(rest, chunk)):
            await self.bus.publish(TOPIC, part)

    async def apply(self, records: Sequence[OutRecord]) -> None:
        """Publish records, and wait until the states have accepted all of them."""
        wanted = accepted(self._table).sum() + len(records)
        await self.publish(records)

        async def done() -> bool:
            return bool(accepted(self._table).sum() == wanted)

        await eventually(done, APPLIED_S, "the ticks")

    async def finish(self) -> None:
        """Consume and commit what was published, and end."""
        await self.bus.close()
        await self._running
        if self._store is not None and self._storing is not None:
            self._store.close()
            await self._storing


def through(
    records: Sequence[OutRecord],
    table: SymbolTable,
    *,
    warm_symbols: int = 0,
    shadow: bool = True,
    chunk: int = CHUNK,
    store: Store | None = None,
) -> float:
    """Return the seconds of publishing records in chunks and consuming them all.

    Loop, bus and consumer are new, and so are the states, of which `warm_symbols` are warm.
    """
    states = warm_states() if warm_symbols else ()

    async def run() -> float:
        consuming = Consuming(table, shadow=shadow, store=store)
        await consuming.ready()
        if warm_symbols:
            warm(table, warm_symbols, states)
        with daemon_gc():
            started = time.perf_counter()
            await consuming.publish(records, chunk)
            await consuming.finish()
            return time.perf_counter() - started

    seconds = asyncio.run(run())
    if warm_symbols:
        known(table)
    return seconds


def warm_through(records: Sequence[OutRecord], symbols: int, **options: Any) -> float:
    """Return the seconds of `through` with warm states."""
    return through(records, table_of(symbols), warm_symbols=symbols, **options)
