"""Blocks that Arrow parses at once give what the careful way gives, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.reading import parsed
from volsvc.domain import Tick
from volsvc.sources.recordings import recording
from volsvc.sources.recordings.tables import blocks

NS = 1_767_571_200 * 10**9
TIMES = st.one_of(
    st.sampled_from(
        [
            *("2026-01-05T00:00:00Z", "2026-01-05 00:00:00.5", "2026-01-05T00:00:00.123456789Z"),
            *(
                "2026-01-05T00:00:00+00:00",
                "2026-01-05 00:00",
                "2026-01-05",
                "2026-02-30T00:00:00Z",
            ),
            *("2026-01-05T24:00:00Z", "2026-01-05T00:00:60Z", "20260105T000000Z", "05/01/2026"),
            *("1767571200", "1767571200.25", "1767571200123", "1767571200123.25", "0x6960", "1e9"),
            *("1767571200123456", "1767571200123456789", "12345678901234567890", "-1767571200"),
            *("", " ", "soon", "nan", "inf", "+1767571200", "1767571200.", "99999999999"),
            *("1767571200123456.123", "1767571200.123456789", "9223372036854775807", "1735689"),
        ]
    ),
    st.integers(0, 2**64).map(str),
    st.floats(1e9, 2e9).map(repr),
)
NUMBERS = st.one_of(
    st.sampled_from(
        [
            *("1", "1.5", "+1.5", "-1.5", "0", "1e5", "1E-5", ".5", "5.", "", " 1 ", "nan", "inf"),
            *(
                "Infinity",
                "-inf",
                "1_0",
                "\uff11",
                "0x10",
                "1,5",
                "1e400",
                "1e-400",
                "1e16",
                "NULL",
            ),
        ]
    ),
    st.floats(1e-3, 1e9).map(repr),
)
IDS = st.sampled_from(
    [
        *(
            "1",
            "007",
            "0",
            "",
            "-5",
            "88000.0",
            "1.5",
            "9223372036854775807",
            "9223372036854775808",
        ),
        *("0x1f", "b5f4c2", "true", " 12 ", "12345678901234567890123", "6f9619ff-8b86-d011"),
    ]
)
SYMBOLS = st.sampled_from(["BTC-USD", "ETH/USD", "", " SOL-USD ", "a b", "币安-USDT", "x" * 65])
SIDES = st.sampled_from(["buy", "SELL", "", "?", " Buy "])
EXCHANGES = st.sampled_from(["coinbase", "Kraken", "", "a b"])
COLUMNS: dict[str, st.SearchStrategy[str]] = {
    "time": TIMES,
    "symbol": SYMBOLS,
    "price": NUMBERS,
    "bid": NUMBERS,
    "ask": NUMBERS,
    "size": NUMBERS,
    "side": SIDES,
    "id": IDS,
    "sequence": IDS,
    "exchange": EXCHANGES,
}
PLAIN = ["1767571200", "BTC-USD", "1.5", "1", "2", "0.5", "buy", "7", "8", "coinbase"]


@st.composite
def rows(draw: st.DrawFn) -> list[list[str]]:
    """Return rows of cells, most of which are plain."""
    found = []
    for _ in range(draw(st.integers(1, 12))):
        cells = list(PLAIN)
        for at, strategy in enumerate(COLUMNS.values()):
            if draw(st.integers(0, 3)) == 0:
                cells[at] = draw(strategy)
        found.append(cells)
    return found


ODD_LINES = st.sampled_from(
    ["", "  ", "1,2", ",".join([*PLAIN, "more"]), ",".join(PLAIN) + '"', '"' + ",".join(PLAIN)]
)


def said(found: list[Any]) -> list[str]:
    return [repr(one) if isinstance(one, Tick) else f"{one}" for one in found]


@pytest.fixture
def smallest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Arrow parse blocks of any size."""
    monkeypatch.setattr(blocks, "_SMALL", 0)


