"""The recordings of tests/recordings are as generated, and have the quirks of real feeds."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.applied import apply_all
from tests.reading import ticks_in
from tests.recordings import FILLS, MESSAGES, TICKERS
from tests.recordings.__main__ import contents
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.features import SymbolTable
from volsvc.sources.live import venue


def ticks_of(path: Path) -> list[Tick]:
    return ticks_in(path, symbol="BTC-USD")


def counted(path: Path) -> Counter[str]:
    """Return the number of ticks of each status, and of the gaps before them."""
    table, counts = SymbolTable(FeatureSettings()), Counter[str]()
    counts.update(apply_all(table, ticks_of(path)))
    for symbol in {tick.symbol for tick in ticks_of(path)}:
        counts["gaps"] += table.get(symbol).quality().gaps
    return counts


def test_files_are_those_of_the_generator() -> None:
    """Each generated file has the text that `python -m tests.recordings` writes."""
    for path, text in contents().items():
        assert gzip.decompress(path.read_bytes()).decode() == text, path.name


@pytest.mark.parametrize("path", [TICKERS, FILLS], ids=lambda path: path.name)
def test_the_market_is_as_a_real_one(path: Path) -> None:
    """Ten minutes with a burst and quiet minutes, fills of one time, and mostly unmoved prices."""
    ticks = [tick for tick in ticks_of(path) if tick.symbol == "BTC-USD"]
    minutes = Counter((tick.time_ns - ticks[0].time_ns) // (60 * NS) for tick in ticks)
    assert set(minutes) == set(range(10))
    assert min(minutes.values()) < 10
    assert max(minutes.values()) > 150
    pairs = list(pairwise(ticks))
    assert sum(one.time_ns == other.time_ns for one, other in pairs) > 0.1 * len(pairs)
    unmoved = sum(one.price == other.price for one, other in pairs) / len(pairs)
    assert 0.6 < unmoved < 0.84


def test_tickers_have_the_faults_of_a_connection() -> None:
    """Repeated ids after a reconnect, late and lost messages, a silent symbol, other messages."""
    lines = gzip.decompress(TICKERS.read_bytes()).decode().splitlines()
    # The ids before and after the silences follow each other, so nothing is missing there.
    assert counted(TICKERS) == {"new": 901, "duplicate": 6, "late": 2, "gaps": 0}
    assert len(lines) == 901 + 6 + 2 + 2
    for symbol in ("BTC-USD", "ETH-USD"):
        ids = sorted({tick.trade_id or 0 for tick in ticks_of(TICKERS) if tick.symbol == symbol})
        assert len(ids) < ids[-1] - ids[0] + 1, symbol


def test_fills_have_equal_rows() -> None:
    """Equal fills of an order, which have no ids, count as duplicates."""
    counts = counted(FILLS)
    assert counts["duplicate"] > 10
    assert counts["new"] > 500


def test_there_is_a_message_of_every_kind() -> None:
    """messages.json has each kind of content that a venue's message can have."""
    kinds = {kind.__name__ for kind in venue.Content.__args__}
    assert set(json.loads(MESSAGES.read_text())) == kinds
