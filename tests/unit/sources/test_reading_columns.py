"""The columns of a recording, compared with reading it a row at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reading import each_row
from tests.unit.sources.replays import FAST
from volsvc.domain import NS, InvalidTickError, NotATickError, SourceError, Tick
from volsvc.sources.recordings import summary
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.summary import ReadCounts
from volsvc.sources.recordings.tables import blocks
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.replay import FileSource

START_S = 1_767_571_200
SYMBOLS = ("A", "B", "C")
HEAD = "time,symbol,price,bid,ask,size,side,id,type"


class Notes:
    """Notes the events of a replay."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, int, str]] = []

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        self.noted.append(("rejected", path, line, f"{error.reason}: {error}"))

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        self.noted.append(("late", path, line, f"{error.reason}: {error}"))

    def ended(self, path: str, rejected: int) -> None:
        self.noted.append(("ended", path, rejected, ""))

    def late(self, seconds: float) -> None:
        raise AssertionError(f"{seconds} s late without a schedule")


def a_row_at_a_time(
    recording: Recording, symbols: frozenset[str], counts: ReadCounts, notes: Notes
) -> Iterator[Tick]:
    """Yield the selected ticks, and count and note the rows, one after another."""
    newest: dict[str, tuple[int, int]] = {}
    above_ns = 0
    for rows in recording.rows():
        counts.messages += rows.others
        for row, found in enumerate(each_row(rows)):
            file, line = rows.place(row)
            if isinstance(found, NotATickError):
                found = InvalidTickError("type", str(found), "not_a_tick")
            if isinstance(found, InvalidTickError):
                counts.refuse(file, line, found)
                notes.rejected(file, line, found)
            elif symbols and found.symbol not in symbols:
                counts.left_out += 1
            else:
                counts.by_symbol[found.symbol] += 1
                counts.falls += found.time_ns < above_ns
                above_ns = found.time_ns
                counts.cover(above_ns, above_ns)
                newest_ns, newest_line = newest.get(found.symbol, (0, 0))
                behind_s = (newest_ns - found.time_ns) / NS
                if behind_s > 0:
                    counts.late += 1
                    counts.behind(file, newest_line)
                    detail = f"is {behind_s:g} s behind line {newest_line} for {found.symbol}"
                    notes.out_of_order(file, line, InvalidTickError("time", detail, "late"))
                else:
                    counts.taken += 1
                    newest[found.symbol] = (found.time_ns, line)
                yield found
    notes.ended(recording.label, counts.refused)


def lines() -> st.SearchStrategy[list[str]]:
    """Return rows of which some are late, and some are no ticks."""
    cells = st.tuples(
        st.integers(0, 30).map(lambda second: str(START_S + second)) | st.just("yesterday"),
        st.sampled_from([*SYMBOLS, *SYMBOLS, "", "?"]),
        st.sampled_from(["1", "2.5", "3e2", "4", "-1", "nan"]),
        st.sampled_from(["", "1.5", "0"]),
        st.sampled_from(["", "2.5"]),
        st.sampled_from(["", "0", "0.5", "-1"]),
        st.sampled_from(["", "buy", "SELL", "?"]),
        st.sampled_from(["", "0", "7", "8", "x-9"]),
        st.sampled_from(["", "", "", "heartbeat"]),
    )
    return st.lists(cells.map(",".join), min_size=1, max_size=25)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few bytes at once, by Arrow too, and remember few rows that others are behind."""
    monkeypatch.setattr("volsvc.sources.recordings.tables.lines.CHUNK", 128)
    monkeypatch.setattr("volsvc.sources.recordings.tables.lines.BLOCK", 256)
    monkeypatch.setattr(blocks, "_SMALL", 0)
    monkeypatch.setattr(summary, "MOST_BEHIND", 2)


@pytest.mark.usefixtures("small_parts")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines(), min_size=1, max_size=3), st.sets(st.sampled_from(SYMBOLS), max_size=2))
def test_ticks_counts_and_events(
    tmp_path: Path, files: Sequence[list[str]], selected: set[str]
) -> None:
    """Ticks, counts, examples and events are those of a reader that takes one row at a time."""
    paths = []
    for number, rows in enumerate(files):
        paths.append(tmp_path / f"t-{number}.csv")
        paths[-1].write_text("\n".join([HEAD, *rows]) + "\n")
    recording, symbols = Recording(paths, RowOptions()), frozenset(selected)
    try:
        recording.check()
    except SourceError:
        return
    counts, expected = ReadCounts(), Notes()
    ticks = list(a_row_at_a_time(recording, symbols, counts, expected))
    notes = Notes()
    source = FileSource(recording, FAST, notes, symbols=symbols)
    if not ticks:
        with pytest.raises(SourceError, match="holds no tick"):
            list(source.columns())
    else:
        assert [tick for part in source.columns() for tick in part.ticks()] == ticks
        assert list(source.ticks()) == ticks
    assert notes.noted[: len(expected.noted)] == expected.noted
    assert astuple(source.counts)[:-1] == astuple(counts)[:-1]
