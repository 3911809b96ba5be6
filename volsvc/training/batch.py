"""Batch scoring: the forecasts that the service would have made on a recording.

They are made at each point of a time grid, by the engine, the calibration and the model of the
daemon. A row depends on the data before its time alone, whatever follows in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS
from volsvc.domain.tick_columns import TickColumns
from volsvc.features import PointGrid, SymbolTable, apply_recording
from volsvc.features.kernels import bars as kernels
from volsvc.features.kernels.points import BAR_ON_GRID, POINT
from volsvc.features.state import VERDICTS, verdict_of
from volsvc.models import HORIZONS_S, BarAdapter, Model, SymbolForecasts
from volsvc.scoring.scores import NUMBERS
from volsvc.sources.recordings.tables.columns import Coded
from volsvc.sources.recordings.tables.csv_text import TextColumn, Times

T = TypeVar("T")

COLUMNS: Final = (
    "ts",
    "symbol",
    "horizon_s",
    "sigma",
    "lo",
    "hi",
    "p_spike",
    "threshold",
    "quality",
    "model_variant",
    "version",
)
# Bars or points of one call; the rows do not depend on it.
CHUNK: Final = 4_096


class BatchPoints(NamedTuple):
    """Points (POINT) of a table: ends of minutes to learn from, and grid times to forecast at."""

    table: SymbolTable
    points: Any


def bar_points(symbol: str, bars: Any, every_s: int) -> Iterator[BatchPoints]:
    """Yield the points of recorded bars (BAR), in order of time.

    The grid includes minutes without trades, until their silence counts as a gap of the feed.
    """
    table = SymbolTable(FeatureSettings())
    row = table.row_for(symbol, 0)
    state = table.records[row].ticks.multiscale
    done = 0
    while done < len(bars):
        points = np.zeros(CHUNK, POINT)
        done, count = kernels.bar_points(state, row, bars, done, every_s, points)
        yield BatchPoints(table, points[:count])


def tick_points(
    ticks: Iterable[TickColumns],
    settings: FeatureSettings,
    every_s: int,
    fresh_s: float,
    statuses: Counter[str] | None = None,
) -> Iterator[BatchPoints]:
    """Yield the points of recorded ticks, each with the symbol's state just before its time.

    There is no forecast where a symbol's newest tick is older than `fresh_s`. `statuses` counts the
    ticks by what became of them.
    """
    grid = PointGrid(every_ns=every_s * NS, fresh_ns=round(fresh_s * NS))
    table = SymbolTable(settings, grid=grid)
    for applied in apply_recording(table, ticks, Counter() if statuses is None else statuses):
        yield BatchPoints(table, applied.points)


def forecast_columns(
    model: Model, parts: Iterable[BatchPoints], horizons_s: Sequence[float], *, bars: bool
) -> Iterator[Mapping[str, TextColumn]]:
    """Yield COLUMNS by name of each part with grid times: a row for each time and horizon.

    With `bars` the forecasts one minute ahead are of the range; see BarAdapter.
    """
    adapted = BarAdapter(model) if bars else model
    horizons = tuple(sorted({*HORIZONS_S, *horizons_s}))
    asked = [horizons.index(horizon) for horizon in sorted(set(horizons_s))]
    made = (
        (table, points, SymbolForecasts(table, adapted, points, horizons))
        for table, points in parts
    )
    # Ticks may give the table another symbol, whose arrays must not grow while others learn.
    for table, points, forecasts in _ahead(made) if bars else made:
        forecasts.settle_without_outcomes()
        told = np.flatnonzero(points["kind"] >= BAR_ON_GRID)
        if not len(told):
            continue
        # A row for each horizon: what belongs to the point is repeated, and horizons follow anew.
        numbers = forecasts.numbers[told][:, asked].reshape(-1, len(NUMBERS))
        by_name = dict(zip(NUMBERS, np.ascontiguousarray(numbers.T), strict=True))
        rows = np.repeat(told, len(asked))
        first = np.zeros(len(rows), np.int64)
        symbols, codes = np.unique(points["symbol"][told], return_inverse=True)
        quality = points["quality"]
        verdicts = verdict_of(quality["cold"], quality["warm"])
        columns: dict[str, TextColumn] = {
            "ts": Times(points["at_ns"][rows]),
            "symbol": Coded(
                list(map(table.symbol, symbols.tolist())), np.repeat(codes, len(asked))
            ),
            "horizon_s": np.tile(np.array(horizons)[asked], len(told)),
            **{name: by_name[name] for name in ("sigma", "lo", "hi")},
            "p_spike": by_name["score"],
            "threshold": by_name["threshold"],
            "quality": Coded(list(VERDICTS), verdicts[rows]),
            "model_variant": Coded([model.variant], first),
            "version": Coded([model.version], first),
        }
        yield {name: columns[name] for name in COLUMNS}


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items, each of which is made on another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
