"""Validation of a symbol's ticks: late ticks, duplicates, gaps, and clocks that are ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from volsvc.domain import NS, Tick

# Silence that counts as a gap, unless the next trade id proves that nothing is missing. In ten
# minutes of a liquid market the longest is about 10 s.
SILENCE_NS = 60 * NS

# Number of trade ids remembered: far more than a feed repeats after a reconnect.
MAX_RECENT_IDS = 64

# Number of ticks without ids remembered for one time; it bounds the memory used for a feed whose
# clock stands still.
MAX_SAME_TIME = 4_096

Identity = tuple[Any, ...]


class TickStatus(Enum):
    """Classification of an incoming tick."""

    NEW = "new"
    LATE = "late"
    DUPLICATE = "duplicate"
    FUTURE = "future"


class TickValidator:
    """Classifies the ticks of one symbol and counts each kind."""

    __slots__ = (
        "_future_ns",
        "_recent",
        "_same_time",
        "_tolerance_ns",
        "accepted",
        "duplicates",
        "future",
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
        self.last_ns: int | None = None
        self.last_trade_id: int | None = None
        self.duplicates = 0
        self.late = 0
        self.gaps = 0
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
            self.gaps += self._follows_gap(tick, last)
            if tick.time_ns < last - self._tolerance_ns:
                self.late += 1
                # Its id has come, although it changes no feature: the next one follows it.
                self._note_id(tick)
                return TickStatus.LATE
        self._remember(tick)
        self.accepted += 1
        return TickStatus.NEW

    def _seen(self, tick: Tick) -> bool:
        if tick.trade_id is not None:
            return tick.trade_id in self._recent
        return _identity(tick) in self._same_time

    def _follows_gap(self, tick: Tick, last: int) -> bool:
        if tick.trade_id is not None and self.last_trade_id is not None:
            more = tick.trade_id - self.last_trade_id
            if more == 1:
                # Nothing is missing between two successive ids, however long the silence.
                return False
            # A ticker channel skips trade ids by design; a trade channel, without quotes, does not.
            if more > 1 and tick.best_bid is None:
                return True
        return tick.time_ns - last > SILENCE_NS

    def _note_id(self, tick: Tick) -> None:
        if tick.trade_id is not None:
            self.last_trade_id = max(tick.trade_id, self.last_trade_id or 0)

    def _remember(self, tick: Tick) -> None:
        self._note_id(tick)
        if tick.trade_id is not None:
            self._recent.append(tick.trade_id)
        else:
            if self.last_ns is None or tick.time_ns > self.last_ns:
                self._forget_before(tick.time_ns - self._tolerance_ns)
            if len(self._same_time) < MAX_SAME_TIME:
                self._same_time.add(_identity(tick))
        self.last_ns = max(tick.time_ns, self.last_ns or 0)

    def _forget_before(self, oldest_ns: int) -> None:
        # A duplicate has the time of its original; if that is older, it counts as late anyway.
        if self._tolerance_ns:
            self._same_time = {i for i in self._same_time if i[0] >= oldest_ns}
        else:
            self._same_time.clear()

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        return {
            "last_ns": self.last_ns,
            "last_trade_id": self.last_trade_id,
            "recent": list(self._recent),
            "same_time": sorted(self._same_time, key=repr),
            "counts": [self.duplicates, self.late, self.gaps, self.future, self.accepted],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`."""
        counts: Sequence[int] = state["counts"]
        self.last_ns = state["last_ns"]
        self.last_trade_id = state["last_trade_id"]
        self._recent.extend(state["recent"])
        self._same_time = {tuple(identity) for identity in state["same_time"]}
        self.duplicates, self.late, self.gaps, self.future, self.accepted = counts


def _identity(tick: Tick) -> Identity:
    # The identity of a tick without trade id. A sequence alone is not enough, since it restarts
    # after a reconnect.
    if tick.sequence is not None:
        return (tick.time_ns, tick.sequence)
    return (tick.time_ns, tick.price, tick.best_bid, tick.best_ask, tick.size, tick.side)
