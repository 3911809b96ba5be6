"""Files of many forms that hold the same ticks."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from tests.reading import parsed, ticks_in
from volsvc.commands.files import features_file
from volsvc.config.settings import load_settings
from volsvc.domain import NS, SourceError, Tick, format_time
from volsvc.sources.recordings.tables.lines import zstd
from volsvc.transport.codec import encode_tick

START_NS = 1_767_571_200 * NS
TICKS = [
    Tick("ETH-USD", START_NS + i * NS // 4, 3_000.5 + i, None, None, 0.25 * i, None, 100 + i)
    for i in range(150)
]
NAMES = {
    "time": ("time", "Timestamp", "transact_time", "unix", "date"),
    "symbol": ("symbol", "product_id", "Pair", "instrument_name"),
    "price": ("price", "Last", "trade_price"),
    "size": ("size", "qty", "Amount"),
    "trade_id": ("trade_id", "id", "agg_trade_id", "tradeId"),
}
TIMES: dict[str, Callable[[int], str]] = {
    "rfc 3339": format_time,
    "blank": lambda ns: format_time(ns).replace("T", " ").removesuffix("Z"),
    "database": lambda ns: format_time(ns).replace("T", " ").replace("Z", "+00"),
    "gmt": lambda ns: format_time(ns).replace("T", " ").replace("Z", " GMT"),
    "bitmex": lambda ns: format_time(ns).replace("T", "D").removesuffix("Z"),
    "s": lambda ns: f"{ns / NS!r}",
    "ms": lambda ns: str(ns // 10**6),
    "us": lambda ns: str(ns // 10**3),
    "ns": str,
    "exponent": lambda ns: f"{ns // 10**6:.12e}",
}


def zipped(text: bytes) -> bytes:
    """Return an archive with the text in one file."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", text)
    return held.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped,
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
PREAMBLES = ("", "# made by a collector\n", "https://www.example.com\n", "\n\n")


@st.composite
def dialects(draw: st.DrawFn) -> dict[str, Any]:
    """Return a form of a file."""
    return {
        "separator": draw(st.sampled_from([",", ";", "\t", "|", ", "])),
        "packing": draw(st.sampled_from(list(PACKED))),
        "encoding": draw(st.sampled_from(ENCODINGS)),
        "preamble": draw(st.sampled_from(PREAMBLES)),
        "times": draw(st.lists(st.sampled_from(list(TIMES)), min_size=1, max_size=3)),
        "names": {field: draw(st.sampled_from(names)) for field, names in NAMES.items()},
        "order": draw(st.permutations(list(NAMES))),
        "quoted": draw(st.booleans()),
        "ends": draw(st.sampled_from(["\n", "\r\n"])),
    }


def records(dialect: dict[str, Any]) -> list[dict[str, str]]:
    """Return the ticks as texts by name; times may be of several forms."""
    kinds, names = [TIMES[name] for name in dialect["times"]], dialect["names"]
    rows = []
    for number, tick in enumerate(TICKS):
        values = {
            "time": kinds[number % len(kinds)](tick.time_ns),
            "symbol": tick.symbol,
            "price": str(tick.price),
            "size": str(tick.size),
            "trade_id": str(tick.trade_id),
        }
        rows.append({names[field]: values[field] for field in dialect["order"]})
    return rows


def written(dialect: dict[str, Any]) -> bytes:
    """Return the ticks as a CSV file."""
    quote = '"{}"'.format if dialect["quoted"] else str
    rows = records(dialect)
    lines = [dialect["separator"].join(rows[0])]
    for row in rows:
        if dialect["separator"] == ";":
            decimals = (dialect["names"]["price"], dialect["names"]["size"])
            row |= {name: row[name].replace(".", ",") for name in decimals}
        lines.append(dialect["separator"].join(map(quote, row.values())))
    text = dialect["preamble"] + dialect["ends"].join(lines) + dialect["ends"]
    return PACKED[dialect["packing"]](text.encode(dialect["encoding"]))


def said(ticks: list[Any]) -> list[tuple[Any, ...]]:
    assert all(isinstance(tick, Tick) for tick in ticks), ticks
    return [(t.symbol, t.time_ns, t.price, t.size, t.trade_id) for t in ticks]


