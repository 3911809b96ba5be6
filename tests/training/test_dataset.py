"""Data sets of recordings: bars in every format, ticks, faults, and the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.reading import bars_in
from tests.simulated import bars, constant, write_bars
from volsvc.domain import NS, SourceError, Tick
from volsvc.domain.tick_columns import TickColumns, columns_of_ticks
from volsvc.features import FLOOR_PER_MINUTE
from volsvc.sources.recordings.bars import grouped
from volsvc.sources.recordings.file_names import symbol_of_name
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.training.dataset import Minutes, load_panel
from volsvc.training.fit import FitSpec, sample


def no_ticks(files: Sequence[Path]) -> Iterator[TickColumns]:
    raise AssertionError(f"{files} hold bars")


def load(path: Path, cache: Path) -> Minutes:
    (symbol,) = load_panel([path], cache, no_ticks)
    return symbol


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "somewhere_BTC-USD_1m.csv"
    write_bars(path, constant(5e-4, 300), seed=1)
    return path


def test_every_format_gives_the_same(csv: Path, tmp_path: Path) -> None:
    """CSV, NDJSON and Parquet give equal bars, with times as text or numbers, compressed or not."""
    frame = pd.read_csv(csv)
    stamps = pd.to_datetime(frame["ts"], utc=True)
    frame.to_parquet(tmp_path / "BTC-USD.parquet")
    numbers = frame.assign(ts=stamps.astype("datetime64[ms, UTC]").astype("int64"))
    numbers.rename(columns={"ts": "open_time"}).to_csv(tmp_path / "BTC-USD.csv.gz", index=False)
    frame.to_json(tmp_path / "BTC-USD.ndjson", orient="records", lines=True, double_precision=15)
    (first,) = bars_in(csv).values()
    for name in ("BTC-USD.parquet", "BTC-USD.csv.gz", "BTC-USD.ndjson"):
        assert grouped([tmp_path / name], RowOptions()).bars == [[tmp_path / name]]
        (other,) = bars_in(tmp_path / name).values()
        assert [bar.minute for bar in other] == [bar.minute for bar in first]
        assert np.allclose([b.close for b in other], [b.close for b in first], rtol=1e-15)


def test_symbols_of_a_column(csv: Path, tmp_path: Path) -> None:
    """A file of several symbols gives the bars of each."""
    frame = pd.read_csv(csv, float_precision="round_trip")
    both = pd.concat([frame.assign(symbol="AAA-USD"), frame.assign(symbol="BBB-USD")])
    both.sort_values("ts").to_csv(tmp_path / "all.csv", index=False)
    (alone,) = bars_in(csv).values()
    assert bars_in(tmp_path / "all.csv") == {"AAA-USD": alone, "BBB-USD": alone}


def test_symbol_of_a_file() -> None:
    """The symbol is the part of the name with a hyphen."""
    assert symbol_of_name(Path("coinbase_BTC-EUR_1m.csv.gz")) == "BTC-EUR"
    assert symbol_of_name(Path("XRP-USD.parquet")) == "XRP-USD"


def test_realised_is_what_follows(csv: Path, tmp_path: Path) -> None:
    """RV at a minute is the sum of the proxy over the minutes after it, without that minute."""
    symbol = load(csv, tmp_path / "cache")
    for horizon, ahead in ((300.0, 5), (3600.0, 60)):
        realised = symbol.realised(horizon)
        expected = symbol.variance[101 : 101 + ahead].sum()
        assert realised[100] == pytest.approx(max(expected, FLOOR_PER_MINUTE * ahead))
        assert np.isnan(realised[-ahead:]).all()
        assert not np.isnan(realised[:-ahead]).any()
    assert symbol.realised(60.0)[100] == pytest.approx(max(symbol.range[101], FLOOR_PER_MINUTE))


def test_second_load_comes_from_the_cache(csv: Path, tmp_path: Path) -> None:
    """The same bytes are processed once, and give the same rows the second time."""
    cache = tmp_path / "cache"
    counted: list[int] = []
    (first,) = load_panel([csv], cache, no_ticks, counted.append)
    (second,) = load_panel([csv], cache, no_ticks, counted.append)
    assert sum(counted) == len(first) == 300
    assert second.scales.tobytes() == first.scales.tobytes()


def test_ticks_give_complete_minutes(tmp_path: Path) -> None:
    """Ticks give a row for each complete minute, without a missing feature."""
    path = tmp_path / "ticks.ndjson"
    path.write_text('{"symbol":"BTC-USD","time":"2026-01-05T00:00:00Z","price":1}\n')

    def ticks(_: Sequence[Path]) -> Iterator[TickColumns]:
        recorded = bars(constant(5e-4, 200), seed=3)
        for minute, *prices in recorded[["minute", "low", "high", "close"]].tolist():
            yield columns_of_ticks(
                [
                    Tick("BTC-USD", (minute * 60 + second) * NS, price, size=1.0)
                    for second, price in zip((0, 20, 40), prices, strict=True)
                ]
            )

    (symbol,) = load_panel([path], tmp_path / "cache", ticks)
    assert symbol.ticks
    assert symbol.symbol == "BTC-USD"
    assert len(symbol) == 199
    assert np.isfinite(symbol.scales).all()


def test_files_of_a_symbol_are_one_data_set(csv: Path, tmp_path: Path) -> None:
    """Months in files of their own give the rows of the whole, and the report names them all."""
    head, *lines = csv.read_text().splitlines()
    parts = [tmp_path / f"BTC-USD-1m-2026-0{month}.csv" for month in (1, 2, 3)]
    for at, path in enumerate(parts):
        path.write_text("\n".join([head, *lines[100 * at : 100 * (at + 1)]]))
    whole = load(csv, tmp_path / "cache")
    (joined,) = load_panel(parts, tmp_path / "cache", no_ticks)
    assert joined.symbol == whole.symbol
    assert joined.scales.tobytes() == whole.scales.tobytes()
    assert joined.variance.tobytes() == whole.variance.tobytes()
    (same,) = load_panel(parts, tmp_path / "cache", no_ticks)
    assert same.digest == joined.digest != whole.digest


def without(csv: Path, first: int, last: int) -> Path:
    """Return a file with the same name and the same bars, but for some."""
    head, *lines = csv.read_text().splitlines()
    path = csv.parent / "holes" / csv.name
    path.parent.mkdir()
    path.write_text("\n".join([head, *lines[:first], *lines[last + 1 :]]))
    return path


@pytest.mark.parametrize(("silent", "observed"), [(59, True), (60, False)])
def test_a_horizon_with_a_hole_is_not_observed(
    silent: int, observed: bool, csv: Path, tmp_path: Path
) -> None:
    """An hour and more that is missing leaves no outcome; less is a silent market."""
    first, last = 100, 99 + silent
    symbol = load(without(csv, first, last), tmp_path / "cache")
    assert len(symbol) == 300
    for horizon in (60.0, 300.0, 900.0, 3600.0):
        ahead = round(horizon / 60)
        unknown = np.isnan(symbol.realised(horizon)[:-ahead])
        expected = np.arange(300 - ahead)
        # The return of the first minute after the hole is that of the whole hole.
        reaches = (expected + ahead >= first) & (expected <= last)
        assert (unknown == (reaches & (not observed))).all()


def test_a_fit_leaves_out_what_was_not_observed(csv: Path, tmp_path: Path) -> None:
    """Training rows have an outcome, and no row is one of a hole."""
    symbol = load(without(csv, 100, 199), tmp_path / "cache")
    rows = sample([symbol], 300.0, symbol.start + 300, FitSpec(step_minutes=1))
    assert np.isfinite(rows.realised).all()
    inside = np.arange(95, 200) + symbol.start
    assert not np.isin(rows.minute, inside).any()


def test_years_apart_are_data_sets_of_their_own(csv: Path, tmp_path: Path) -> None:
    """A symbol that was away for longer than its slow level is remembered begins anew."""
    head, *lines = csv.read_text().splitlines()
    earlier = [line.replace("2026-", "2025-", 1) for line in lines]
    path = tmp_path / "both" / csv.name
    path.parent.mkdir()
    path.write_text("\n".join([head, *earlier, *lines]))
    alone = load(csv, tmp_path / "cache")
    first, second = load_panel([path], tmp_path / "cache", no_ticks)
    assert second.scales.tobytes() == alone.scales.tobytes()
    assert first.variance.tobytes() == alone.variance.tobytes()
    assert [first.symbol, second.symbol] == [
        "BTC-USD from 2025-01-05T00:00",
        "BTC-USD from 2026-01-05T00:00",
    ]


HEAD = "ts,open,high,low,close,volume\n"
MIDNIGHT = "2026-01-01T00:00Z"
FAULTS = {
    "no volume": (f"ts,open,high,low,close\n{MIDNIGHT},1,1,1,1", "column 'volume'"),
    "no time": ("open,high,low,close,volume\n1,1,1,1,1", "column 'time'"),
    "bad time": (f"{HEAD}soon,1,1,1,1,1", "line 2: field 'time': 'soon' is neither"),
    "day first": (f"{HEAD}13/01/2026,1,1,1,1,1", "write the year first"),
    "of 1970": (f"{HEAD}1735689,1,1,1,1,1", "is outside 2009 to 2100"),
    "of tomorrow": (f"{HEAD}2099-01-01T00:00Z,1,1,1,1,1", "is in the future"),
    "text": (f"{HEAD}{MIDNIGHT},1,1,x,1,1", "field 'low': 'x' is not a price above 0"),
    "underscore": (f"{HEAD}{MIDNIGHT},1,1_0,1,1,1", "'1_0' is not a price above 0"),
    "full width": (f"{HEAD}{MIDNIGHT},1,\uff11,1,1,1", "is not a price above 0"),
    "price": (f"{HEAD}{MIDNIGHT},1,1,-1,1,1", "'-1' is not a price above 0"),
    "high": (f"{HEAD}{MIDNIGHT},1,1,2,1,1", "field 'high': '1' is below the low, '2'"),
    "close": (f"{HEAD}{MIDNIGHT},1,2,1,3,1", "field 'close': '3' is outside '1' to '2'"),
    "volume": (f"{HEAD}{MIDNIGHT},1,1,1,1,-1", "field 'volume': '-1' is not 0 or more"),
    "nothing": (f"{HEAD}{MIDNIGHT},,,,,", "is missing, as all of the bar"),
    "empty": (HEAD, "holds no bar"),
    "hours": (f"{HEAD}{MIDNIGHT},1,1,1,1,1\n2026-01-01T01:00Z,1,1,1,1,1", "every 60 minutes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault: str, tmp_path: Path) -> None:
    """A file without usable bars raises SourceError with the fault."""
    text, message = FAULTS[fault]
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        bars_in(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file raises SourceError with its name."""
    with pytest.raises(SourceError, match=r"x\.csv"):
        load_panel([tmp_path / "x.csv"], tmp_path / "cache", no_ticks)
