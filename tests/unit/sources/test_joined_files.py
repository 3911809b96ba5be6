"""Many files of ticks as one recording: folders, patterns, rotation, overlaps, exchanges."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reading import each_row, parsed, ticks_in
from volsvc.domain import NS, InvalidTickError, SourceError, Tick, format_time
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.sources.recordings.joining import joined
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.symbols import NamesRead
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.recordings.tick_rows import TickRows

START_NS = 1_767_571_200 * NS


def tick(second: float, symbol: str = "BTC-USD", price: float = 1.0) -> Tick:
    return Tick(symbol, START_NS + round(second * NS), price)


def write(path: Path, ticks: list[Tick]) -> None:
    lines = [f"{format_time(t.time_ns)},{t.symbol},{t.price}" for t in ticks]
    path.write_text("\n".join(["time,symbol,price", *lines]) + "\n")


def is_given(row: int | None) -> bool:
    return row is not None


# Seconds of the rows of a file; None for a row that is no tick.
TIMES = st.lists(st.none() | st.integers(0, 20), min_size=1, max_size=8).filter(
    lambda rows: any(map(is_given, rows))
)


def steps_of(
    file: str, found: Sequence[Tick | InvalidTickError], most: int, names: NamesRead
) -> Iterator[TickRows]:
    """Yield rows in steps of at most so many, each after one without any."""
    for first in range(0, len(found), most):
        part = found[first : first + most]
        faults = {row: one for row, one in enumerate(part) if not isinstance(one, Tick)}
        ticks = [one if isinstance(one, Tick) else tick(99) for one in part]
        columns = columns_of_ticks(ticks, names.symbols, names.sources)
        yield TickRows.of_file(file, others=1)
        yield TickRows.of_file(file, range(first, first + len(part)), columns, faults)


@given(st.lists(TIMES, min_size=1, max_size=5), st.integers(1, 4))
def test_files_are_merged_in_time(files: list[list[int | None]], most: int) -> None:
    """A row comes before those of other files that are later; a file keeps its own order."""
    # As the reader sorts them: by the first time, and of equal ones by name.
    files.sort(key=lambda rows: next(filter(is_given, rows)) or 0)
    starts, expected, streams, names = [], [], [], NamesRead()
    for at, seconds in enumerate(files):
        rows: list[Tick | InvalidTickError] = [
            InvalidTickError("price", f"{at}-{row}", "price")
            if second is None
            else tick(second, f"F-{at}", price=row + 1.0)
            for row, second in enumerate(seconds)
        ]
        newest = next(row.time_ns for row in rows if isinstance(row, Tick))
        starts.append(newest)
        for line, row in enumerate(rows):
            newest = max(newest, row.time_ns) if isinstance(row, Tick) else newest
            expected.append((newest, at, line, row))
        streams.append(steps_of(str(at), rows, most, names))
    expected.sort(key=lambda item: item[:3])
    found = list(joined(streams, starts, [str(at) for at in range(len(streams))]))
    assert [(step.place(row), one) for step in found for row, one in enumerate(each_row(step))] == [
        ((str(at), line), row) for _, at, line, row in expected
    ]
    assert sum(step.others for step in found) == sum(-(-len(rows) // most) for rows in files)


def test_a_rotated_recording_is_one(tmp_path: Path) -> None:
    """A folder and a pattern give what the whole file gives; what is no data is left out."""
    ticks = [tick(second) for second in range(30)]
    for number, start in enumerate(range(0, 30, 10), 1):
        write(tmp_path / f"t-{number:04}.csv", ticks[start : start + 10])
    (tmp_path / "t-0004.csv").write_text("time,symbol,price\n")
    (tmp_path / "t-0001.csv.CHECKSUM").write_text("0123  t-0001.csv\n")
    (tmp_path / ".hidden.csv").write_text("?\n")
    whole = tmp_path / "whole"
    whole.mkdir()
    write(whole / "t.csv", ticks)
    assert parsed(tmp_path) == parsed(tmp_path / "t-*.csv") == parsed(whole / "t.csv")
    paths = [tmp_path / f"t-000{number}.csv" for number in (3, 1, 2)]
    assert parsed(*paths) == parsed(whole)


def test_symbols_in_files_of_their_own(tmp_path: Path) -> None:
    """Files of one span are merged, each with the symbol of its name."""
    for symbol, offset in (("BTC-USD", 0.0), ("ETH-USD", 0.5)):
        lines = [f"{START_NS / NS + second + offset!r},7" for second in range(5)]
        (tmp_path / f"{symbol}.csv").write_text("\n".join(["time,price", *lines]))
    assert [t.symbol for t in ticks_in(tmp_path)] == ["BTC-USD", "ETH-USD"] * 5


def test_the_name_of_a_recording(tmp_path: Path) -> None:
    """It changes with any of its files, so that a replay is not resumed in another recording."""
    for number in (1, 2):
        write(tmp_path / f"t-{number}.csv", [tick(number)])
    first = Recording([tmp_path], RowOptions()).identity
    assert Recording([tmp_path], RowOptions()).identity == first
    write(tmp_path / "t-2.csv", [tick(2), tick(3)])
    assert Recording([tmp_path], RowOptions()).identity != first


@pytest.mark.parametrize(
    ("path", "fault"),
    [("*.nothing", "no file has such a name"), ("folder", "holds no recording")],
)
def test_nothing_to_read(path: str, fault: str, tmp_path: Path) -> None:
    """A pattern without files and a folder without data are errors."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README").write_text("ticks of 2025\n")
    with pytest.raises(SourceError, match=fault):
        Recording([tmp_path / path], RowOptions())


