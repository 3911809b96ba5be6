"""The check of ticks in a symbol's state, under any ticks, repetitions and restarts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.ticks import START_NS
from volsvc.domain import NS, Tick
from volsvc.features.kernels.tick_check import LATER_IDS, MAX_MISSING, MAX_RECENT, SILENCE_NS

# The finest step of times that a float holds exactly; the tolerance of future ticks is a float.
FINE_NS: Final = 256
# What a tick that is not new may change.
COUNTS: Final = ("duplicates", "late", "gaps", "gap_ns", "future", "last_id", "holes", "hole")

# Steps from the newest tick: around every limit, and none of them between two floats.
steps = st.sampled_from(
    [
        *(0, 0, 0, FINE_NS, NS, NS * 3 // 2, 5 * NS, 5 * NS + FINE_NS),
        *(SILENCE_NS, SILENCE_NS + FINE_NS, SILENCE_NS + FINE_NS),
        *(-FINE_NS, -NS, -NS * 3 // 2, -NS * 3 // 2 - FINE_NS),
    ]
)
# Steps from the highest trade id, or sequence numbers: also holes of just the most ids, and more.
numbers = st.sampled_from(
    [-2, -1, -1, 0, 1, 2, 3, 4, -MAX_MISSING, MAX_MISSING, MAX_MISSING + 1, MAX_MISSING + 2]
)
# Numbers of successive trades, around those that are remembered and that a hole waits for.
bursts = st.sampled_from([5, MAX_RECENT - 3, MAX_RECENT - 2, MAX_RECENT - 1, MAX_RECENT])
# Times of publication after the newest tick; None for a record without one.
publications = st.sampled_from([None, 0, -NS, -NS, 2 * SILENCE_NS])
kinds = st.sampled_from(["ids", "ids", "sequences", "fields"])


class Accepted:
    """Every tick that was accepted, and the rules of docs/topics.md over all of them."""

    def __init__(self, late_s: float, future_s: float) -> None:
        self.late_ns, self.future_ns = late_s * NS, future_s * NS
        self.newest_ns: int | None = None
        self.recent: deque[tuple[Any, ...]] = deque(maxlen=MAX_RECENT)
        # Times of the ticks that wait for older ones.
        self.waiting: dict[tuple[Any, ...], int] = {}
        # The highest trade id that has come, also that of a late tick.
        self.highest: int | None = None
        self.gaps = 0
        self.came: set[int] = set()
        # Ids that were missing when a higher one came, and the newest time then.
        self.holes: list[tuple[set[int], int]] = []

    def status(self, tick: Tick, published_ns: int) -> str:
        """Return the status that a tick has to get."""
        newest = self.newest_ns
        if published_ns and tick.time_ns > max(published_ns, newest or 0) + self.future_ns:
            return "future"
        if identity(tick) in self.recent or identity(tick) in self.waiting:
            return "duplicate"
        late = newest is not None and tick.time_ns < newest - self.late_ns
        return "late" if late else "new"

    def add(self, tick: Tick, status: str) -> None:
        """Accept a tick that is new; of a late one only its id counts."""
        newest = self.newest_ns
        silence = newest is not None and tick.time_ns - newest > SILENCE_NS
        if tick.trade_id is not None:
            more = 0 if self.highest is None else tick.trade_id - self.highest
            hole = more > 1 and tick.best_bid is None
            self.gaps += silence and more != 1 and not hole
            if hole and more - 1 > MAX_MISSING:
                self.gaps += 1
            elif hole:
                missing = {*range(tick.trade_id - more + 1, tick.trade_id)}
                self.holes.append((missing, max(tick.time_ns, newest or 0)))
            self.highest = max(tick.trade_id, self.highest or 0)
            self.came.add(tick.trade_id)
        else:
            self.gaps += silence
        if newest is not None:
            self.settle(max(newest, tick.time_ns))
        if status == "new":
            self.newest_ns = max(newest or 0, tick.time_ns)
            self.recent.append(identity(tick))
            self.waiting[identity(tick)] = tick.time_ns
            oldest = self.newest_ns - self.late_ns
            self.waiting = {key: at for key, at in self.waiting.items() if at > oldest}

    def settle(self, newest_ns: int) -> None:
        """Drop the holes that are filled, and count those that are too old."""
        for hole in list(self.holes):
            missing, found_ns = hole
            later = (self.highest or 0) - max(missing)
            old = later >= LATER_IDS or newest_ns - found_ns > 10 * NS
            if old or missing <= self.came:
                self.holes.remove(hole)
                self.gaps += not missing <= self.came


def identity(tick: Tick) -> tuple[Any, ...]:
    """Return what is the same in two ticks of one observation."""
    if tick.trade_id is not None:
        return ("id", tick.trade_id)
    if tick.sequence is not None:
        return ("sequence", tick.time_ns, tick.sequence)
    return ("fields", msgspec.structs.astuple(msgspec.structs.replace(tick, source="")))


def without_counts(one: OneSymbol) -> bytes:
    kept = np.array([one.ticks])
    kept["partition"] = kept["offset"] = 0
    for name in COUNTS:
        kept["check"][name] = np.zeros(1, kept["check"].dtype[name])
    return kept.tobytes()


class ValidatorMachine(RuleBasedStateMachine):
    """A state and another that is restored now and then, beside all that was accepted."""

    @initialize(
        late_s=st.sampled_from([0.0, 1.0, 1.5]),
        future_s=st.sampled_from([5.0, 60.0, 1e6]),
        feed=st.none() | kinds,
    )
    def start(self, late_s: float, future_s: float, feed: str | None) -> None:
        self.feed = feed
        self.accepted = Accepted(late_s, future_s)
        self.settings: dict[str, Any] = {
            "window_size": 5,
            "late_tolerance_s": late_s,
            "future_tolerance_s": future_s,
        }
        self.whole, self.twin = OneSymbol(**self.settings), OneSymbol(**self.settings)
        # Ticks that came together, when they were published, and their statuses.
        self.log: list[tuple[Sequence[Tick], int, list[str]]] = []
        self.states = [self.whole.stored()]
        self.counts = Counter[str]()

    @rule(
        step=steps,
        published=publications,
        kind=kinds,
        number=numbers,
        quoted=st.booleans(),
        # The last is held, unless the newest tick is as far.
        price=st.sampled_from([100.0, 100.5, 150.0]),
        size=st.sampled_from([None, 1.0]),
    )
    def tick(
        self,
        step: int,
        published: int | None,
        kind: str,
        number: int,
        quoted: bool,
        price: float,
        size: float | None,
    ) -> None:
        kind = self.feed or kind
        newest = self.accepted.newest_ns or START_NS
        fields: dict[str, Any] = {"best_bid": 99.0, "best_ask": 101.0} if quoted else {}
        if kind == "ids":
            fields["trade_id"] = max((self.accepted.highest or 100) + number, 0)
        elif kind == "sequences":
            fields["sequence"] = abs(number)
        self.check(
            [Tick("BTC-USD", newest + step, price, size=size, **fields)],
            0 if published is None else newest + published,
        )

    @rule(count=bursts, step=st.sampled_from([0, FINE_NS]), first=st.integers(1, 3))
    def many_at_once(self, count: int, step: int, first: int) -> None:
        newest, highest = self.accepted.newest_ns or START_NS, self.accepted.highest or 100
        self.check(
            [
                Tick("BTC-USD", newest + step * at, 100.0, trade_id=highest + first + at)
                for at in range(count)
            ],
            0,
        )

    @precondition(lambda self: self.log)
    @rule(
        back=st.integers(1, 5) | st.integers(MAX_RECENT - 2, MAX_RECENT + 4),
        source=st.sampled_from(["", "other"]),
    )
    def an_earlier_one_comes_again(self, back: int, source: str) -> None:
        ticks = [(item, published) for items, published, _ in self.log for item in items]
        earlier, published_ns = ticks[-min(back, len(ticks))]
        self.check([msgspec.structs.replace(earlier, source=source)], published_ns)

    def check(self, ticks: Sequence[Tick], published_ns: int) -> None:
        before = without_counts(self.whole)
        expected = []
        for item in ticks:
            status = self.accepted.status(item, published_ns)
            expected.append(status)
            if status in ("new", "late"):
                self.accepted.add(item, status)
        assert self.whole.apply_all(ticks, published_ns) == expected
        assert self.twin.apply_all(ticks, published_ns) == expected
        self.counts.update(expected)
        self.log.append((ticks, published_ns, expected))
        self.states.append(self.whole.stored())
        if "new" not in expected:
            assert without_counts(self.whole) == before

    # --- restarts -------------------------------------------------------------------------

    @rule()
    def the_twin_is_restored(self) -> None:
        self.twin = self.twin.restored()

    @rule(back=st.integers(0, 12))
    def the_end_of_the_log_is_delivered_again(self, back: int) -> None:
        """An owner that starts at an earlier state gets the same statuses and counts."""
        start = max(0, len(self.log) - back)
        again = OneSymbol(self.states[start], **self.settings)
        for ticks, published_ns, statuses in self.log[start:]:
            assert again.apply_all(ticks, published_ns) == statuses
        assert again.stored() == self.states[-1]

    # --- after each step ------------------------------------------------------------------

    @invariant()
    def counts_and_memory_are_those_of_the_history(self) -> None:
        check, accepted = self.whole.check, self.accepted
        assert self.twin.stored() == self.states[-1]
        assert self.twin.row == self.whole.row
        assert self.twin.scales == self.whole.scales
        found = {
            "new": check.accepted,
            "duplicate": check.duplicates,
            "late": check.late,
            "future": check.future,
        }
        assert found == {status: self.counts[status] for status in found}
        assert check.gaps == accepted.gaps
        assert check.last_ns == (-1 if accepted.newest_ns is None else accepted.newest_ns)
        assert check.last_id == (-1 if accepted.highest is None else accepted.highest)
        first = check.remembered - min(check.remembered, MAX_RECENT)
        places = np.arange(first, check.remembered) % MAX_RECENT
        ids = [key[1] for key in accepted.recent if key[0] == "id"]
        assert [each for each in check.recent[places].tolist() if each >= 0] == ids


def test_any_sequence_of_ticks() -> None:
    """Statuses, gaps and counts follow from the history alone, whenever a state is restored."""
    run_state_machine_as_test(
        ValidatorMachine,
        settings=settings(stateful_step_count=40, report_multiple_bugs=False),
    )
