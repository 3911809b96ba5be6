"""Data sets: the online engine's features at the end of each minute, and the realised variance.

Rows are kept in memory-mapped files under a cache folder, named by the digest of the recording and
the version of the features, so that memory stays bounded and a second run starts at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.config.settings import FeatureSettings
from volsvc.domain import SourceError, Tick, VolsvcError
from volsvc.features import (
    FLOOR_PER_MINUTE,
    SCALE_NAMES,
    MinuteBar,
    MultiScale,
    SymbolTable,
    parkinson,
)
from volsvc.models.base import SCHEMA_VERSION
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.training.bars import MinuteBars

Array = NDArray[np.float64]
Advance = Callable[[int], None]
TicksOf = Callable[[Sequence[Path]], Iterator[Tick]]

# Version of the features and of the files; data sets of another version are built anew.
CACHE_VERSION: Final = f"{SCHEMA_VERSION}.5"
ARRAYS: Final = ("scales", "young", "variance", "range")
# Minutes after which the second engine is restarted. 53 hours and a day have no common divisor, so
# that the restarts fall on every hour of the day.
YOUNG_MINUTES: Final = 53 * 60


class TrainingError(VolsvcError):
    """The given recordings do not suffice for training or evaluation."""


@dataclass(frozen=True)
class Minutes:
    """Every minute of one symbol from its first to its last; arrays have the shape (minutes,).

    `scales` (minutes, len(SCALE_NAMES)) are the features known at the end of the minute, NaN where
    they are not. `young` are those of an engine that is restarted every YOUNG_MINUTES, so that a
    fit sees symbols with a short past. `variance` and `range` are the realised variance and
    Parkinson's variance inside the minute, 0 where it had no trades. `ticks` is true for recordings
    of ticks.
    """

    symbol: str
    digest: str
    start: int
    scales: Array
    young: Array
    variance: Array
    range: Array
    ticks: bool

    def __len__(self) -> int:
        return len(self.variance)

    @property
    def minute(self) -> NDArray[np.int64]:
        """Minutes since the epoch, UTC."""
        return np.arange(self.start, self.start + len(self), dtype=np.int64)

    def proxy(self, horizon_s: float) -> Array:
        """Return the proxy of realised variance: from bars, for one bar ahead, the range."""
        return self.range if horizon_s <= 60 and not self.ticks else self.variance

    def realised(self, horizon_s: float) -> Array:
        """Return RV over the horizon after each minute; NaN where the recording ends before it."""
        ahead = round(horizon_s / 60)
        total = np.concatenate(([0.0], np.cumsum(self.proxy(horizon_s))))
        result = np.full(len(self), np.nan)
        if len(self) > ahead:
            result[:-ahead] = np.maximum(
                total[1 + ahead :] - total[1:-ahead], FLOOR_PER_MINUTE * ahead
            )
        return result


class MinuteRow(NamedTuple):
    """One minute of a data set; the fields are those of `Minutes`."""

    minute: int
    scales: Array
    young: Array
    variance: float
    range: float


def bar_rows(bars: Iterator[MinuteBar]) -> Iterator[MinuteRow]:
    """Yield the engine's row for every minute of bars, those without trades included."""
    engine, young, started = MultiScale(), MultiScale(), 0
    for bar in bars:
        if engine.minute is not None:
            # The row of a silent minute is read before the next bar moves the engine's clock.
            for minute in range(engine.minute + 1, bar.minute):
                yield MinuteRow(minute, engine.row(minute), young.row(minute), 0.0, 0.0)
        if bar.minute - started >= YOUNG_MINUTES:
            young, started = MultiScale(), bar.minute
        engine.push(bar)
        young.push(bar)
        span = parkinson(bar.high, bar.low)
        rows = engine.row(bar.minute), young.row(bar.minute)
        yield MinuteRow(bar.minute, *rows, bar.variance, span)


def tick_rows(ticks: Iterator[Tick]) -> Iterator[tuple[str, MinuteRow]]:
    """Yield a row of the daemon's own state for each minute of ticks, with its symbol."""
    table = SymbolTable(FeatureSettings())
    unknown = np.full(len(SCALE_NAMES), np.nan)
    for state in table.apply(ticks):
        for end in state.minutes.take_ended():
            bar = end.bar
            span = parkinson(bar.high, bar.low)
            yield state.symbol, MinuteRow(bar.minute, end.scales, unknown, bar.variance, span)