def test_a_bad_file_among_others_is_named(tmp_path: Path) -> None:
    """A file that is no recording stops it before anything is read."""
    write(tmp_path / "a.csv", [tick(1)])
    (tmp_path / "b.csv").write_text("Name,Age\nx,1\n")
    with pytest.raises(SourceError, match=r"b\.csv: missing column"):
        Recording([tmp_path], RowOptions()).check()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["coinbase", "Kraken", "kraken", ""]), min_size=1, max_size=12))
def test_exchanges_are_never_mixed(tmp_path: Path, exchanges: list[str]) -> None:
    """The first exchange has the plain symbol, each other one a symbol of its own."""
    lines = [f"{START_NS / NS + i},BTC-USD,{i + 1},{name}" for i, name in enumerate(exchanges)]
    for name, text in (
        ("a.csv", "\n".join(["time,symbol,price,exchange", *lines])),
        (
            "a.ndjson",
            "\n".join(
                f'{{"time":{a},"symbol":"{b}","price":{c},"exchange":"{d}"}}'
                for a, b, c, d in (line.split(",") for line in lines)
            ),
        ),
    ):
        (tmp_path / name).write_text(text)
        first, *_ = known = [exchange.lower() for exchange in exchanges]
        assert [t.symbol for t in ticks_in(tmp_path / name)] == [
            "BTC-USD" if one == first else f"{one or 'unknown'}:BTC-USD" for one in known
        ]


def test_two_venues_in_a_folder_are_an_error(tmp_path: Path) -> None:
    """Files of other names with one symbol at the same times are named, and never mixed."""
    write(tmp_path / "kraken.csv", [tick(second) for second in range(0, 20, 2)])
    write(tmp_path / "coinbase.csv", [tick(second) for second in range(1, 20, 2)])
    with pytest.raises(SourceError, match="ticks of BTC-USD at the times of another file, 'test_"):
        parsed(tmp_path)
    write(tmp_path / "coinbase.csv", [tick(second) for second in range(20, 30)])
    assert len(ticks_in(tmp_path)) == 20


def test_an_archive_has_the_symbol_of_its_file(tmp_path: Path) -> None:
    """One of two symbols is refused; what describes the data is left out."""
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-trades.csv", "time,price\n1767571200,5\n")
        archive.writestr("readme.txt", "ticks of 2026")
        archive.writestr("README.md", "ticks of 2026")
    assert [t.symbol for t in ticks_in(path)] == ["BTCUSDT"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ETHUSDT-trades.csv", "time,price\n1767571200,5\n")
    with pytest.raises(SourceError, match=r"holds files of several symbols \(BTCUSDT-trades\.csv"):
        parsed(path)


def test_the_symbol_in_the_name_of_a_folder(tmp_path: Path) -> None:
    """Of files that are all of one name, as programs split them."""
    for symbol in ("BTC-USD", "ETH-USD"):
        (tmp_path / f"symbol={symbol}").mkdir()
        (tmp_path / f"symbol={symbol}" / "part-0.csv").write_text("time,price\n1767571200,5\n")
    assert [t.symbol for t in ticks_in(tmp_path / "*" / "*.csv")] == ["BTC-USD", "ETH-USD"]
    with pytest.raises(SourceError, match="of folders in it name one"):
        parsed(tmp_path)