def by_arrow_and_by_hand(path: Path) -> tuple[list[str], list[str]]:
    fast = said(parsed(path, symbol="X-USD"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_arrow_csv", lambda: None)
        return fast, said(parsed(path, symbol="X-USD"))


@pytest.mark.usefixtures("smallest_blocks")
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows(),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.tuples(st.integers(0, 12), ODD_LINES), max_size=1),
    st.sampled_from(["", '"']),
)
def test_csv(
    tmp_path: Path,
    found: list[list[str]],
    separator: str,
    end: str,
    odd: list[tuple[int, str]],
    quote: str,
) -> None:
    """Ticks and errors are equal, whatever is in the cells and the lines."""
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in cells) for cells in found]
    for at, line in odd:
        lines.insert(at, line)
    path = tmp_path / "a.csv"
    path.write_text(end.join([separator.join(COLUMNS), *lines]), newline="")
    fast, careful = by_arrow_and_by_hand(path)
    assert fast == careful


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows())
@example([PLAIN] * 3)
def test_parquet_of_texts(tmp_path: Path, found: list[list[str]]) -> None:
    """A column of texts in Parquet is read as the same column of a CSV file is by hand."""
    columns = {
        name: pa.array([cells[at].strip() or None for cells in found], pa.string())
        for at, name in enumerate(COLUMNS)
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    lines = [",".join(f'"{cell}"' for cell in cells) for cells in found]
    (tmp_path / "a.csv").write_text("\n".join([",".join(COLUMNS), *lines]))
    _, careful = by_arrow_and_by_hand(tmp_path / "a.csv")
    table = said(parsed(tmp_path / "a.parquet", symbol="X-USD"))
    assert [text.replace("parquet", "csv") for text in table] == careful


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "time": TIMES | st.floats(1e9, 2e18) | st.integers(-5, 2**65) | st.booleans(),
    "symbol": SYMBOLS | st.none() | st.just(7),
    "price": NUMBERS | st.floats() | st.integers(-5, 2**65) | st.booleans() | st.just([1]),
    "bid": NUMBERS | st.none() | st.floats(),
    "ask": NUMBERS | st.none() | st.integers(0, 9),
    "size": NUMBERS | st.none() | st.floats(),
    "side": SIDES | st.none() | st.just(1),
    "id": IDS | st.none() | st.integers(-5, 2**70) | st.floats(0, 9),
    "sequence": IDS | st.none() | st.integers(-5, 2**64),
    "source": st.sampled_from(["coinbase", "", None, "x" * 70, 5]),
}


@st.composite
def objects(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return objects with the same names, most of whose values are plain."""
    plain: dict[str, Any] = draw(
        st.sampled_from([dict(zip(VALUES, PLAIN, strict=True)), PLAIN_OBJECT])
    )
    names = draw(st.lists(st.sampled_from(list(VALUES)), unique=True, min_size=3))
    found = []
    for _ in range(draw(st.integers(1, 8))):
        odd = {name: draw(VALUES[name]) for name in names if draw(st.integers(0, 5)) == 0}
        found.append({name: plain[name] for name in names} | odd)
    return found


PLAIN_OBJECT = {
    "time": 1767571200.25,
    "symbol": "BTC-USD",
    "price": 1.5,
    "bid": 1,
    "ask": 2.0,
    "size": 0.5,
    "side": "buy",
    "id": 7,
    "sequence": 8,
    "source": "kraken",
}


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects(), st.sampled_from([None, "X-USD"]))
def test_objects(tmp_path: Path, found: list[dict[str, Any]], symbol: str | None) -> None:
    """Lines of equal names are read as columns, and give what each gives by itself."""
    path = tmp_path / "a.ndjson"
    path.write_text("\n".join(map(json.dumps, found)))
    at_once = said(parsed(path, symbol=symbol))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "block_of_ticks", lambda records: None)
        assert at_once == said(parsed(path, symbol=symbol))
