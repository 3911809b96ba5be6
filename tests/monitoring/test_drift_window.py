"""Windows of drift against brute force: minutes, ends and bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain import NS
from volsvc.drift import DriftRow, WindowCollector, window

# Seconds around the ends of minutes, forwards and a little back.
STEPS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.sampled_from((0, 1, 29, 30, 59, 60, 61, 120, -1, -60))),
    max_size=80,
)


@given(STEPS)
def test_a_symbol_has_one_row_a_minute(steps: list[tuple[str, int]]) -> None:
    """The first call of a symbol in a minute is true; none is in a minute that is over."""
    collector, at_s = WindowCollector(600, 5), 6_000
    claimed: dict[str, list[int]] = {}
    for symbol, step in steps:
        at_s += step
        minute = at_s // 60
        before = claimed.setdefault(symbol, [])
        first = all(minute > earlier for earlier in before)
        assert collector.claim_minute(symbol, at_s * NS) is first
        if first:
            before.append(minute)


def test_a_symbol_that_comes_back_starts_anew() -> None:
    """A forgotten symbol may claim an earlier minute; the others are as before."""
    collector = WindowCollector(600, 5)
    for symbol in ("A", "B"):
        assert collector.claim_minute(symbol, 120 * NS)
    collector.forget("A")
    assert collector.claim_minute("A", 60 * NS)
    assert not collector.claim_minute("B", 60 * NS)


@given(STEPS, st.sampled_from((60, 119.5, 120, 300)), st.integers(1, 6))
def test_windows_against_brute_force(
    steps: list[tuple[str, int]], interval_s: float, min_rows: int
) -> None:
    """A window ends with the row that makes it long enough, in time and in rows of one symbol."""
    collector, at_s = WindowCollector(interval_s, min_rows), 6_000
    rows: list[tuple[str, int]] = []
    expected = []
    for symbol, step in steps:
        at_s += step
        collector.add(DriftRow(symbol, at_s * NS, [float(len(rows)), None]))
        rows.append((symbol, at_s))
        times, names = [at for _, at in rows], [name for name, _ in rows]
        length = max(map(names.count, names))
        if max(times) - times[0] >= interval_s and length >= min_rows:
            expected.append((len(rows), length, times[0] * NS, max(times) * NS))
            rows = []
        assert len(collector) == len(rows)
    found = [(len(w.rows), w.length, w.start_ns, w.end_ns) for w in collector.completed]
    assert found == expected[-window.MAX_PENDING :]
    for completed in collector.completed:
        assert completed.rows[:, 0].tolist() == list(range(len(completed.rows)))
        assert np.isnan(completed.rows[:, 1]).all()


def test_waiting_windows_are_bounded() -> None:
    """Of too many windows that wait for their check the oldest are dropped."""
    collector = WindowCollector(60, 1)
    for at in range(2 * (window.MAX_PENDING + 3)):
        collector.add(DriftRow("A", at * 60 * NS, [0.0]))
    starts = [w.start_ns // (120 * NS) for w in collector.completed]
    assert starts == list(range(3, window.MAX_PENDING + 3))


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many rows the first are kept, and the window ends all the same."""
    monkeypatch.setattr(window, "MAX_ROWS", 4)
    collector = WindowCollector(600, 2)
    for at in range(10):
        collector.add(DriftRow("A", at * 60 * NS, [float(at)]))
        assert len(collector) == min(at + 1, 4)
    collector.add(DriftRow("A", 600 * NS, [10.0]))
    (completed,) = collector.completed
    assert completed.rows[:, 0].tolist() == [0, 1, 2, 3]
    assert (completed.length, completed.end_ns, len(collector)) == (4, 600 * NS, 0)