def load_panel(
    files: Sequence[Path],
    cache: Path,
    ticks_of: TicksOf,
    advance: Advance = lambda count: None,
    options: RowOptions | None = None,
) -> list[Minutes]:
    """Return the data sets of recordings of bars or ticks, one for each symbol.

    Files of a symbol are joined in time. `ticks_of` reads files of ticks as one recording;
    `advance` is called with the number of new minutes. Raises SourceError if a file cannot be read
    or holds no complete minute.
    """
    options = options or RowOptions()
    bars, ticks = grouped(files, options)
    groups = [(group, True) for group in bars] + [(group, False) for group in ticks]
    panel: list[tuple[Path, Minutes]] = []
    for group, are_bars in groups:
        digest = files_digest(group)
        folder = cache / f"{_key(digest, options)[:16]}-{CACHE_VERSION}"
        if not folder.exists():
            # Renamed when complete: a run that was interrupted leaves no half data set.
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            if are_bars:
                _build_of_bars(group, part, options, advance)
            else:
                _build_of_ticks(group, part, ticks_of, advance)
            part.rename(folder)
        panel += [(group[0], _load(one, digest)) for one in sorted(folder.iterdir())]
    # The same symbol in ticks and in bars, or of two venues: the file's name makes it unique.
    counts = Counter(data.symbol for _, data in panel)
    return [
        replace(data, symbol=f"{data.symbol} ({file.name.split('.')[0]})")
        if counts[data.symbol] > 1
        else data
        for file, data in panel
    ]


def _key(digest: str, options: RowOptions) -> str:
    """Return the name of a cache entry; the same bytes may be read in several ways."""
    how = (options.symbol, options.columns, options.time_format)
    if how == (None, (), ""):
        return digest
    return hashlib.sha256(f"{digest}{how}".encode()).hexdigest()


def _build_of_bars(
    files: Sequence[Path], folder: Path, options: RowOptions, advance: Advance
) -> None:
    for index, (symbol, series) in enumerate(read_bars(files, options).items()):
        bars = MinuteBars(series)
        _store(folder / str(index), symbol, bars.span, bar_rows(iter(bars)), advance)


def _build_of_ticks(
    files: Sequence[Path], folder: Path, ticks_of: TicksOf, advance: Advance
) -> None:
    by_symbol: dict[str, list[MinuteRow]] = {}
    for symbol, row in tick_rows(ticks_of(files)):
        by_symbol.setdefault(symbol, []).append(row)
    for index, (symbol, kept) in enumerate(by_symbol.items()):
        count = kept[-1].minute - kept[0].minute + 1
        _store(folder / str(index), symbol, count, iter(kept), advance, ticks=True)
    if not by_symbol:
        raise SourceError(f"{files[0]}: holds no complete minute of ticks")


def _store(
    folder: Path,
    symbol: str,
    count: int,
    rows: Iterator[MinuteRow],
    advance: Advance,
    *,
    ticks: bool = False,
) -> None:
    folder.mkdir(parents=True)
    shape = (count, len(SCALE_NAMES))
    scales, young = (
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=np.float64, shape=shape)
        for name in ("scales.npy", "young.npy")
    )
    # Ticks give rows only for minutes with trades.
    if ticks:
        scales[:] = young[:] = np.nan
    variance, span = np.zeros(count), np.zeros(count)
    start = None
    for row in rows:
        start = row.minute if start is None else start
        index = row.minute - start
        scales[index], young[index] = row.scales, row.young
        variance[index], span[index] = row.variance, row.range
        advance(1)
    scales.flush()
    young.flush()
    np.save(folder / "variance.npy", variance)
    np.save(folder / "range.npy", span)
    facts = {"symbol": symbol, "start": start, "ticks": ticks}
    (folder / "facts.json").write_text(json.dumps(facts))


def _load(folder: Path, digest: str) -> Minutes:
    facts = json.loads((folder / "facts.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    return Minutes(digest=digest, **facts, **arrays)


def files_digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a file's bytes, or of the digests of several files.

    Raises SourceError if one cannot be read.
    """
    digests = []
    for path in files:
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
