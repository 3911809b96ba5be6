"""The watched values of recordings of bars or ticks, as the daemon would have gathered them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import SourceError, Tick
from volsvc.models import HORIZONS_S, BarAdapter, ForecastPoint, Model, SymbolForecasts
from volsvc.models.drift_inputs import MONITORED, is_warm, monitored_of, monitored_scales
from volsvc.models.symbol_forecasts import named_scales
from volsvc.training.bars import is_bars, read_bars
from volsvc.training.batch import CHUNK, Due, due_of_bars, due_of_ticks
from volsvc.training.dataset import Array

EVERY_S = 60
FRESH_S = 60.0


def monitored_rows(
    model: Model, due: Iterator[Due], *, bars: bool
) -> Iterator[tuple[str, Sequence[float | None]]]:
    """A row a symbol and minute, from when the symbol has been watched for a day."""
    reader = BarAdapter(model) if bars else model
    while chunk := list(islice(due, CHUNK)):
        forecasts = SymbolForecasts(reader, [item.point for item in chunk], HORIZONS_S)
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
                yield point.state.symbol, monitored_scales(point.scales, score)
            else:
                yield point.state.symbol, monitored_of(forecasts.snapshot(index, HORIZONS_S[0]))


def streams_of(
    paths: Sequence[Path],
    model: Model,
    ticks_of: Callable[[Path], Iterator[Tick]],
    *,
    start_minute: int = 0,
    advance: Callable[[int], Any] = lambda count: None,
) -> list[Array]:
    """Rows of each symbol of each recording, in order of time: shape (rows, len(MONITORED)).

    Bars before `start_minute` are left out. Raises SourceError when no row is left.
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
            "no symbol was watched for more than a day, and before that its features lean on "
            "priors; name longer recordings"
        )
    return streams


def _rows_of(
    path: Path, model: Model, ticks_of: Callable[[Path], Iterator[Tick]], start_minute: int
) -> Iterator[tuple[str, Sequence[float | None]]]:
    if not is_bars(path):
        due = due_of_ticks(ticks_of(path), FeatureSettings(), EVERY_S, FRESH_S)
        yield from monitored_rows(model, due, bars=False)
        return
    for symbol, bars in read_bars(path).items():
        kept = [bar for bar in bars if bar.minute >= start_minute]
        yield from monitored_rows(model, due_of_bars(symbol, kept, EVERY_S), bars=True)


__all__ = ["MONITORED", "monitored_rows", "streams_of"]
