"""The store: what it takes of a consumer's time and of the disk, and how soon it answers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles

import numpy as np

from tests.benchmarks.consuming import warm_through
from tests.benchmarks.figures import Figure, Results, Row, at_least, at_most, rates
from tests.benchmarks.market import PER_S, SYMBOLS, symbol_of, tick_records
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, timed_turns
from tests.unit.store.kept import MINUTE, Reports, record
from volsvc.config.kafka import KafkaSettings
from volsvc.domain.minute_bars import BarSeries
from volsvc.features.bars import minute_bars
from volsvc.models import HORIZONS_S, SymbolForecasts, packaged
from volsvc.pipeline.minute_record import minutes_of
from volsvc.serving.model_choice import BASELINE
from volsvc.store import Feed, Minutes, Retention, Store
from volsvc.store.database import open_database
from volsvc.store.minute_table import MinuteTable
from volsvc.store.retention import size_of
from volsvc.training.batch import bar_points
from volsvc.transport import OutRecord

DAY = 1_440
TOPIC = KafkaSettings().features_topic
FEED = Feed("bench", 6)
FOREVER = Retention(10_000, 10**12)
LONGER = 15
# Symbols that have a past.
KEPT = 4
ANSWERS = 200
# Bytes of a state, and those of it that a second changes.
STATE, CHANGED = 27_000, 2_560


def measure(bench: Bench) -> Results:
    """Measure the store beside a consumer without one, its size, and answers of a day."""
    path = bench.folder / "months.db"
    return Results([*ticks(bench), *size(bench, path), *answers(bench, path)])


def opened(path: Path) -> Store:
    """Return the store at a path."""
    return Store(path, FEED, TOPIC, FOREVER, Reports())


def ticks(bench: Bench) -> list[Row]:
    """Measure ticks on the in-process bus, with and without a store."""
    rows = []
    for symbols in (SYMBOLS, bench.sizes.points):
        # Some seconds, so that what is written once, at the start, counts as what it is.
        each = max(2, LONGER * bench.sizes.ticks // symbols)
        records = tick_records(symbols, each, PER_S)
        works = partial(_kept, bench.folder, records, symbols), partial(_not_kept, records, symbols)
        kept, not_kept = timed_turns(bench.sizes.rounds, *works)
        what = f"tick in, features out, in process, with the store, {symbols:,} symbols"
        ours = rates("volsvc", "ticks/s", len(records), kept)
        reference = rates("without the store", "ticks/s", len(records), not_kept)
        rows.append(Row(what, ours, reference, at_least(0.9)))
    return rows


def _kept(folder: Path, records: Sequence[OutRecord], symbols: int) -> float:
    return warm_through(records, symbols, store=opened(folder / f"{time.time_ns()}.db"))


def _not_kept(records: Sequence[OutRecord], symbols: int) -> float:
    return warm_through(records, symbols)


def minutes(days: int) -> Minutes:
    """Return the minutes of a market with the forecasts that the models make of it."""
    rng, count = np.random.default_rng(7), days * DAY
    sigma = 5e-4 * np.exp(np.cumsum(rng.normal(0, 0.02, count)).clip(-2, 2))
    close = 70_000 * np.exp(np.cumsum(rng.normal(0, 1, count) * sigma))
    first = np.concatenate(([70_000.0], close[:-1]))
    span = np.abs(rng.normal(0, 0.5, (2, count))) * sigma * close
    high, low = np.maximum(first, close) + span[0], np.minimum(first, close) - span[1]
    prices = np.round((first, high, low, close), 2)
    bars = minute_bars(
        BarSeries(MINUTE + np.arange(count), np.vstack((prices, rng.gamma(2, size=count))).T)
    )
    bars["ticks"] = rng.poisson(200, count)
    parts = []
    for table, points in bar_points(symbol_of(0), bars, DAY * 60):
        points["row"]["ret_std"], points["row"]["n"] = 1e-5 * rng.lognormal(0, 0.3, len(points)), 49
        forecasts = SymbolForecasts(table, packaged().model, points, HORIZONS_S, BASELINE)
        forecasts.settle_without_outcomes()
        parts.append(minutes_of(table, forecasts))
    symbols = [symbol for part in parts for symbol in part.symbols]
    return Minutes(symbols, np.concatenate([part.rows for part in parts]), parts[0].models)


def size(bench: Bench, path: Path) -> list[Row]:
    """Measure the bytes that a month of a symbol takes; leaves the same month of KEPT symbols."""
    with contextlib.closing(open_database(path)) as connection:
        connection.execute("INSERT INTO feed VALUES (1, ?, 6, 0)", (FEED.name,))
        table = MinuteTable(connection, 1)
        found = minutes(bench.sizes.kept_days)
        for number in range(KEPT):
            table.write(found._replace(symbols=[symbol_of(number)] * len(found.rows)))
        while table.pack_some():
            pass
        month = size_of(connection) / KEPT / bench.sizes.kept_days * 30 / 1e6
    what = "a month of minutes of a symbol on disk"
    return [Row(what, Figure("volsvc", "MB", [month]), None, at_most(3, "figure"))]


def answers(bench: Bench, path: Path) -> list[Row]:
    """Measure in which time a day of a symbol is answered while all symbols tick."""
    symbols = bench.sizes.points
    states = [np.random.default_rng(number).bytes(STATE) for number in range(symbols)]

    async def tick(store: Store) -> None:
        for second in itertools.count():
            for number, state in enumerate(states):
                changed = state[:CHANGED] + second.to_bytes(8, "big") * (CHANGED // 8)
                store.keep(
                    TOPIC, [record(symbol_of(number), second, changed + state[2 * CHANGED :])]
                )
                if number % 50 == 0:
                    await asyncio.sleep(0)
            store.commit({})
            await asyncio.sleep(1)

    async def once() -> float:
        store = opened(path)
        tasks = [asyncio.create_task(work) for work in (store.run(), tick(store))]
        took = []
        first = MINUTE + (bench.sizes.kept_days - 1) * DAY
        for number in range(ANSWERS):
            started = time.perf_counter()
            found = await store.reader.minutes(symbol_of(number % KEPT), first, first + DAY - 1)
            took.append(time.perf_counter() - started)
            # A part of the past ends with a minute that is in no row.
            assert len(found.rows) >= DAY - 2
            await asyncio.sleep(0.02)
        tasks[1].cancel()
        store.close()
        await tasks[0]
        return 1e3 * quantiles(took, n=20)[-1]

    found = [asyncio.run(once()) for _ in range(MOST_ROUNDS)]
    what = f"a day of minutes of a symbol, read while {symbols:,} symbols tick: p95"
    return [Row(what, Figure("volsvc", "ms", found), None, at_most(30, "figure"))]