def features_of(path: Path, folder: Path) -> bytes:
    """Return the features of a recording, as the command writes them."""
    out = folder / "features.csv"
    features_file(load_settings(None), [path], out, "text")
    return out.read_bytes()


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the features of our own form of the recording."""
    folder = tmp_path_factory.mktemp("own")
    lines = [encode_tick(tick).value or b"" for tick in TICKS]
    (folder / "own.ndjson").write_bytes(b"\n".join(lines))
    return features_of(folder / "own.ndjson", folder)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialects())
def test_one_recording_in_many_dialects(
    tmp_path: Path, features: bytes, dialect: dict[str, Any]
) -> None:
    """Separator, encoding, packing, unit of time, names, their order and quotes change nothing."""
    # The name says nothing about what is inside.
    path = tmp_path / "t.dat"
    path.write_bytes(written(dialect))
    assert said(parsed(path)) == said(TICKS)
    assert features_of(path, tmp_path) == features


def as_table(rows: list[dict[str, str]]) -> pa.Table:
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})


def in_frame(dialect: dict[str, Any], path: Path) -> None:
    """Write the ticks as pandas does: the time is the index, of its own type."""
    frame = as_table(records({**dialect, "times": ["rfc 3339"]})).to_pandas()
    time = dialect["names"]["time"]
    frame[time] = pd.to_datetime(frame[time], utc=True, format="ISO8601")
    frame = frame.astype({dialect["names"]["price"]: float, dialect["names"]["trade_id"]: int})
    frame.set_index(time).to_parquet(path)


def in_database_types(dialect: dict[str, Any], path: Path) -> None:
    """Write decimals, binary texts, a dictionary and times in microseconds."""
    names, table = dialect["names"], as_table(records({**dialect, "times": ["us"]}))
    kinds = {
        "time": pa.timestamp("us"),
        "price": pa.decimal128(20, 8),
        "size": pa.decimal128(12, 4),
        "symbol": pa.dictionary(pa.int32(), pa.string()),
        "trade_id": pa.binary(),
    }
    for field, kind in kinds.items():
        column = table[names[field]]
        column = column.cast(pa.int64()).cast(kind) if field == "time" else column.cast(kind)
        table = table.set_column(table.schema.get_field_index(names[field]), names[field], column)
    parquet.write_table(table, path)


WRITERS: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "lines": lambda dialect, path: path.write_text("\n".join(map(json.dumps, records(dialect)))),
    "array": lambda dialect, path: path.write_text(json.dumps(records(dialect), indent=1)),
    "packed array": lambda dialect, path: path.write_bytes(
        gzip.compress(json.dumps(records(dialect)).encode())
    ),
    "parquet": lambda dialect, path: parquet.write_table(as_table(records(dialect)), path),
    "feather": lambda dialect, path: feather.write_feather(as_table(records(dialect)), path),
    "pandas": in_frame,
    "database": in_database_types,
}


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialects())
def test_one_recording_in_many_formats(
    tmp_path: Path, features: bytes, writer: str, dialect: dict[str, Any]
) -> None:
    """JSON by line and as an array, Parquet and Feather with any types are the same recording."""
    path = tmp_path / "t"
    WRITERS[writer](dialect, path)
    assert said(parsed(path)) == said(TICKS)
    assert features_of(path, tmp_path) == features


@pytest.mark.parametrize(
    "rows",
    [
        "1767571200,3000.5,0.1\n1767571201,3001.5,0.1\n",
        "7,3000.5,0.1,8,9,1767571200000,True,True\n8,3001.5,0.1,8,9,1767571201000,false,true\n",
        "7,3000.5,0.1,8,9,1767571200000000,true\n8,3001.5,0.1,8,9,1767571201000000,true\n",
        "7,3000.5,0.1,300,1767571200000,true,true\n8,3001.5,0.1,300,1767571201000,true,true\n",
        "7,3000.5,0.1,300,1767571200000,true\n8,3001.5,0.1,300,1767571201000,true\n",
    ],
    ids=["kraken", "binance aggregated", "its futures", "binance trades", "of its futures"],
)
def test_files_of_venues_without_names_of_columns(rows: str, tmp_path: Path) -> None:
    """The layout is known by its shape, and the symbol by the file's name."""
    path = tmp_path / "ETHUSDT-trades-2026-01.csv"
    path.write_text(rows)
    expected = [("ETHUSDT", START_NS, 3000.5, 0.1), ("ETHUSDT", START_NS + NS, 3001.5, 0.1)]
    assert [row[:4] for row in said(parsed(path))] == expected


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("1,2\n3,4\n", "has no names of columns: its first line is 1,2; write the names"),
        ("1767571200000," + "9," * 9 + "0\n", "give them, such as --columns"),
        ("time,open,high,low,close,volume\n1767571200,1,1,1,1,1\n", "holds bars, not ticks"),
        ("Name,Price\nx,1\n", "missing column 'time'"),
        ("title\n" * 40, "missing column 'time'"),
    ],
)
def test_files_that_are_not_understood(content: str, fault: str, tmp_path: Path) -> None:
    """The error says what is lacking."""
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(SourceError, match=r"t\.csv: ") as raised:
        parsed(path)
    assert fault in str(raised.value)


