"""The validator in a symbol's state, under any sequence of ticks, repetitions and restarts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
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

from tests.applied import apply
from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.features import SymbolState, TickStatus, tick_check
from volsvc.features.tick_check import SILENCE_NS

MAX_RECENT_IDS: Final = 4
LATER_IDS: Final = 5
MAX_MISSING: Final = 2
# The finest step of times that a float holds exactly; the tolerance of future ticks is a float.
FINE_NS: Final = 256

Repeated: Final = {TickStatus.LATE, TickStatus.DUPLICATE}

# Steps from the newest tick: around every limit, and none of them between two floats.
steps = st.sampled_from(
    [
        *(0, 0, 0, FINE_NS, NS, NS * 3 // 2, 5 * NS, 5 * NS + FINE_NS),
        *(SILENCE_NS, SILENCE_NS + FINE_NS, SILENCE_NS + FINE_NS),
        *(-FINE_NS, -NS, -NS * 3 // 2, -NS * 3 // 2 - FINE_NS),
    ]
)
# Steps from the highest trade id, or sequence numbers.
numbers = st.sampled_from([-2, -1, -1, 0, 1, 2, 3, 4])
# Times of publication after the newest tick; None for a record without one.
publications = st.sampled_from([None, 0, -NS, -NS, 2 * SILENCE_NS])
kinds = st.sampled_from(["ids", "ids", "sequences", "fields"])


class Accepted:
    """Every tick that was accepted, and the rules of docs/topics.md over all of them."""

    def __init__(self, late_s: float, future_s: float) -> None:
        self.late_ns, self.future_ns = late_s * NS, future_s * NS
        self.ticks: list[Tick] = []
        # The highest trade id that has come, also that of a late tick.
        self.highest: int | None = None
        self.gaps = 0
        self.came: set[int] = set()
        # Ids that were missing when a higher one came, and the newest time then.
        self.holes: list[tuple[set[int], int]] = []

    @property
    def newest_ns(self) -> int | None:
        """The time of the newest tick."""
        return max((tick.time_ns for tick in self.ticks), default=None)

    @property
    def ids(self) -> list[int]:
        """The trade ids, in the order in which they came."""
        return [tick.trade_id for tick in self.ticks if tick.trade_id is not None]

    def allowed(self, tick: Tick, published_ns: int) -> set[TickStatus]:
        """Return the status that a tick has to get; two, where its memory may have ended."""
        newest = self.newest_ns
        if published_ns and tick.time_ns > max(published_ns, newest or 0) + self.future_ns:
            return {TickStatus.FUTURE}
        late = newest is not None and tick.time_ns < newest - self.late_ns
        if tick.trade_id is not None and tick.trade_id in self.ids[-MAX_RECENT_IDS:]:
            return {TickStatus.DUPLICATE}
        if self.late_ns and not late and any(same_id(tick, earlier) for earlier in self.ticks):
            return {TickStatus.DUPLICATE}
        if tick.trade_id is None and any(equal(tick, earlier) for earlier in self.ticks):
            return Repeated if late else {TickStatus.DUPLICATE}
        return {TickStatus.LATE if late else TickStatus.NEW}

    def add(self, tick: Tick, status: TickStatus) -> None:
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
        if status is TickStatus.NEW:
            self.ticks.append(tick)

    def settle(self, newest_ns: int) -> None:
        """Drop the holes that are filled, and count those that are too old."""
        for hole in list(self.holes):
            missing, found_ns = hole
            later = (self.highest or 0) - max(missing)
            old = later >= LATER_IDS or newest_ns - found_ns > 10 * NS
            if old or missing <= self.came:
                self.holes.remove(hole)
                self.gaps += not missing <= self.came


def same_id(tick: Tick, other: Tick) -> bool:
    """Return True if two ticks have the same trade id and time."""
    same = tick.trade_id == other.trade_id and tick.time_ns == other.time_ns
    return same and tick.trade_id is not None


def equal(tick: Tick, other: Tick) -> bool:
    """Return True if two ticks without a trade id are the same observation."""
    if other.trade_id is not None or tick.time_ns != other.time_ns:
        return False
    if tick.sequence is not None:
        return tick.sequence == other.sequence
    return msgspec.structs.replace(tick, source=other.source) == other


def dumped(state: SymbolState) -> str:
    return json.dumps(state.dump())


def without_counts(dump: str) -> Mapping[str, Any]:
    state = json.loads(dump)
    # The id of a late trade has come, which may fill a hole.
    order = {**state["order"], "counts": [], "last_trade_id": None, "missing": []}
    return {**state, "order": order}


class ValidatorMachine(RuleBasedStateMachine):
    """A state and another that is restored now and then, beside all that was accepted."""

    @initialize(
        late_s=st.sampled_from([0.0, 1.0, 1.5]),
        future_s=st.sampled_from([5.0, 60.0, 1e6]),
        feed=st.none() | kinds,
    )
    def start(self, late_s: float, future_s: float, feed: str | None) -> None:
        self.feed = feed
        self.settings = FeatureSettings(
            window_size=5, late_tolerance_s=late_s, future_tolerance_s=future_s
        )
        self.accepted = Accepted(late_s, future_s)
        self.whole, self.twin = self.restored(None), self.restored(None)
        self.log: list[tuple[Tick, int, TickStatus]] = []
        self.states = [dumped(self.whole)]
        self.counts = Counter[TickStatus]()

    def restored(self, dump: str | None) -> SymbolState:
        """Return a new state, or one restored from JSON."""
        state = SymbolState("BTC-USD", self.settings)
        if dump is not None:
            state.restore(json.loads(dump))
        return state

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
            fields["trade_id"] = max(max(self.accepted.ids, default=100) + number, 0)
        elif kind == "sequences":
            fields["sequence"] = abs(number)
        self.check(
            Tick("BTC-USD", newest + step, price, size=size, **fields),
            0 if published is None else newest + published,
        )

    @precondition(lambda self: self.log)
    @rule(back=st.integers(1, 5), source=st.sampled_from(["", "other"]))
    def an_earlier_one_comes_again(self, back: int, source: str) -> None:
        earlier, published_ns, _ = self.log[-min(back, len(self.log))]
        self.check(msgspec.structs.replace(earlier, source=source), published_ns)

    def check(self, tick: Tick, published_ns: int) -> None:
        allowed = self.accepted.allowed(tick, published_ns)
        status = apply(self.whole, tick, published_ns)
        assert status in allowed
        assert apply(self.twin, tick, published_ns) is status
        assert self.twin.take_due() == self.whole.take_due()
        self.counts[status] += 1
        self.log.append((tick, published_ns, status))
        self.states.append(dumped(self.whole))
        if status in (TickStatus.NEW, TickStatus.LATE):
            self.accepted.add(tick, status)
        if status is not TickStatus.NEW:
            assert without_counts(self.states[-1]) == without_counts(self.states[-2])

    # --- restarts -------------------------------------------------------------------------

    @rule()
    def the_twin_is_restored(self) -> None:
        self.twin = self.restored(dumped(self.twin))

    @rule(back=st.integers(0, 12))
    def the_end_of_the_log_is_delivered_again(self, back: int) -> None:
        """An owner that starts at an earlier state gets the same statuses and counts."""
        start = max(0, len(self.log) - back)
        again = self.restored(self.states[start])
        for tick, published_ns, status in self.log[start:]:
            assert apply(again, tick, published_ns) is status
            again.take_due()
        assert dumped(again) == self.states[-1]

    # --- after each step ------------------------------------------------------------------

    @invariant()
    def counts_and_memory_are_those_of_the_history(self) -> None:
        validator, accepted = self.whole.validator, self.accepted
        assert dumped(self.twin) == self.states[-1]
        # NaN differs from itself, so rows are compared as they are written.
        assert repr(self.twin.row) == repr(self.whole.row)
        found = {
            TickStatus.NEW: validator.accepted,
            TickStatus.DUPLICATE: validator.duplicates,
            TickStatus.LATE: validator.late,
            TickStatus.FUTURE: validator.future,
        }
        assert found == {status: self.counts[status] for status in TickStatus}
        assert validator.gaps == accepted.gaps
        assert validator.last_ns == accepted.newest_ns
        assert validator.last_trade_id == accepted.highest
        assert validator.dump()["recent"] == accepted.ids[-MAX_RECENT_IDS:]


def test_any_sequence_of_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses, gaps and counts follow from the history alone, whenever a state is restored."""
    monkeypatch.setattr(tick_check, "MAX_RECENT_IDS", MAX_RECENT_IDS)
    monkeypatch.setattr(tick_check, "LATER_IDS", LATER_IDS)
    monkeypatch.setattr(tick_check, "MAX_MISSING", MAX_MISSING)
    run_state_machine_as_test(
        ValidatorMachine,
        settings=settings(max_examples=100, stateful_step_count=40, report_multiple_bugs=False),
    )
