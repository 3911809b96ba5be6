"""Data sets: what the online engine says at the end of each minute, and what came after.

Rows are kept in memory-mapped files under a cache folder, named by the digest of the recording and
the version of the features, so that memory stays bounded and a second run starts at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import SourceError
from volsvc.features.minutes import Ohlcv, bar_of_prices
from volsvc.features.scales import FLOOR_PER_MINUTE, SCALE_NAMES, MinuteBar, MultiScale, parkinson

Array = NDArray[np.float64]

HORIZONS_S = (60.0, 300.0, 900.0, 3600.0)
SCALES_VERSION = 2
BAR_COLUMNS = ("open", "high", "low", "close", "volume")
TIME_COLUMNS = ("ts", "time", "timestamp", "start")
MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Minutes:
    """Every minute of one symbol from its first to its last; arrays have the shape (minutes,).

    `scales` (minutes, len(SCALE_NAMES)) is known at the end of the minute; `variance` and `range`
    are the realised variance and Parkinson's variance inside it, 0 for a minute without trades.
    """

    symbol: str
    digest: str
    start: int
    scales: Array
    variance: Array
    range: Array
    ticks: bool

    def __len__(self) -> int:
        return len(self.variance)

    @property
    def minute(self) -> NDArray[np.int64]:
        """The minute since the epoch, UTC."""
        return np.arange(self.start, self.start + len(self), dtype=np.int64)

    def proxy(self, horizon_s: float) -> Array:
        """What stands for realised variance: from bars and for one bar ahead, the range."""
        return self.range if horizon_s <= 60 and not self.ticks else self.variance

    def realised(self, horizon_s: float) -> Array:
        """RV over the horizon that follows each minute; NaN where the recording ends before."""
        ahead = round(horizon_s / 60)
        total = np.concatenate(([0.0], np.cumsum(self.proxy(horizon_s))))
        result = np.full(len(self), np.nan)
        if len(self) > ahead:
            result[:-ahead] = np.maximum(
                total[1 + ahead :] - total[1:-ahead], FLOOR_PER_MINUTE * ahead
            )
        return result


def feature_rows(
    bars: Iterator[MinuteBar],
) -> Iterator[tuple[MinuteBar | None, Array]]:
    """The engine over minutes: a row for each, those without trades included (with None)."""
    engine = MultiScale()
    for bar in bars:
        if engine.minute is not None:
            for minute in range(engine.minute + 1, bar.minute):
                yield None, engine.row(minute)
        engine.push(bar)
        yield bar, engine.row(bar.minute)


def load_minutes(
    path: Path, cache: Path, advance: Callable[[int], None] = lambda count: None
) -> Minutes:
    """The data set of a recording of bars; raises SourceError when it cannot be read as such."""
    digest = file_digest(path)
    folder = cache / f"{digest[:16]}-{SCALES_VERSION}"
    if not (folder / "minutes.json").exists():
        _build(path, digest, folder, advance)
    facts = json.loads((folder / "minutes.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return Minutes(facts["symbol"], digest, facts["start"], **arrays, ticks=facts["ticks"])


_ARRAYS = ("scales", "variance", "range")


def _build(path: Path, digest: str, folder: Path, advance: Callable[[int], None]) -> None:
    frame = read_bars(path)
    minutes = (frame["ts"].astype("int64") // MINUTE_NS).to_numpy()
    count = int(minutes[-1] - minutes[0]) + 1
    folder.mkdir(parents=True, exist_ok=True)
    scales = np.lib.format.open_memmap(
        folder / "scales.npy", mode="w+", dtype=np.float64, shape=(count, len(SCALE_NAMES))
    )
    variance, span = np.zeros(count), np.zeros(count)
    columns = [frame[name].tolist() for name in BAR_COLUMNS]
    for index, (bar, row) in enumerate(feature_rows(bars_of(minutes.tolist(), columns))):
        scales[index] = row
        if bar is not None:
            variance[index], span[index] = bar.variance, parkinson(bar.high, bar.low)
            advance(1)
    scales.flush()
    np.save(folder / "variance.npy", variance)
    np.save(folder / "range.npy", span)
    facts = {"symbol": symbol_of(path), "start": int(minutes[0]), "ticks": False, "digest": digest}
    (folder / "minutes.json").write_text(json.dumps(facts))


def bars_of(minutes: Sequence[int], columns: Sequence[Sequence[float]]) -> Iterator[MinuteBar]:
    """Bars of columns (BAR_COLUMNS), in the order of their minutes."""
    previous = float("nan")
    for minute, *values in zip(minutes, *columns, strict=True):
        bar = bar_of_prices(minute, previous, Ohlcv(*values))
        previous = bar.close
        yield bar


def symbol_of(path: Path) -> str:
    """The symbol that a file is named after: BTC-USD out of coinbase_BTC-USD_1m.parquet."""
    parts = [part for part in path.name.split(".")[0].split("_") if "-" in part]
    return parts[0] if parts else path.name.split(".")[0]


def read_bars(path: Path) -> Any:
    """Bars as a data frame sorted by `ts` (UTC), one a minute; raises SourceError."""
    import pandas as pd

    frame = pd.read_parquet(path)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True).astype("datetime64[ns, UTC]")
    return frame.dropna().drop_duplicates("ts").sort_values("ts")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; raises SourceError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
