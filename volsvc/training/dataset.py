"""Data sets: the online engine's features at the end of each minute, and the realised variance.

Rows are kept in memory-mapped files under a cache folder, named by the digest of the recording and
the version of the features, so that memory stays bounded and a second run starts at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.config.settings import FeatureSettings
from volsvc.domain import HORIZON_MINUTES, SourceError, VolsvcError
from volsvc.domain.feature_names import WEEK
from volsvc.domain.minute_bars import BarSeries
from volsvc.domain.tick_columns import TickColumns
from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES, SymbolTable, apply_recording
from volsvc.features.bars import minute_bars
from volsvc.features.kernels import bars as kernels
from volsvc.features.kernels.multiscale import MULTISCALE
from volsvc.features.kernels.points import MINUTE, SCALES_FROM
from volsvc.models.columns import SCHEMA_VERSION
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.tables.options import RowOptions

Array = NDArray[np.float64]
Advance = Callable[[int], None]
TicksOf = Callable[[Sequence[Path]], Iterator[TickColumns]]

# Version of the features and of the files; data sets of another version are built anew.
CACHE_VERSION: Final = f"{SCHEMA_VERSION}.7"
ARRAYS: Final = ("scales", "young", "variance", "range")
# Minutes without a trade, as in the daemon: horizons that reach into a longer silence are no
# outcomes.
LONGEST_SILENCE: Final = HORIZON_MINUTES[-1]
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
    of ticks. `holes` are the first and the last minute, counted from `start`, of each silence that
    is too long to be one of the market.
    """

    symbol: str
    digest: str
    start: int
    scales: Array
    young: Array
    variance: Array
    range: Array
    ticks: bool
    holes: Sequence[tuple[int, int]] = ()

    def __len__(self) -> int:
        return len(self.variance)

    @property
    def minute(self) -> NDArray[np.int64]:
        """Minutes since the epoch, UTC."""
        return np.arange(self.start, self.start + len(self), dtype=np.int64)

    def is_range(self, horizon_s: float) -> bool:
        """Return True if the range is what is forecast: from bars, for one bar ahead."""
        return horizon_s <= 60 and not self.ticks

    def proxy(self, horizon_s: float) -> Array:
        """Return the proxy of realised variance of each minute."""
        return self.range if self.is_range(horizon_s) else self.variance

    def realised(self, horizon_s: float) -> Array:
        """Return RV over the horizon after each minute; NaN where it was not observed in full.

        The recording ends before it, or has a hole in it or before it.
        """
        ahead = round(horizon_s / 60)
        total = np.concatenate(([0.0], np.cumsum(self.proxy(horizon_s))))
        result = np.full(len(self), np.nan)
        if len(self) > ahead:
            result[:-ahead] = np.maximum(
                total[1 + ahead :] - total[1:-ahead], FLOOR_PER_MINUTE * ahead
            )
        for first, last in self.holes:
            # The return of the minute after a hole is one over all of it.
            result[max(first - ahead, 0) : last + 1] = np.nan
        return result


class MinuteRows(NamedTuple):
    """Every minute of one symbol; the fields are those of `Minutes`."""

    start: int
    scales: Array
    young: Array
    variance: Array
    range: Array


def bar_rows(bars: Any, scales: Array | None = None, young: Array | None = None) -> MinuteRows:
    """Return the engine's row for every minute of bars (BAR), those without trades included.

    The features are written into `scales` and `young`, of shape (minutes, len(SCALE_NAMES)), if
    they are given.
    """
    start, variance, span = _realised(bars)
    shape = (len(variance), len(SCALE_NAMES))
    scales, young = (np.empty(shape) if array is None else array for array in (scales, young))

    def write(features: Array, restart_minutes: int) -> None:
        # Files in memory are arrays of a kind of their own.
        features = np.asarray(features)
        kernels.bar_features(bars, restart_minutes, np.zeros(2, MULTISCALE), features)

    # Two engines that share nothing but the bars, on two processors.
    with ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(write, young, YOUNG_MINUTES)
        write(scales, 0)
        restarted.result()
    return MinuteRows(start, scales, young, variance, span)


