"""Ticks, errors and bars that our reader finds in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volsvc.domain import Tick
from volsvc.features.bars import minute_bars
from volsvc.sources.recordings.bars import read_bars
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.recordings.tick_rows import Fault, TickRows


def parsed(*paths: Path, symbol: str | None = None, **options: Any) -> list[Tick | Fault]:
    """Return the tick or the error of every row."""
    recording = Recording(paths, RowOptions(symbol, **options))
    return [found for rows in recording.rows() for found in each_row(rows)]


def each_row(rows: TickRows) -> list[Tick | Fault]:
    """Return the tick or the error of each of some rows."""
    return [rows.faults.get(row, tick) for row, tick in enumerate(rows.ticks.ticks())]


def ticks_in(*paths: Path, symbol: str | None = None, **options: Any) -> list[Tick]:
    """Return the ticks, without the rows that are none."""
    rows = parsed(*paths, symbol=symbol, **options)
    return [found for found in rows if isinstance(found, Tick)]


def bars_in(*paths: Path, symbol: str | None = None, **options: Any) -> dict[str, list[Any]]:
    """Return the bars (BAR) by symbol."""
    series = read_bars(paths, RowOptions(symbol, **options))
    return {name: list(minute_bars(found)) for name, found in series.items()}
