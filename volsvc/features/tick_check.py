"""What a symbol's next tick is: new, late, a duplicate, or the first after a gap."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from volsvc.domain import NS, Tick

# Silence that counts as a gap; the longest in ten minutes of a liquid market is about 10 s.
SILENCE_NS = 60 * NS

# How many identities are remembered: far more than a feed repeats across a reconnect.
REMEMBERED = 64

# How many ticks of one time are told apart; a bound against a feed whose clock stands still.
SAME_TIME = 4_096

Identity = tuple[Any, ...]


class TickStatus(Enum):
    """What an incoming tick is to its symbol."""

    NEW = "new"
    LATE = "late"
    DUPLICATE = "duplicate"
    FUTURE = "future"


class TickValidator:
    """Counts late ticks, duplicates, gaps and clocks ahead, and remembers what it takes to tell."""

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
        self._recent: deque[int] = deque(maxlen=REMEMBERED)
        self._same_time: set[Identity] = set()
        self.last_ns: int | None = None
        self.last_trade_id: int | None = None
        self.duplicates = 0
        self.late = 0
        self.gaps = 0
        self.future = 0
        self.accepted = 0

    def check(self, tick: Tick, published_ns: int = 0) -> TickStatus:
        """Say what `tick` is, count it, and remember it when it is new.

        `published_ns` is the log's stamp, 0 where there is none: the consumer's clock would judge
        the same tick otherwise when it is delivered again. A replay that runs faster than time is
        ahead of the stamps too, so a symbol's own time counts as well.
        """
        last = self.last_ns
        if published_ns and tick.time_ns > max(published_ns, last or 0) + self._future_ns:
            self.future += 1
            return TickStatus.FUTURE
        if self._seen(tick):
            self.duplicates += 1
            return TickStatus.DUPLICATE
        if last is not None:
            if tick.time_ns < last - self._tolerance_ns:
                self.late += 1
                return TickStatus.LATE
            self.gaps += self._follows_gap(tick, last)
        self._remember(tick)
        self.accepted += 1
        return TickStatus.NEW

    def _seen(self, tick: Tick) -> bool:
        if tick.trade_id is not None:
            return tick.trade_id in self._recent
        return _identity(tick) in self._same_time

    def _follows_gap(self, tick: Tick, last: int) -> bool:
        # A ticker skips trade ids by design; a trade feed, which carries no quotes, never does.
        skipped = (
            tick.best_bid is None
            and tick.trade_id is not None
            and self.last_trade_id is not None
            and tick.trade_id > self.last_trade_id + 1
        )
        return skipped or tick.time_ns - last > SILENCE_NS

    def _remember(self, tick: Tick) -> None:
        if tick.trade_id is not None:
            self._recent.append(tick.trade_id)
            self.last_trade_id = max(tick.trade_id, self.last_trade_id or 0)
        else:
            if self.last_ns is None or tick.time_ns > self.last_ns:
                self._forget_before(tick.time_ns - self._tolerance_ns)
            if len(self._same_time) < SAME_TIME:
                self._same_time.add(_identity(tick))
        self.last_ns = max(tick.time_ns, self.last_ns or 0)

    def _forget_before(self, oldest_ns: int) -> None:
        # A duplicate has its original's time, so one of an older original would count as late.
        if self._tolerance_ns:
            self._same_time = {i for i in self._same_time if i[0] >= oldest_ns}
        else:
            self._same_time.clear()

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss."""
        return {
            "last_ns": self.last_ns,
            "last_trade_id": self.last_trade_id,
            "recent": list(self._recent),
            "same_time": sorted(self._same_time, key=repr),
            "counts": [self.duplicates, self.late, self.gaps, self.future, self.accepted],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        counts: Sequence[int] = state["counts"]
        self.last_ns = state["last_ns"]
        self.last_trade_id = state["last_trade_id"]
        self._recent.extend(state["recent"])
        self._same_time = {tuple(identity) for identity in state["same_time"]}
        self.duplicates, self.late, self.gaps, self.future, self.accepted = counts


def _identity(tick: Tick) -> Identity:
    """What makes two ticks of a feed without trade ids the same one.

    A sequence alone does not: it starts anew after a reconnect.
    """
    if tick.sequence is not None:
        return (tick.time_ns, tick.sequence)
    return (tick.time_ns, tick.price, tick.best_bid, tick.best_ask, tick.size, tick.side)
