"""Tests of the order of trades."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.live.feed import trades
from volsvc.sources.live.trade_sequencer import TradeSequencer

TRADES = trades(20, 2)


@given(st.lists(st.integers(0, len(TRADES) - 1)), st.permutations(range(1, len(TRADES))))
def test_each_trade_once_and_in_its_place(extra: list[int], order: list[int]) -> None:
    """Trades in any order are released in the order of their ids, each once."""
    sequencer = TradeSequencer("BTC-USD")
    ready = sequencer.add([TRADES[0]])
    for index in [*extra, *order]:
        ready += sequencer.add([TRADES[index]])
    assert ready == TRADES
    assert sequencer.gap is None
    assert sequencer.buffered == 0


@given(st.sets(st.integers(1, len(TRADES) - 2)))
def test_skipped_gaps_lose_only_missing_trades(dropped: set[int]) -> None:
    """Each gap has the ids of the missing trades; after it is skipped the rest is released."""
    sequencer = TradeSequencer("BTC-USD")
    rest = [trade for index, trade in enumerate(TRADES) if index not in dropped]
    ready = sequencer.add(rest)
    missing = 0
    while (gap := sequencer.gap) is not None:
        missing += gap.last - gap.first + 1
        ready += sequencer.skip_gap()
    assert ready == rest
    assert missing == len(dropped)


def test_restart_of_the_ids() -> None:
    """Lower ids at later times are new trades, not duplicates."""
    sequencer = TradeSequencer("BTC-USD")
    sequencer.add(TRADES[-1:])
    later = [
        type(t)(t.symbol, t.time_ns + 10**12, t.price, trade_id=n + 1)
        for n, t in enumerate(TRADES[:3])
    ]
    assert sequencer.add(later) == later
