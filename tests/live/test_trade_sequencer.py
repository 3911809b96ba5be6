"""Messages by their numbers, and trades by their ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.live.feed import trades
from volsvc.sources.live.sequence import DEPTH, Arrival, SequenceCheck
from volsvc.sources.live.trade_sequencer import TradeSequencer

TRADES = trades(20, 2)


def notes(check: SequenceCheck, *numbers: int) -> list[Arrival]:
    return [check.note(number, f"sent {number}") for number in numbers]


def test_in_order() -> None:
    """Numbers that follow one another are new, wherever they begin."""
    check = SequenceCheck()
    assert notes(check, 5, 6, 7) == [Arrival.NEW] * 3
    assert check.take_lost(closing=True) == 0


def test_overtaken_is_not_lost() -> None:
    """A message that comes late is no loss; one that does not come soon is."""
    check = SequenceCheck()
    assert notes(check, 0, 2, 1)[-1] is Arrival.REORDERED
    notes(check, 4, *range(5, 5 + DEPTH))
    assert check.take_lost() == 1
    assert check.take_lost(closing=True) == 0


def test_what_misses_at_the_end_is_lost() -> None:
    """A connection that ends takes its missing messages with it."""
    check = SequenceCheck()
    notes(check, 0, 3)
    assert check.take_lost() == 0
    assert check.take_lost(closing=True) == 2


def test_repeated_and_reset() -> None:
    """The same number at the same time is a repeat, at another time a new count."""
    check = SequenceCheck()
    notes(check, 0, 1, 2)
    assert check.note(2, "sent 2") is Arrival.DUPLICATE
    assert check.note(0, "later") is Arrival.RESET
    assert check.note(1, "later still") is Arrival.NEW
    assert check.take_lost(closing=True) == 0


def test_a_leap_is_counted_without_being_remembered() -> None:
    """A leap of millions costs no memory."""
    check = SequenceCheck()
    notes(check, 0, 10**9)
    assert check.take_lost(closing=True) == 10**9 - 1


@given(st.sets(st.integers(1, 39)), st.data())
def test_the_numbers_add_up(dropped: set[int], data: st.DataObject) -> None:
    """Whatever is dropped or repeated, the lost are those that were dropped."""
    check = SequenceCheck()
    arrivals = []
    sent = [number for number in range(41) if number not in dropped]
    for number in sent:
        times = data.draw(st.integers(1, 2))
        arrivals += [check.note(number, f"sent {number}") for _ in range(times)]
    assert check.take_lost(closing=True) == len(dropped)
    assert arrivals.count(Arrival.NEW) == len(sent)


@given(st.lists(st.integers(0, len(TRADES) - 1)), st.permutations(range(1, len(TRADES))))
def test_each_trade_once_and_in_its_place(extra: list[int], order: list[int]) -> None:
    """However trades come, they leave in the order of their ids, each once."""
    sequencer = TradeSequencer("BTC-USD")
    ready = sequencer.offer([TRADES[0]])
    for index in [*extra, *order]:
        ready += sequencer.offer([TRADES[index]])
    assert ready == TRADES
    assert sequencer.gap is None
    assert sequencer.held == 0


@given(st.sets(st.integers(1, len(TRADES) - 2)))
def test_given_up_holes_lose_only_what_misses(dropped: set[int]) -> None:
    """Every hole names what misses; given up, the rest goes on."""
    sequencer = TradeSequencer("BTC-USD")
    rest = [trade for index, trade in enumerate(TRADES) if index not in dropped]
    ready = sequencer.offer(rest)
    missing = 0
    while (gap := sequencer.gap) is not None:
        missing += gap.last - gap.first + 1
        ready += sequencer.give_up()
    assert ready == rest
    assert missing == len(dropped)


def test_a_venue_that_counts_anew() -> None:
    """Lower ids at later times are new trades, not repeats."""
    sequencer = TradeSequencer("BTC-USD")
    sequencer.offer(TRADES[-1:])
    later = [
        type(t)(t.symbol, t.time_ns + 10**12, t.price, trade_id=n + 1)
        for n, t in enumerate(TRADES[:3])
    ]
    assert sequencer.offer(later) == later
