"""The store: what it takes of a consumer's time and of the disk, and how soon it answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles

import aiohttp
import numpy as np

from tests.benchmarks.children import server
from tests.benchmarks.consuming import warm_through
from tests.benchmarks.figures import Figure, Results, Row, at_least, at_most, rates
from tests.benchmarks.market import PER_S, SYMBOLS, symbol_of, tick_records
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, timed_turns
from tests.daemon import eventually
from tests.unit.store.kept import MINUTE, Reports
from volsvc.config.kafka import KafkaSettings
from volsvc.domain.minute_bars import BarSeries
from volsvc.features.bars import minute_bars
from volsvc.models import HORIZONS_S, SymbolForecasts, packaged
from volsvc.pipeline.minute_record import minutes_of
from volsvc.serving.model_choice import BASELINE
from volsvc.store import Feed, Minutes, Retention, Store
from volsvc.store.database import open_database
from volsvc.store.history import FIELDS
from volsvc.store.minute_table import MinuteTable
from volsvc.store.retention import size_of
from volsvc.training.batch import bar_points
from volsvc.transport import OutRecord

DAY = 1_440
TOPIC = KafkaSettings().features_topic
FEED = Feed("bench", 6)
FOREVER = Retention(10_000, 10**12)
LONGER = 15
RUN = (sys.executable, "-m", "volsvc", "run", "--port", "0")
# What the page asks for beside the time.
PAGE_FIELDS = ("close", "realised", "sigma_60s", "lo_60s", "hi_60s")
ANSWERS = 200
PAUSE_S = 0.02
# A thousand symbols have begun, with the day before, in less.
KEPT_S = 200.0


def measure(bench: Bench) -> Results:
    """Measure the store beside a consumer without one, its size, and answers of a day."""
    return Results([*ticks(bench), *size(bench), *asyncio.run(answers(bench))])


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


def size(bench: Bench) -> list[Row]:
    """Measure the bytes that a month of a symbol takes."""
    with contextlib.closing(open_database(bench.folder / "months.db")) as connection:
        connection.execute("INSERT INTO feed VALUES (1, ?, 6, 0)", (FEED.name,))
        table = MinuteTable(connection, 1)
        table.write(minutes(bench.sizes.kept_days))
        while table.pack_some():
            pass
        month = size_of(connection) / bench.sizes.kept_days * 30 / 1e6
    what = "a month of minutes of a symbol on disk"
    return [Row(what, Figure("volsvc", "MB", [month]), None, at_most(3, "figure"))]


async def answers(bench: Bench) -> list[Row]:
    """Measure in which time a day of a symbol is answered while a daemon's symbols tick."""
    symbols = [symbol_of(number) for number in range(bench.sizes.points)]
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    env = {"VOLSVC_SOURCE__SYMBOLS": ",".join(symbols), "VOLSVC_WARMUP__DAYS": "1"}
    rows = []
    async with (
        server(*RUN, cwd=bench.folder, cpu=processors, **env) as served,
        aiohttp.ClientSession(served.url) as client,
    ):

        async def day(symbol: str, fields: str = "time") -> int:
            parameters: dict[str, str | int] = {"limit": DAY, "step": "1m", "fields": fields}
            async with client.get(f"/history/{symbol}", params=parameters) as response:
                body = await response.read()
            return body.count(b'"time"') if response.status == 200 else 0

        for symbol in symbols:
            # The day's last minutes may not have ended.
            await eventually(partial(_is_kept, day, symbol), KEPT_S, f"a day of {symbol} is kept")
        for what, fields in (("", ",".join(FIELDS)), (", as the page asks", ",".join(PAGE_FIELDS))):
            found = []
            for _ in range(MOST_ROUNDS):
                took = []
                for number in range(ANSWERS):
                    started = time.perf_counter()
                    assert await day(symbols[37 * number % len(symbols)], fields) > DAY - 60
                    took.append(time.perf_counter() - started)
                    await asyncio.sleep(PAUSE_S)
                found.append(1e3 * quantiles(took, n=20)[-1])
            name = f"a day of a symbol{what}, while {len(symbols):,} symbols tick: p95"
            rows.append(Row(name, Figure("volsvc", "ms", found), None, at_most(30, "figure")))
    return rows


async def _is_kept(day: Callable[[str], Awaitable[int]], symbol: str) -> bool:
    return await day(symbol) > DAY - 60
