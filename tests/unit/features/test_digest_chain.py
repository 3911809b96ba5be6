"""DigestChain chains, and the command that compares two runs by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.commands.digests import verify_files
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, FeatureRow, Quality, Snapshot, SourceError, Tick
from volsvc.features import DigestChain, MinuteBar, SymbolState

START = 1_767_571_200
HEADS = tuple(letter * 64 for letter in "abcdef")


def said(at: int, price: float = 100.0, ticks: int = 1) -> Snapshot:
    row = FeatureRow("BTC-USD", at * NS, price, 0.0, 1e-5, 49, 10.0)
    quality = Quality(0, 0, 0, 1.0, "ok", ticks=ticks)
    return Snapshot(row, 0.1, "ml", "1", (), quality, {})


def bar(minute: int) -> MinuteBar:
    return MinuteBar(minute, 100.0, 101.0, 99.0, 1e-6, 5e-7, 1.0)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20), st.integers(0, 20))
def test_a_chain_goes_on_after_a_restart(prices: list[float], cut: int) -> None:
    """The head after a break, with the state through JSON, is the head without one."""
    whole, broken = DigestChain(), DigestChain()
    for at, price in enumerate(prices):
        if at == cut:
            restored = DigestChain()
            restored.restore(json.loads(json.dumps(broken.dump())))
            broken = restored
        for chain in (whole, broken):
            chain.say(said(at, price))
            chain.close(bar(at))
    assert broken.dump() == whole.dump()
    assert broken.closed == whole.closed


@pytest.mark.parametrize(
    "other",
    [
        said(1, 100.00000000000001),
        said(1, ticks=2),
        said(2),
        replace(said(1), version="2"),
        replace(said(1), score=0.2),
    ],
    ids=["price", "a tick more", "time", "version", "score"],
)
def test_every_part_counts(other: Snapshot) -> None:
    """One bit of any number, or one tick more behind the same numbers, gives another head."""
    chains = DigestChain(), DigestChain()
    for chain, snapshot in zip(chains, (said(1), other), strict=True):
        chain.say(snapshot)
        chain.close(bar(1))
    assert chains[0].closed != chains[1].closed


def test_a_dump_does_not_move_with_later_ticks() -> None:
    """What was dumped for a tick stays that tick's state when more of the batch come."""
    state = SymbolState("BTC-USD", FeatureSettings(window_size=5))
    state.update(Tick("BTC-USD", START * NS, 100.0))
    dumped = state.dump()
    before = json.dumps(dumped)
    for at in range(1, 200):
        state.update(Tick("BTC-USD", (START + at) * NS, 100.0 + at))
    assert json.dumps(dumped) == before


def write(path: Path, heads: dict[int, str | None], symbol: str = "BTC-USD") -> Path:
    lines = [
        {"symbol": symbol, "digest": head and {"window": f"2026-01-05T00:0{at}:00Z", "head": head}}
        for at, head in heads.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_first_window_that_differs_is_named(tmp_path: Path) -> None:
    """Of a chain that parts in the middle, the first minute is named and not the last."""
    first = write(tmp_path / "a", {0: HEADS[0], 1: HEADS[1], 2: HEADS[2]})
    second = write(tmp_path / "b", {0: HEADS[0], 1: HEADS[4], 2: HEADS[5]})
    (difference,) = verify_files(first, second).differences
    assert "the window 2026-01-05T00:01:00Z is the first that differs" in difference
    assert verify_files(first, first).differences == []


def test_runs_that_are_not_the_same(tmp_path: Path) -> None:
    """A shorter run, another symbol and a run that contradicts itself are no identical runs."""
    whole = write(tmp_path / "a", {0: HEADS[0], 1: HEADS[1]})
    shorter = write(tmp_path / "b", {0: HEADS[0]})
    other = write(tmp_path / "c", {0: HEADS[0]}, "ETH-USD")
    torn = tmp_path / "d"
    torn.write_text(whole.read_text() + write(tmp_path / "e", {1: HEADS[3]}).read_text())
    assert "last windows" in verify_files(whole, shorter).differences[0]
    assert len(verify_files(whole, other).differences) == 2
    assert "two heads" in verify_files(whole, torn).differences[0]


def test_windows_that_compaction_took_are_passed_over(tmp_path: Path) -> None:
    """The last head covers all before it."""
    whole = write(tmp_path / "a", {0: HEADS[0], 1: HEADS[1], 2: HEADS[2]})
    compacted = write(tmp_path / "b", {2: HEADS[2]})
    assert verify_files(whole, compacted).differences == []


@pytest.mark.parametrize("text", ["", "{}", "no json", '[1]\n{"symbol": 1}', '{"symbol":"A"}'])
def test_files_without_digests(text: str, tmp_path: Path) -> None:
    """What holds no digests is refused with the file's name."""
    path = tmp_path / "x.ndjson"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"x\.ndjson"):
        verify_files(path, path)
