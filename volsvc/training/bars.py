"""Recorded one-minute bars: CSV, NDJSON or Parquet with a time, open, high, low, close, volume.

A file holds one symbol, taken from its name, or several that a column names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsvc.domain import SourceError, float_of
from volsvc.domain.records import ALIASES
from volsvc.domain.texts import plain_text
from volsvc.features import MINUTE_NS, MinuteBar, Ohlcv, bar_of_prices
from volsvc.sources.files import file_format, open_raw, text_of
from volsvc.sources.lines import DAMAGE

PRICE_COLUMNS: Final = ("open", "high", "low", "close")
TIME_COLUMNS: Final = ("ts", "time", "timestamp", "start", "open_time")
# Characters of a symbol.
MAX_SYMBOL: Final = 64
# Least value of a numeric time and the unit that it implies.
EPOCH_UNITS: Final = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (0.0, "s"))


def is_bars(path: Path) -> bool:
    """Return whether a file has the columns of bars; raises SourceError if it cannot be read."""
    return set(PRICE_COLUMNS) <= set(_read(path, rows=1).columns)


def read_bars(path: Path) -> Mapping[str, list[MinuteBar]]:
    """Return the bars of a file by symbol, in order of time; of equal minutes the first is kept.

    Raises SourceError, which names the missing column or the first row that is not valid.
    """
    frame = _read(path)
    column = next((name for name in ALIASES["symbol"] if name in frame.columns), None)
    if column is None:
        return {symbol_of(path): _bars_of(frame, path)}
    # No row has a symbol, or there is no row.
    if frame[column].isna().all():
        raise SourceError(f"{path}: holds no bar")
    return {
        plain_text(str(symbol), MAX_SYMBOL): _bars_of(rows, path)
        for symbol, rows in frame.groupby(column)
    }


def _bars_of(frame: Any, path: Path) -> list[MinuteBar]:
    lacking = [name for name in (*PRICE_COLUMNS, "volume") if name not in frame.columns]
    times = next((name for name in TIME_COLUMNS if name in frame.columns), None)
    if lacking or times is None:
        what = ", ".join(lacking) or f"a time ({', '.join(TIME_COLUMNS)})"
        raise SourceError(f"{path}: bars need the columns {what}")
    columns = [*PRICE_COLUMNS, "volume"]
    frame = frame[[times, *columns]].dropna()
    if frame.empty:
        raise SourceError(f"{path}: holds no bar")
    minutes = _minutes(frame[times], path)
    try:
        values = frame[columns].apply(_plain).to_numpy(dtype=np.float64)
    except ValueError as error:
        raise SourceError(f"{path}: a price or volume is not a number: {error}") from error
    wrong = ~(np.isfinite(values).all(axis=1) & (values[:, :4] > 0).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise SourceError(f"{path}: bar {row + 1} has a price that is not above 0: {values[row]}")
    order = np.unique(minutes, return_index=True)[1]
    # Some minutes may be missing, but a common step above one means bars of another length.
    step = int(np.gcd.reduce(np.diff(minutes[order]))) if len(order) > 1 else 1
    if step != 1:
        raise SourceError(f"{path}: has a bar every {step} minutes; the engine needs every minute")
    return list(_bars(minutes[order].tolist(), values[order].tolist()))


def _read(path: Path, rows: int | None = None) -> Any:
    import pandas as pd

    try:
        style = file_format(path)
        if style == "parquet":
            if rows is None:
                return pd.read_parquet(path)
            from pyarrow import parquet

            return parquet.read_schema(path).empty_table().to_pandas()
        with text_of(open_raw(path, "r"), path, "r") as text:
            # By default pandas reads decimals fast, and off by a last bit.
            if style == "csv":
                return pd.read_csv(text, nrows=rows, float_precision="round_trip")
            return pd.read_json(text, lines=True, nrows=rows, precise_float=True)
    except (*DAMAGE, ValueError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def _plain(column: Any) -> Any:
    """Return a column with its texts as numbers; raises ValueError if one is not plain."""
    if column.dtype.kind in "iuf":
        return column
    return column.map(lambda cell: float_of(cell) if isinstance(cell, str) else cell)


def _minutes(times: Any, path: Path) -> Any:
    import pandas as pd

    try:
        if times.dtype.kind in "iuf":
            largest = float(times.max())
            unit = next(unit for least, unit in EPOCH_UNITS if largest >= least)
            stamps = pd.to_datetime(times, unit=unit, utc=True)
        else:
            stamps = pd.to_datetime(times, utc=True)
    except (ValueError, StopIteration) as error:
        raise SourceError(f"{path}: {times.name}: is not a time: {error}") from error
    epoch_ns = stamps.astype("datetime64[ns, UTC]").astype("int64").to_numpy()
    return epoch_ns // MINUTE_NS


def _bars(minutes: list[int], rows: list[list[float]]) -> Iterator[MinuteBar]:
    previous = math.nan
    for minute, row in zip(minutes, rows, strict=True):
        bar = bar_of_prices(minute, previous, Ohlcv(*row))
        previous = bar.close
        yield bar


def symbol_of(path: Path) -> str:
    """Return the symbol in a file's name: BTC-USD from coinbase_BTC-USD_1m.parquet."""
    stem = path.name.split(".")[0]
    return plain_text(next((part for part in stem.split("_") if "-" in part), stem), MAX_SYMBOL)
