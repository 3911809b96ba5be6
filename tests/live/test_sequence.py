"""Tests of the sequence numbers of messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from volsvc.sources.live.sequence import REORDER_DEPTH, MessageStatus, SequenceTracker


def check(tracker: SequenceTracker, *numbers: int) -> list[MessageStatus]:
    return [tracker.check(number, f"sent {number}") for number in numbers]


def test_in_order() -> None:
    """Consecutive numbers are new, from any start."""
    tracker = SequenceTracker()
    assert check(tracker, 5, 6, 7) == [MessageStatus.NEW] * 3
    assert tracker.collect_lost(closing=True) == 0


def test_overtaken_message_is_not_lost() -> None:
    """A message that arrives late is not lost; one that does not arrive soon is."""
    tracker = SequenceTracker()
    assert check(tracker, 0, 2, 1)[-1] is MessageStatus.REORDERED
    check(tracker, 4, *range(5, 5 + REORDER_DEPTH))
    assert tracker.collect_lost() == 1
    assert tracker.collect_lost(closing=True) == 0


def test_missing_messages_are_lost_at_the_end() -> None:
    """All missing messages are lost when the connection ends."""
    tracker = SequenceTracker()
    check(tracker, 0, 3)
    assert tracker.collect_lost() == 0
    assert tracker.collect_lost(closing=True) == 2


def test_repeated_and_reset() -> None:
    """A known number is a duplicate with the same time of sending, and a reset with another."""
    tracker = SequenceTracker()
    check(tracker, 0, 1, 2)
    assert tracker.check(2, "sent 2") is MessageStatus.DUPLICATE
    assert tracker.check(0, "later") is MessageStatus.RESET
    assert tracker.check(1, "later still") is MessageStatus.NEW
    assert tracker.collect_lost(closing=True) == 0


def test_large_leap() -> None:
    """A leap of millions is counted without being stored."""
    tracker = SequenceTracker()
    check(tracker, 0, 10**9)
    assert tracker.collect_lost(closing=True) == 10**9 - 1


@given(st.sets(st.integers(1, 39)), st.data())
def test_the_numbers_add_up(dropped: set[int], data: st.DataObject) -> None:
    """The number of lost messages is that of the dropped ones, with any repeats."""
    tracker = SequenceTracker()
    found = []
    sent = [number for number in range(41) if number not in dropped]
    for number in sent:
        times = data.draw(st.integers(1, 2))
        found += [tracker.check(number, f"sent {number}") for _ in range(times)]
    assert tracker.collect_lost(closing=True) == len(dropped)
    assert found.count(MessageStatus.NEW) == len(sent)