def _realised(bars: Any) -> tuple[int, Array, Array]:
    """Return the first minute of bars, and the realised variance and range of each from it on."""
    start, last = bars["minute"][[0, -1]].tolist()
    variance, span = np.zeros((2, last - start + 1))
    kernels.bar_variances(bars, variance, span)
    return start, variance, span


def minute_points(ticks: Iterator[TickColumns]) -> Mapping[str, Any]:
    """Return the ends of minutes (POINT) of ticks by symbol, from the daemon's own state."""
    table = SymbolTable(FeatureSettings())
    found: dict[str, list[Any]] = {}
    for applied in apply_recording(table, ticks, Counter()):
        ended = applied.points[applied.points["kind"] == MINUTE]
        for row in np.unique(ended["symbol"]).tolist():
            found.setdefault(table.symbol(row), []).append(ended[ended["symbol"] == row])
    return {symbol: np.concatenate(parts) for symbol, parts in found.items()}


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
    number = 0
    for symbol, whole in read_bars(files, options).items():
        stretches = _stretches(whole)
        for series in stretches:
            bars = minute_bars(series)
            count = int(series.minutes[-1] - series.minutes[0]) + 1
            part = folder / f"{number:05}"
            scales, young = _files(part, count)
            since = f" from {np.datetime64(int(series.minutes[0]), 'm')}"
            name = symbol + since if len(stretches) > 1 else symbol
            holes = _holes(series.minutes)
            _store(part, name, bar_rows(bars, scales, young), holes, ticks=False)
            number += 1
            advance(count)


def _stretches(series: BarSeries) -> list[BarSeries]:
    """Return the parts of a series between holes in which a slow level is forgotten, a week."""
    ends = np.flatnonzero(np.diff(series.minutes) > WEEK) + 1
    parts = zip(np.split(series.minutes, ends), np.split(series.values, ends), strict=True)
    return [BarSeries(minutes, values) for minutes, values in parts]


def _holes(traded: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the bounds of silences that are longer than the longest horizon.

    `traded` are the minutes with trades, which rise; the bounds count from the first of them.
    """
    before = np.flatnonzero(np.diff(traded) > LONGEST_SILENCE)
    firsts, lasts = traded[before] + 1, traded[before + 1] - 1
    return list(zip((firsts - traded[0]).tolist(), (lasts - traded[0]).tolist(), strict=True))


def _build_of_ticks(
    files: Sequence[Path], folder: Path, ticks_of: TicksOf, advance: Advance
) -> None:
    by_symbol = minute_points(ticks_of(files))
    for index, (symbol, points) in enumerate(by_symbol.items()):
        part, bars = folder / str(index), points["bar"]
        start, variance, span = _realised(bars)
        scales, young = _files(part, len(variance))
        # Ticks give rows only for minutes with trades.
        scales[:] = young[:] = np.nan
        scales[bars["minute"] - start] = points["features"][:, SCALES_FROM:]
        rows = MinuteRows(start, scales, young, variance, span)
        _store(part, symbol, rows, _holes(bars["minute"]), ticks=True)
        advance(len(points))
    if not by_symbol:
        raise SourceError(f"{files[0]}: holds no complete minute of ticks")


def _files(folder: Path, count: int) -> tuple[Array, Array]:
    """Return the arrays of features in the files of a data set, of so many minutes."""
    folder.mkdir(parents=True)
    shape = (count, len(SCALE_NAMES))
    scales, young = (
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=np.float64, shape=shape)
        for name in ("scales.npy", "young.npy")
    )
    return scales, young


def _store(
    folder: Path, symbol: str, rows: MinuteRows, holes: Sequence[tuple[int, int]], *, ticks: bool
) -> None:
    np.save(folder / "variance.npy", rows.variance)
    np.save(folder / "range.npy", rows.range)
    facts = {"symbol": symbol, "start": rows.start, "ticks": ticks, "holes": holes}
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