FORMS = {
    "days apart": "date,time,symbol,price\n2026.01.05,00:00:01.5,A,5\n2026.01.05,00:00:02,A,6",
    "MetaTrader": "<TICKER>\t<DATE>\t<TIME>\t<BID>\t<ASK>\nA\t2026.01.05\t00:00:01.5\t4\t6\n"
    "A\t2026.01.05\t00:00:02\t5\t7",
    "camel case": "Symbol,Trade Time,bidPrice,askPrice\nA,2026/01/05 00:00:01.5,4,6\n"
    "A,2026/01/05 00:00:02,5,7",
    "two languages": "instrument_name/合约,created_time/成交时间,price/价格\n"
    "A,1767571201500,5\nA,1767571202000,6",
    "assets": "time,coin,price\n20260105 000001.5,A,5\n20260105000002,A,6",
    "bases": "time,base,price\n20260105 000001500,A,5\n20260105000002,A,6",
    "markets": "time,market,symbol,price\n1767571201.5,kraken,A,5\n1767571202,kraken,A,6",
    "orders": "time,type,symbol,price\n1767571201.5,match,A,5\n1767571201.6,open,A,1\n"
    "1767571202,match,A,6",
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms(form: str, tmp_path: Path) -> None:
    """Days beside times of day, names with other marks, and names of other programs."""
    (tmp_path / "t.csv").write_text(FORMS[form])
    found = [(tick.symbol, tick.time_ns - START_NS, tick.price) for tick in ticks_in(tmp_path)]
    assert found == [("A", 3 * NS // 2, 5.0), ("A", 2 * NS, 6.0)]


def test_a_book_is_no_recording_of_ticks(tmp_path: Path) -> None:
    """Changes of a book have times and prices, which nobody paid."""
    path = tmp_path / "BTC-USD.csv"
    path.write_text("timestamp,is_snapshot,side,price,amount\n1767571200,false,bid,5,1\n")
    with pytest.raises(SourceError, match="holds changes of an order book"):
        parsed(path)


UNKNOWN = {
    "funding": ("XBTUSD.csv", "time,funding,interest\n1767571200,94000.5,0.1\n", "'price'"),
    "a header of bars": (
        "XBTUSD.csv",
        "bar_start,close,high,low,first,volume,n\n1767571200,1,1,1,1,1,7\n",
        "missing column 'time'",
    ),
    "three numbers": ("a.csv", "1767571200,1,94000\n1767571201,2,94001\n", "no names of columns"),
    "twice": ("a.csv", "time,symbol,price,price\n1767571200,A,1,2\n", "two columns of the name"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_nothing_is_read_by_its_place_alone(case: str, tmp_path: Path) -> None:
    """Names that are not known are no title, and three numbers are no layout."""
    name, content, fault = UNKNOWN[case]
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=fault):
        parsed(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("coinbase_BTC-USD_1m.csv", "BTC-USD"),
        ("BTCUSDT-1m-2025-01.csv", "BTCUSDT"),
        ("ETHUSDT-aggTrades-2025-01-01.csv.gz", "ETHUSDT"),
        ("XBTUSD.csv", "XBTUSD"),
        ("spot_btcusdt_20240808_trades.csv", "BTCUSDT"),
        ("btc-usd.csv", "BTC-USD"),
        ("country.csv", "country"),
        ("Binance_BTCUSDT_minute.csv", "BTCUSDT"),
        ("BTC-USDT-SWAP-trades-2025-01-01.csv", "BTC-USDT-SWAP"),
        ("BTC_USDT-1m.csv", "BTC-USDT"),
        ("BTC_USDT_USDT-1m-futures.csv", "BTC-USDT:USDT"),
        ("ticks.csv", "ticks"),
    ],
)
def test_symbols_of_files(name: str, symbol: str, tmp_path: Path) -> None:
    """Rows without a symbol have that of their file's name; one that is given comes first."""
    path = tmp_path / name
    content = b"time,price\n1767571200,5\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert [tick.symbol for tick in ticks_in(path)] == [symbol]
    assert [tick.symbol for tick in ticks_in(path, symbol="Z-USD")] == ["Z-USD"]
