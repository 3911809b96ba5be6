"""Comparison of two runs by the digests of their windows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volsvc.commands.digests import compare_digests
from volsvc.domain import SourceError

HEADS = tuple(letter * 64 for letter in "abcdef")


def write(path: Path, heads: dict[int, str | None], symbol: str = "BTC-USD") -> Path:
    """Write one record for each head; the key is the minute of its window."""
    lines = [
        {
            "symbol": symbol,
            "digest": head and {"window": f"2026-01-05T00:0{minute}:00Z", "head": head},
        }
        for minute, head in heads.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_first_window_that_differs_is_named(tmp_path: Path) -> None:
    """Of chains that differ from the middle on, the first such minute is named, not the last."""
    first = write(tmp_path / "a", {0: HEADS[0], 1: HEADS[1], 2: HEADS[2]})
    second = write(tmp_path / "b", {0: HEADS[0], 1: HEADS[4], 2: HEADS[5]})
    (difference,) = compare_digests(first, second).differences
    assert "the window 2026-01-05T00:01:00Z is the first that differs" in difference
    assert compare_digests(first, first).differences == []


def test_runs_that_are_not_the_same(tmp_path: Path) -> None:
    """A shorter run, another symbol, and a run with two heads of one window are differences."""
    whole = write(tmp_path / "a", {0: HEADS[0], 1: HEADS[1]})
    shorter = write(tmp_path / "b", {0: HEADS[0]})
    other = write(tmp_path / "c", {0: HEADS[0]}, "ETH-USD")
    contradictory = tmp_path / "d"
    contradictory.write_text(whole.read_text() + write(tmp_path / "e", {1: HEADS[3]}).read_text())
    assert "last windows" in compare_digests(whole, shorter).differences[0]
    assert len(compare_digests(whole, other).differences) == 2
    assert "two heads" in compare_digests(whole, contradictory).differences[0]


def test_windows_removed_by_compaction_are_ignored(tmp_path: Path) -> None:
    """A run of which only the last head is left agrees, since that head covers all before it."""
    whole = write(tmp_path / "a", {0: HEADS[0], 1: HEADS[1], 2: HEADS[2]})
    compacted = write(tmp_path / "b", {2: HEADS[2]})
    assert compare_digests(whole, compacted).differences == []


def test_records_before_the_first_window_are_ignored(tmp_path: Path) -> None:
    """A record without a digest, as in a symbol's first minute, adds no window."""
    first = write(tmp_path / "a", {0: None, 1: HEADS[1]})
    second = write(tmp_path / "b", {1: HEADS[1]})
    assert compare_digests(first, second) == (1, 1, [])


@pytest.mark.parametrize("text", ["", "{}", "no json", '[1]\n{"symbol": 1}', '{"symbol":"A"}'])
def test_files_without_digests(text: str, tmp_path: Path) -> None:
    """A file that contains no digests is refused with its name."""
    path = tmp_path / "x.ndjson"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"x\.ndjson"):
        compare_digests(path, path)
