"""Bars of before the first tick of a symbol, read from files of bars or ticks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from volsvc.domain import format_time
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.domain.tick_columns import TickColumns
from volsvc.scoring.scores import DAY_MINUTES
from volsvc.sources.base import Known, KnownTick
from volsvc.sources.recordings.bars import MINUTE_NS, grouped, of_whole_minutes, read_bars
from volsvc.sources.recordings.paths import files_of
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.telemetry.limited_warnings import LimitedWarnings
from volsvc.telemetry.logs import get_logger

# A symbol whose newest tick is this much older has a gap, whatever its usual silence.
LONGEST_SILENCE_MINUTES: Final = 60
MOST_NAMES: Final = 5

log = get_logger(__name__)


def minutes_before(time_ns: int, known: KnownTick | None, days: int) -> range:
    """Return the minutes of which bars warm a symbol before a tick.

    These are those of the last days, or those since its newest known tick if that is too old for
    its silence to be one of the market; none otherwise.
    """
    minute = time_ns // MINUTE_NS
    if known is None:
        return range(minute - days * DAY_MINUTES, minute)
    newest = known.time_ns // MINUTE_NS
    longer = minute - newest > LONGEST_SILENCE_MINUTES
    return range(newest, minute) if longer else range(minute, minute)


class History:
    """The bars of files by symbol, read when they are first asked for."""

    def __init__(self, path: Path, options: RowOptions, days: int, known: Known) -> None:
        """Look at the files; raises SourceError if there is none, or one cannot be read."""
        self._files = grouped(files_of([path]), options)
        self._options = options
        self._days = days
        self._known = known
        self._warnings = LimitedWarnings(log, "history_unused")

    def past_of(self, symbol: str, time_ns: int) -> PastBars | None:
        """Return the bars of a symbol before a tick; None if there are none.

        Raises SourceError if a file cannot be read.
        """
        asked = minutes_before(time_ns, self._known(symbol), self._days)
        if not asked:
            return None
        series = self._series.get(symbol)
        if series is None:
            known = sorted(self._series)[:MOST_NAMES]
            self._warnings.add("no such symbol", symbol=symbol, known=known)
            return None
        bars = series.between(asked.start, asked.stop)
        if len(bars.minutes):
            return PastBars(symbol, "file", bars)
        before = format_time(time_ns)
        self._warnings.add("no bars in time", symbol=symbol, days=self._days, before=before)
        return None

    @cached_property
    def _series(self) -> Mapping[str, BarSeries]:
        found: dict[str, BarSeries] = {}
        for group in self._files.bars:
            found |= read_bars(group, self._options)
        for group in self._files.ticks:
            recording = Recording(group, self._options)
            recording.check()
            parts = (rows.ticks.take(rows.are_ticks) for rows in recording.rows())
            found |= bars_of_ticks(parts)
        return found


def bars_of_ticks(parts: Iterable[TickColumns]) -> Mapping[str, BarSeries]:
    """Return the minute bars of ticks by symbol."""
    found: dict[str, list[BarSeries]] = defaultdict(list)
    for ticks in parts:
        for number in np.unique(ticks.symbol).tolist():
            one = ticks.take(ticks.symbol == number)
            prices = np.repeat(one.feature_price[:, None], 4, axis=1)
            values = np.column_stack((prices, np.nan_to_num(one.size)))
            found[ticks.symbols[number]].append(of_whole_minutes(one.time_ns, values))
    return {symbol: _joined(series) for symbol, series in found.items()}


def _joined(parts: list[BarSeries]) -> BarSeries:
    minutes = np.concatenate([part.minutes for part in parts])
    values = np.concatenate([part.values for part in parts])
    return of_whole_minutes(minutes * MINUTE_NS, values)
