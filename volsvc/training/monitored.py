"""The drift inputs of recordings of bars or ticks, as the daemon would have collected them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import SourceError
from volsvc.features.bars import minute_bars
from volsvc.features.kernels.points import BAR_ON_GRID
from volsvc.models import HORIZONS_S, BarAdapter, Model, SymbolForecasts
from volsvc.models.drift_inputs import drift_inputs, is_warm
from volsvc.scoring.scores import NUMBERS
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.training.batch import BatchPoints, bar_points, tick_points
from volsvc.training.dataset import Array, TicksOf

# One row a symbol and minute, as DriftMonitor keeps them.
EVERY_S = 60
FRESH_S = 60.0


def drift_rows(
    model: Model, parts: Iterator[BatchPoints], *, bars: bool
) -> Iterator[tuple[str, Sequence[float | None]]]:
    """Yield symbol and values of DRIFT_INPUTS for each minute, from a symbol's second day on."""
    adapted = BarAdapter(model) if bars else model
    score_column = NUMBERS.index("score")
    for table, points in parts:
        forecasts = SymbolForecasts(table, adapted, points, HORIZONS_S)
        forecasts.settle_without_outcomes()
        for index in np.flatnonzero(points["kind"] >= BAR_ON_GRID).tolist():
            inputs = points["features"][index].tolist()
            if is_warm(inputs):
                score = float(forecasts.numbers[index, 0, score_column])
                yield table.symbol(int(points["symbol"][index])), drift_inputs(inputs, score)


def drift_streams(
    files: Sequence[Path],
    model: Model,
    ticks_of: TicksOf,
    *,
    start_minute: int = 0,
    advance: Callable[[int], Any] = lambda count: None,
    options: RowOptions | None = None,
) -> list[Array]:
    """Return the rows of each symbol of recordings: shape (rows, len(DRIFT_INPUTS)).

    They are in order of time. Bars before `start_minute` are left out. `ticks_of` reads files of
    ticks as one recording; `advance` is called with the number of new rows. Raises SourceError if
    no row is left.
    """
    options = options or RowOptions()
    bars, ticks = grouped(files, options)
    sources = [_rows_of_bars(group, model, start_minute, options) for group in bars]
    sources += [_rows_of_ticks(group, model, ticks_of) for group in ticks]
    streams: list[Array] = []
    for rows in sources:
        by_symbol: dict[str, list[Sequence[float | None]]] = {}
        for symbol, values in rows:
            by_symbol.setdefault(symbol, []).append(values)
            advance(1)
        streams += [np.array(kept, dtype=np.float64) for kept in by_symbol.values()]
    if not streams:
        raise SourceError(
            "no symbol was seen for more than a day, and before that its features lean on "
            "priors; name longer recordings"
        )
    return streams


def _rows_of_ticks(
    files: Sequence[Path], model: Model, ticks_of: TicksOf
) -> Iterator[tuple[str, Sequence[float | None]]]:
    points = tick_points(ticks_of(files), FeatureSettings(), EVERY_S, FRESH_S)
    yield from drift_rows(model, points, bars=False)


def _rows_of_bars(
    files: Sequence[Path], model: Model, start_minute: int, options: RowOptions
) -> Iterator[tuple[str, Sequence[float | None]]]:
    for symbol, series in read_bars(files, options).items():
        bars = minute_bars(series)
        kept = bars[bars["minute"] >= start_minute]
        yield from drift_rows(model, bar_points(symbol, kept, EVERY_S), bars=True)
