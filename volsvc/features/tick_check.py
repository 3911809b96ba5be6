"""Validation of a symbol's ticks: late ticks, duplicates, gaps, and clocks that are ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from volsvc.domain import NS, Tick

# Silence that counts as a gap, unless the next trade id proves that nothing is missing. In ten
# minutes of a liquid market the longest is about 10 s.
SILENCE_NS = 60 * NS

# Number of trade ids remembered: far more than a feed repeats after a reconnect.
MAX_RECENT_IDS = 64

# Number of ticks remembered for their times: those without ids of one time and, with a tolerance,
# all that are not late. It bounds the memory used for a feed whose clock stands still.
MAX_SAME_TIME = 4_096
# From so many on, those that have become late are looked for.
LEAST_FORGOTTEN = 64

# A hole is a gap once so many later ids, or so much event time, have come without what is missing.
# Venues deliver the trades of one match out of order, and parallel producers overtake each other by
# some hundred milliseconds; it is as many ids as are remembered for duplicates.
LATER_IDS: Final = 64
LATER_NS: Final = 10 * NS
# A larger hole is an outage, and a gap at once. This and LATER_IDS bound the memory.
MAX_MISSING: Final = 64

Identity = tuple[Any, ...]


class TickStatus(Enum):
    """Classification of an incoming tick."""

    NEW = "new"
    LATE = "late"
    DUPLICATE = "duplicate"
    FUTURE = "future"


class _Hole:
    """Missing ids: those that have not come, the last of them all, and the time it was found."""

    __slots__ = ("found_ns", "last", "missing")

    def __init__(self, last: int, found_ns: int, missing: Iterable[int]) -> None:
        self.last = last
        self.found_ns = found_ns
        self.missing = set(missing)


class MissingIds:
    """The holes that may still be filled, oldest first."""

    __slots__ = ("holes",)

    def __init__(self) -> None:
        self.holes: list[_Hole] = []

    def note(self, before: int, after: int, time_ns: int) -> bool:
        """Note that no id between two has come, and return True if that is a gap at once."""
        if after - before - 1 > MAX_MISSING:
            return True
        self.holes.append(_Hole(after - 1, time_ns, range(before + 1, after)))
        return False

    def came(self, trade_id: int) -> None:
        """Take a late trade out of its hole; a hole without missing ids is none."""
        for hole in self.holes:
            hole.missing.discard(trade_id)
        self.holes = [hole for hole in self.holes if hole.missing]

    def give_up(self, newest_id: int, newest_ns: int) -> list[int]:
        """Forget the holes that have become gaps, and return the times at which they were found."""
        times, kept = [], []
        for hole in self.holes:
            old = newest_id - hole.last >= LATER_IDS or newest_ns - hole.found_ns > LATER_NS
            if old:
                times.append(hole.found_ns)
            else:
                kept.append(hole)
        self.holes = kept
        return times

    def dump(self) -> list[Any]:
        """Return the whole state in a form that JSON holds without loss."""
        return [[hole.last, hole.found_ns, sorted(hole.missing)] for hole in self.holes]

    def restore(self, state: Iterable[Any]) -> None:
        """Restore a state returned by `dump`."""
        self.holes = [_Hole(*hole) for hole in state]


class TickValidator:
    """Classifies the ticks of one symbol and counts each kind."""

    __slots__ = (
        "_forget_at",
        "_future_ns",
        "_missing",
        "_recent",
        "_same_time",
        "_tolerance_ns",
        "accepted",
        "duplicates",
        "future",
        "gap_ns",
        "gaps",
        "last_ns",
        "last_trade_id",
        "late",
    )

    def __init__(self, late_tolerance_s: float, future_tolerance_s: float = math.inf) -> None:
        self._tolerance_ns = round(late_tolerance_s * NS)
        self._future_ns = future_tolerance_s * NS
        self._recent: deque[int] = deque(maxlen=MAX_RECENT_IDS)
        self._same_time: set[Identity] = set()
        self._missing = MissingIds()
        self._forget_at = LEAST_FORGOTTEN
        self.last_ns: int | None = None
        self.last_trade_id: int | None = None
        self.duplicates = 0
        self.late = 0
        self.gaps = 0
        # The time at which the newest gap showed; one in the ids is counted later than that.
        self.gap_ns = 0
        self.future = 0
        self.accepted = 0

    def check(self, tick: Tick, published_ns: int = 0) -> TickStatus:
        """Classify a tick, count it, and remember it if it is new.

        `published_ns` is the timestamp of its record in the log, 0 if it has none.
        """
        last = self.last_ns
        # Compared with the log and not with the consumer's clock, so that a redelivered tick is
        # classified as before. The newest tick counts too: a replay faster than real time is
        # ahead of the log.
        if published_ns and tick.time_ns > max(published_ns, last or 0) + self._future_ns:
            self.future += 1
            return TickStatus.FUTURE
        if self._seen(tick):
            self.duplicates += 1
            return TickStatus.DUPLICATE
        if last is not None:
            if self._follows_gap(tick, last):
                self.gaps += 1
                self.gap_ns = tick.time_ns
            if self._missing.holes:
                self._give_up_holes(tick, last)
            if tick.time_ns < last - self._tolerance_ns:
                self.late += 1
                # Its id has come, although it changes no feature: the next one follows it.
                self._note_id(tick)
                return TickStatus.LATE
        self._remember(tick)
        self.accepted += 1
        return TickStatus.NEW

    def _seen(self, tick: Tick) -> bool:
        if tick.trade_id is not None and tick.trade_id in self._recent:
            return True
        # Within the tolerance more ticks may have come than have their ids remembered.
        if tick.trade_id is not None and not self._tolerance_ns:
            return False
        return _identity(tick) in self._same_time and tick.time_ns >= self._oldest_ns

    @property
    def _oldest_ns(self) -> int:
        """The time from which on a tick is not late."""
        return (self.last_ns or 0) - self._tolerance_ns

    def _give_up_holes(self, tick: Tick, last: int) -> None:
        newest_id = max(self.last_trade_id or 0, tick.trade_id or 0)
        found = self._missing.give_up(newest_id, max(last, tick.time_ns))
        if found:
            self.gaps += len(found)
            self.gap_ns = found[-1]

    def _follows_gap(self, tick: Tick, last: int) -> bool:
        """Return True if a tick proves a gap; a hole in the ids that it shows may yet be filled."""
        if tick.trade_id is not None and self.last_trade_id is not None:
            more = tick.trade_id - self.last_trade_id
            if more == 1:
                # Nothing is missing between two successive ids, however long the silence.
                return False
            # A ticker channel skips trade ids by design; a trade channel, without quotes, does not.
            if more > 1 and tick.best_bid is None:
                newest_ns = max(last, tick.time_ns)
                return self._missing.note(self.last_trade_id, tick.trade_id, newest_ns)
            if more < 0 and self._missing.holes:
                self._missing.came(tick.trade_id)
        return tick.time_ns - last > SILENCE_NS

    def _note_id(self, tick: Tick) -> None:
        if tick.trade_id is not None:
            self.last_trade_id = max(tick.trade_id, self.last_trade_id or 0)

    def _remember(self, tick: Tick) -> None:
        self._note_id(tick)
        newer = self.last_ns is None or tick.time_ns > self.last_ns
        if newer:
            self.last_ns = tick.time_ns
        if tick.trade_id is not None:
            self._recent.append(tick.trade_id)
            if not self._tolerance_ns:
                return
        # A duplicate has the time of its original; if that is older, it counts as late anyway.
        if self._tolerance_ns:
            # Not at each tick: all that are remembered are looked at.
            if len(self._same_time) >= self._forget_at:
                self._same_time = self._not_late()
                least = max(LEAST_FORGOTTEN, 2 * len(self._same_time))
                self._forget_at = min(least, MAX_SAME_TIME)
        elif newer:
            self._same_time.clear()
        if len(self._same_time) < MAX_SAME_TIME:
            self._same_time.add(_identity(tick))

    def _not_late(self) -> set[Identity]:
        oldest_ns = self._oldest_ns
        return {identity for identity in self._same_time if identity[0] >= oldest_ns}

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        return {
            "last_ns": self.last_ns,
            "last_trade_id": self.last_trade_id,
            "recent": list(self._recent),
            "same_time": sorted(self._not_late(), key=repr),
            "counts": [self.duplicates, self.late, self.gaps, self.future, self.accepted],
            **({"missing": self._missing.dump()} if self._missing.holes else {}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`."""
        counts: Sequence[int] = state["counts"]
        self.last_ns = state["last_ns"]
        self.last_trade_id = state["last_trade_id"]
        self._recent.extend(state["recent"])
        self._same_time = {tuple(identity) for identity in state["same_time"]}
        self.duplicates, self.late, self.gaps, self.future, self.accepted = counts
        self._missing.restore(state.get("missing", ()))


def _identity(tick: Tick) -> Identity:
    # The id alone is not enough where it is remembered for its time, nor is a sequence, since it
    # restarts after a reconnect.
    if tick.trade_id is not None:
        return (tick.time_ns, "id", tick.trade_id)
    if tick.sequence is not None:
        return (tick.time_ns, tick.sequence)
    return (tick.time_ns, tick.price, tick.best_bid, tick.best_ask, tick.size, tick.side)
