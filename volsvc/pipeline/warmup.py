"""Compilation of all kernels before they are needed: a small workload runs each of them.

Machine code depends on types alone, so a workload with the real types of everything compiles what
any other needs, and takes a fraction of a second once the cache is filled.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from threading import Event
from typing import Final, NamedTuple

import numpy as np

from volsvc.compiled import KERNELS
from volsvc.compiled.compilations import Compilations
from volsvc.compiled.loading import load_numba
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.domain.tick_columns import TickColumns, columns_of_ticks
from volsvc.features import MINUTE_NS, SymbolTable
from volsvc.features.bars import minute_bars
from volsvc.models import FEATURES, HORIZONS_S, ArtefactError, Model, packaged
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.output_publisher import Outputs
from volsvc.pipeline.tick_applier import TickApplier
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import BASELINE, DesiredModel
from volsvc.sources.generator import Generator, GeneratorSpec, MarketSpec
from volsvc.sources.recordings.lateness import Lateness
from volsvc.sources.recordings.tables.columns import Coded
from volsvc.sources.recordings.tables.csv_text import Times, csv_text
from volsvc.store.minute_rows import MINUTE_ROW, pack, unpack
from volsvc.telemetry.metrics import Metrics
from volsvc.training.batch import bar_points, forecast_columns
from volsvc.training.dataset import bar_rows
from volsvc.transport import Record
from volsvc.transport.bars_record import encode_bars
from volsvc.transport.codec import decode_state, encode_tick

# Seconds that a cold compilation takes on one processor, for those who wait.
ABOUT_S: Final = 30
SYMBOL: Final = "WARM-UP"
START_NS: Final = 1_700_000_000 * NS
# A few minutes: a kernel is compiled with all that it calls, whether that runs or not.
TICKS: Final = 60
TICKS_PER_S: Final = 0.2
# Of them, those that are sorted by event time as well.
WAITING: Final = 30
BARS: Final = 20
# More rows than any kernel takes at once in the way in which it takes few.
MANY_ROWS: Final = 200


class WarmUp(NamedTuple):
    """The outcome of a warm-up: what is ready, what had to be compiled, and where it is cached.

    `folder` is empty if the machine code is in memory alone.
    """

    kernels: int
    compiled: int
    duration_s: float
    folder: str


class WarmUpCancelledError(Exception):
    """The warm-up was cancelled before it had compiled everything."""


def warm_up(on_compile: Callable[[], None] = lambda: None, cancel: Event | None = None) -> WarmUp:
    """Compile every kernel that the cache does not hold, and load the others, in our own process.

    `on_compile` is called before the first compilation, so never if the cache is filled. Raises
    WarmUpCancelledError soon after `cancel` is set.
    """
    started = time.perf_counter()
    load_numba()
    with _compilations(on_compile, cancel) as compilations:
        _run_workload()
    paths = {path for kernel in KERNELS if (path := kernel.stats.cache_path)}
    return WarmUp(
        len(KERNELS),
        compilations.count,
        time.perf_counter() - started,
        os.path.commonpath(paths) if paths else "",
    )


def load_packaged(on_compile: Callable[[], None], cancel: Event) -> bool:
    """Load the packaged model, whose check compiles its kernels if the cache lacks them.

    A model that is damaged is left to those who ask for it. Always True; see `warm_up` for the
    arguments.
    """
    load_numba()
    with _compilations(on_compile, cancel), suppress(ArtefactError):
        packaged()
    return True


def _compilations(on_compile: Callable[[], None], cancel: Event | None) -> Compilations:
    def before_each(name: str) -> None:
        if cancel is not None and cancel.is_set():
            raise WarmUpCancelledError
        if compilations.count == 1:
            on_compile()

    compilations = Compilations(before_each)
    return compilations


# Once a process: what is compiled stays.
@cache
def _run_workload() -> None:
    try:
        models: list[Model] = [BASELINE, packaged().model]
    except ArtefactError:
        # The baseline then serves alone.
        models = [BASELINE]
    ticks = [item.tick for item in islice(_market().ticks(), TICKS)]
    bars = minute_bars(_recorded_bars(START_NS // MINUTE_NS))
    for model in models:
        _forecast_ticks(model, ticks, FeatureSettings(publish_every_s=60))
        _forecast_rows(model)
        for _ in forecast_columns(model, bar_points(SYMBOL, bars, 300), HORIZONS_S, bars=True):
            pass
    # Ticks that wait for older ones go another way.
    _forecast_ticks(models[-1], ticks[:WAITING], FeatureSettings(late_tolerance_s=60))
    bar_rows(bars)
    _read_and_write(columns_of_ticks(ticks))


def _read_and_write(ticks: TickColumns) -> None:
    """Do what is done with columns of a recording, and of minutes, beside applying them."""
    Lateness().late(ticks, np.arange(len(ticks)))
    unpack(pack(np.zeros(1, MINUTE_ROW)))
    csv_text([Coded([SYMBOL], ticks.symbol), Times(ticks.time_ns), ticks.price, ticks.trade_id])


def _forecast_ticks(model: Model, ticks: Sequence[Tick], settings: FeatureSettings) -> None:
    """Take ticks from their records to the published ones, and a state back from these."""
    desired = DesiredModel(model.variant, None if model is BASELINE else model)
    store, metrics, table = LatestStore(), Metrics(), SymbolTable(settings)
    forecaster = Forecaster(table, ModelHolder(desired), store, metrics, "warmup")
    # The last one twice: a repeated tick is found by its own means.
    past = PastBars(SYMBOL, "file", _recorded_bars(START_NS // MINUTE_NS - BARS))
    encoded = [*encode_bars(past, ()), *map(encode_tick, [*ticks, ticks[-1]])]
    records = [Record("ticks", 0, offset, *one[:3]) for offset, one in enumerate(encoded)]
    outputs = Outputs()
    for part in TickApplier(table, store, metrics).slices(records):
        if part.applied is not None:
            forecaster.forecast(part.applied, outputs)
        if part.past is not None:
            forecaster.learn_past(part.past, outputs)
    forecaster.publish_newest(table.rows.tolist(), outputs)
    stored = decode_state(Record("", 0, 0, *outputs.features[-1][:3]))
    assert stored is not None, "a published record holds a state"
    state = SymbolTable(settings).restore(stored.symbol, stored.content, stored.time_ns)
    state.quality()
    state.history(1)


def _market() -> Generator:
    spec = GeneratorSpec((SYMBOL,), seed=1, start_ns=START_NS)
    return Generator(spec, lambda symbol: MarketSpec(100.0, ticks_per_s=TICKS_PER_S))


def _forecast_rows(model: Model) -> None:
    """Forecast posted rows, one and many."""
    for count in (1, MANY_ROWS):
        rows = np.full((count, len(FEATURES)), 1e-4)
        for horizon_s in (*HORIZONS_S, 90.0):
            model.predict(rows, horizon_s, np.full(count, math.nan))
            model.log_threshold(rows, horizon_s)


def _recorded_bars(first: int) -> BarSeries:
    minutes = first + np.arange(BARS)
    close = 100.0 + np.arange(BARS) % 7
    return BarSeries(minutes, np.column_stack((close, close + 1, close - 1, close, close)))
