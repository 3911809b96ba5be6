"""Bars as venues and programs write them: names, times, steps, files, symbols, faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.reading import bars_in
from volsvc.domain import SourceError
from volsvc.sources.recordings.bars import read_bars
from volsvc.sources.recordings.summary import ReadCounts
from volsvc.sources.recordings.tables.options import RowOptions

# 2026-01-05.
START_S = 1_767_571_200
ROWS = [(START_S + 60 * i, 100.0 + i, 101.5 + i, 99.5 + i, 100.5 + i, 2.0 * i) for i in range(9)]
MINUTES = [START_S // 60 + i for i in range(9)]


def csv_of(names: str, rows: list[tuple[Any, ...]], separator: str = ",") -> str:
    lines = [separator.join(map(str, row)) for row in rows]
    return "\n".join([names, *lines] if names else lines) + "\n"


def iso(second: int) -> str:
    return str(pd.Timestamp(second, unit="s"))


def with_times(of: Callable[[int], object]) -> list[tuple[Any, ...]]:
    return [(of(row[0]), *row[1:]) for row in ROWS]


OHLCV = "open,high,low,close,volume"
FORMS = {
    "freqtrade": csv_of(f"date,{OHLCV}", with_times(lambda s: f"{iso(s)}+00:00")),
    "tradingview": csv_of("time,open,high,low,close,Volume", ROWS),
    "yfinance": csv_of("Datetime,Open,High,Low,Close,Volume", with_times(lambda s: f"{iso(s)}Z")),
    "kaggle": csv_of("Timestamp,Open,High,Low,Close,Volume_(BTC)", with_times(float)),
    "klines": csv_of(f"open_time,{OHLCV},close_time", [(r[0] * 1000, *r[1:], 0) for r in ROWS]),
    "polygon": csv_of(
        "ticker,volume,open,close,high,low,window_start",
        [("BTC-USD", r[5], r[1], r[4], r[2], r[3], r[0] * 10**9) for r in ROWS],
    ),
    "short": csv_of("t,o,h,l,c,v", ROWS),
    "download": "https://example.com\n"
    + csv_of("unix,date,symbol,open,high,low,close,Volume BTC,Volume USD", [])
    + csv_of("", [(r[0] * 1000, iso(r[0]), "BTC-USD", *r[1:], 0) for r in reversed(ROWS)]),
    "semicolons": csv_of(f"time;{OHLCV.replace(',', ';')}", ROWS, ";").replace(".", ","),
    "kraken": csv_of("", [(*r, 7) for r in ROWS]),
    "binance": csv_of("", [(r[0] * 10**6, *r[1:], 0, 0, 7, 0, 0, 0) for r in ROWS]),
    "MetaTrader": csv_of(
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>",
        with_times(lambda s: iso(s).replace("-", ".").replace(" ", "\t")),
        "\t",
    ),
    "vwap": csv_of(f"time,{OHLCV},price", [(*r, 7) for r in ROWS]),
    "nothing": csv_of(f"time,{OHLCV}", [*ROWS, (START_S + 999, *["NaN"] * 5)]),
    "mixed units": csv_of(
        f"time,{OHLCV}", [(r[0] * 1000 ** (i % 3), *r[1:]) for i, r in enumerate(ROWS)]
    ),
    "objects": "\n".join(
        json.dumps(dict(zip(f"time,{OHLCV}".split(","), r, strict=True))) for r in ROWS
    ),
    "arrays": json.dumps([[r[0] * 1000, *map(str, r[1:]), 0, "0", 7, "0", "0", "0"] for r in ROWS]),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, tmp_path: Path) -> None:
    """The names and the layouts that people have are understood, with any unit of time."""
    path = tmp_path / "BTC-USD.dat"
    path.write_text(FORMS[form])
    (series,) = read_bars([path], RowOptions()).values()
    assert series.minutes.tolist() == MINUTES
    assert series.values.tolist() == [list(row[1:]) for row in ROWS]


@pytest.mark.parametrize("index", ["ts", None])
def test_the_time_as_index(index: str | None, tmp_path: Path) -> None:
    """A frame of pandas has the time as its index, with a name or without one."""
    frame = pd.DataFrame([row[1:] for row in ROWS], columns=OHLCV.split(","))
    frame.index = pd.DatetimeIndex(pd.to_datetime([r[0] for r in ROWS], unit="s"), name=index)
    frame.to_parquet(tmp_path / "BTC-USD.parquet")
    (series,) = read_bars([tmp_path / "BTC-USD.parquet"], RowOptions()).values()
    assert series.minutes.tolist() == MINUTES


def test_seconds_are_gathered(tmp_path: Path) -> None:
    """Bars of a second become the bar of their minute, with a minute that has only one."""
    rows = [(START_S + s, 10 + s, 20 + s, 9 - s % 5, 12 + s, 1) for s in (0, 1, 59, 60)]
    (tmp_path / "BTC-USD.csv").write_text(csv_of(f"time,{OHLCV}", rows))
    (series,) = read_bars([tmp_path / "BTC-USD.csv"], RowOptions()).values()
    assert series.minutes.tolist() == MINUTES[:2]
    assert series.values.tolist() == [[10, 79, 5, 71, 3], [70, 80, 9, 72, 1]]


@pytest.mark.parametrize("odd_s", [0, 7, 60])
def test_longer_bars_are_refused(odd_s: int, tmp_path: Path) -> None:
    """Five minutes are no minute, also if one bar is out of step; the error says so."""
    rows = [(START_S + 300 * i + odd_s * (i == 3), 1, 1, 1, 1, 1) for i in range(9)]
    (tmp_path / "BTC-USD.csv").write_text(csv_of(f"time,{OHLCV}", rows))
    with pytest.raises(SourceError, match=r"BTC-USD has a bar every 5 minutes; the engine needs"):
        bars_in(tmp_path / "BTC-USD.csv")


def test_minutes_may_be_missing(tmp_path: Path) -> None:
    """A thin market has no bar for most of its minutes."""
    minutes = [0, 2, 3, 7, 8, 11, 16, 18, 19]
    rows = [(START_S + 60 * minute, 1, 1, 1, 1, 1) for minute in minutes]
    (tmp_path / "BTC-USD.csv").write_text(csv_of(f"time,{OHLCV}", rows))
    assert [bar.minute - START_S // 60 for bar in bars_in(tmp_path / "BTC-USD.csv")["BTC-USD"]] == (
        minutes
    )


@pytest.mark.parametrize(
    ("names", "symbols"),
    [
        (("BTCUSDT-1m-2026-01.csv", "BTCUSDT-1m-2026-02.csv"), {"BTCUSDT": 9}),
        (("BTC-USD_jan.csv", "BTC-USD_feb.csv"), {"BTC-USD": 9}),
        (("BTC-USD.csv", "ETH-USD.csv"), {"BTC-USD": 4, "ETH-USD": 5}),
    ],
)
def test_files_of_a_symbol_are_one_series(
    names: tuple[str, str], symbols: dict[str, int], tmp_path: Path
) -> None:
    """They are joined in time, whatever their order; those of two symbols are two."""
    paths = [tmp_path / name for name in names]
    for path, rows in zip(paths, (ROWS[:4], ROWS[4:]), strict=True):
        path.write_text(csv_of(f"time,{OHLCV}", rows))
    found = bars_in(*reversed(paths))
    assert {symbol: len(bars) for symbol, bars in found.items()} == symbols
    if len(symbols) == 1:
        (tmp_path / "BTC-USD-whole.csv").write_text(csv_of(f"time,{OHLCV}", ROWS))
        (whole,) = bars_in(tmp_path / "BTC-USD-whole.csv").values()
        assert list(found.values()) == [whole]


def test_two_venues_are_never_one_series(tmp_path: Path) -> None:
    """Neither by the names of overlapping files, nor by a column."""
    for venue in ("coinbase", "kraken"):
        (tmp_path / f"{venue}_BTC-USD.csv").write_text(csv_of(f"time,{OHLCV}", ROWS))
    found = bars_in(*sorted(tmp_path.iterdir()))
    assert sorted(found) == ["BTC-USD (coinbase_BTC-USD)", "BTC-USD (kraken_BTC-USD)"]
    rows = [row for r in ROWS for row in (("a", *r), ("b", *r))]
    (tmp_path / "both.csv").write_text(csv_of(f"exchange,time,{OHLCV}", rows))
    found = bars_in(tmp_path / "both.csv", symbol="BTC-USD")
    assert {symbol: len(bars) for symbol, bars in found.items()} == {"BTC-USD": 9, "b:BTC-USD": 9}


def test_lengths_of_bars_are_told_apart(tmp_path: Path) -> None:
    """A file of five minutes is no month of the same bars, and a column may tell."""
    for name in ("BTC_USDT-1m.csv", "BTC_USDT-5m.csv"):
        step = 300 if "5m" in name else 60
        rows = [(START_S + step * i, 1, 1, 1, 1, 1) for i in range(9)]
        (tmp_path / name).write_text(csv_of(f"time,{OHLCV}", rows))
    with pytest.raises(SourceError, match=r"BTC_USDT-5m\.csv: .* a bar every 5 minutes"):
        bars_in(*sorted(tmp_path.iterdir()))
    of_several = [(*r, interval) for r in ROWS for interval in ("5m", "1m", "1h")]
    (tmp_path / "BTC-USD.csv").write_text(csv_of(f"time,{OHLCV},interval", of_several))
    counts = ReadCounts()
    read_bars([tmp_path / "BTC-USD.csv"], RowOptions(), counts)
    assert (counts.taken, counts.by_reason["interval"]) == (9, 18)


@pytest.mark.parametrize("factor", [0.0001, 10.0, 1.2])
def test_one_bad_bar(factor: float, tmp_path: Path) -> None:
    """A close that is far off, and back again, is left out and counted; a jump is not."""
    rng = np.random.default_rng(1)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, 300)))
    jumped = np.where(np.arange(300) < 200, closes, closes * 1.1)
    rows = [[START_S + 60 * i, c, c * 1.001, c * 0.999, c, 1] for i, c in enumerate(jumped)]
    for at in (100, 200, 299):
        rows[at][1:5] = [value * factor for value in rows[at][1:5]]
    (tmp_path / "BTC-USD.csv").write_text(csv_of(f"time,{OHLCV}", [*map(tuple, rows)]))
    counts = ReadCounts()
    (series,) = read_bars([tmp_path / "BTC-USD.csv"], RowOptions(), counts).values()
    assert (counts.taken, counts.by_reason["bad_print"]) == (298, 2)
    gone = {START_S // 60 + 100, START_S // 60 + 200}
    assert gone.isdisjoint(series.minutes.tolist())
    (series,) = read_bars([tmp_path / "BTC-USD.csv"], RowOptions(bad_print_sigmas=0)).values()
    assert len(series.minutes) == 300


CELLS = st.sampled_from(["1", "2", "3", "", "0", "-1", "x", "nan", "1e30"])
TIME_CELLS = st.sampled_from([*(str(START_S + 60 * i) for i in range(4)), "", "7", "soon"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TIME_CELLS, *[CELLS] * 5), max_size=12))
def test_every_row_is_accounted_for(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """Rows read are those taken, those of a time that came before, and those refused."""
    path = tmp_path / "BTC-USD.csv"
    # One good bar: without it there is an error instead of a summary.
    rows = [(str(START_S), "2", "3", "1", "2", "5"), *rows]
    path.write_text(csv_of(f"time,{OHLCV}", rows))
    counts = ReadCounts()
    try:
        found = read_bars([path], RowOptions(), counts)
    except SourceError:
        # Bars that are some minutes apart count as longer ones.
        return
    assert counts.read == len(rows)
    assert counts.taken == sum(len(series.minutes) for series in found.values())
    for series in found.values():
        start, high, low, end, volume = series.values.T
        assert np.all((low <= start) & (start <= high) & (low <= end) & (end <= high))
        assert np.all((low > 0) & (volume >= 0))


def test_decimals_and_texts_of_databases(tmp_path: Path) -> None:
    """Parquet with decimals, binary texts and times in milliseconds is read."""
    table = pa.table(
        {
            "ts": pa.array([r[0] * 1000 for r in ROWS], pa.timestamp("ms")),
            "symbol": pa.array([b"BTC-USD"] * 9, pa.binary()),
            **{
                name: pa.array([r[at] for r in ROWS]).cast(pa.decimal128(18, 6))
                for at, name in enumerate(OHLCV.split(","), 1)
            },
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    (series,) = read_bars([tmp_path / "a.parquet"], RowOptions()).values()
    assert series.values.tolist() == [list(row[1:]) for row in ROWS]
