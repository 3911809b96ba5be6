"""The drift inputs of recordings of bars or ticks, as the daemon would have collected them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import SourceError, Tick
from volsvc.models import HORIZONS_S, BarAdapter, ForecastPoint, Model, SymbolForecasts
from volsvc.models.drift_inputs import bar_inputs, is_warm, snapshot_inputs
from volsvc.models.symbol_forecasts import named_scales
from volsvc.training.bars import is_bars, read_bars
from volsvc.training.batch import CHUNK, BatchPoint, bar_points, tick_points
from volsvc.training.dataset import Array

# One row a symbol and minute, as DriftMonitor keeps them.
EVERY_S = 60
FRESH_S = 60.0


def drift_rows(
    model: Model, points: Iterator[BatchPoint], *, bars: bool
) -> Iterator[tuple[str, Sequence[float | None]]]:
    """Yield symbol and values of DRIFT_INPUTS for each minute, from a symbol's second day on."""
    adapted = BarAdapter(model) if bars else model
    while chunk := list(islice(points, CHUNK)):
        forecasts = SymbolForecasts(adapted, [item.point for item in chunk], HORIZONS_S)
        for index, item in enumerate(chunk):
            if item.time_ns is None:
                forecasts.learn(index)
                continue
            point = item.point
            if not is_warm(named_scales(point.scales)):
                continue
            assert isinstance(point, ForecastPoint), "a point with a time is a forecast point"
            if point.row is None:
                score = forecasts.predictions(index)[0].score
                yield point.state.symbol, bar_inputs(point.scales, score)
            else:
                yield point.state.symbol, snapshot_inputs(forecasts.snapshot(index, HORIZONS_S[0]))


def drift_streams(
    paths: Sequence[Path],
    model: Model,
    ticks_of: Callable[[Path], Iterator[Tick]],
    *,
    start_minute: int = 0,
    advance: Callable[[int], Any] = lambda count: None,
) -> list[Array]:
    """Return the rows of each symbol of each recording: shape (rows, len(DRIFT_INPUTS)).

    They are in order of time. Bars before `start_minute` are left out. `ticks_of` reads a recording
    of ticks; `advance` is called with the number of new rows. Raises SourceError if no row is left.
    """
    streams: list[Array] = []
    for path in paths:
        by_symbol: dict[str, list[Sequence[float | None]]] = {}
        for symbol, values in _rows_of(path, model, ticks_of, start_minute):
            by_symbol.setdefault(symbol, []).append(values)
            advance(1)
        streams += [np.array(rows, dtype=np.float64) for rows in by_symbol.values()]
    if not streams:
        raise SourceError(
            "no symbol was seen for more than a day, and before that its features lean on "
            "priors; name longer recordings"
        )
    return streams


def _rows_of(
    path: Path, model: Model, ticks_of: Callable[[Path], Iterator[Tick]], start_minute: int
) -> Iterator[tuple[str, Sequence[float | None]]]:
    if not is_bars(path):
        points = tick_points(ticks_of(path), FeatureSettings(), EVERY_S, FRESH_S)
        yield from drift_rows(model, points, bars=False)
        return
    for symbol, bars in read_bars(path).items():
        kept = [bar for bar in bars if bar.minute >= start_minute]
        yield from drift_rows(model, bar_points(symbol, kept, EVERY_S), bars=True)
