"""Ticks that change no state: warnings about them, and the check of a stream without others."""

from __future__ import annotations

import time

from volsvc.features import BAD_PRINT
from volsvc.pipeline.tick_applier import TickSlice
from volsvc.telemetry.health import Health
from volsvc.telemetry.limited_warnings import LimitedWarnings
from volsvc.telemetry.logs import get_logger

# Ticks, and seconds, without one that is taken: less is an accident between two good ticks.
LEAST_TICKS, LEAST_S = 3, 5.0
LATE = "older than the newest tick of their symbol by more than features.late_tolerance_s"
FAR = "each price is far from the one before it; see features.bad_print_sigmas"
# Reasons that are no fault of the stream once another tick of it has been taken.
SELECTED = frozenset({"max_symbols", "not_a_tick", "unknown_symbol"})

log = get_logger(__name__)


class RefusedTicks:
    """Reports refused ticks, and the check `ticks` while every tick that comes is refused."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._warnings = LimitedWarnings(log, "ticks_refused")
        self._refused = 0
        self._since_s = 0.0
        self._reason = ""
        self._ever_taken = False
        self._degraded = False

    def note(self, tick_slice: TickSlice) -> None:
        """Take the counts of a slice of the stream."""
        for reason, error in tick_slice.faults.items():
            self._warnings.add(reason, tick_slice.rejected[reason], error=error)
        if tick_slice.accepted:
            self._taken()
        elif tick_slice.rejected:
            self._none_taken(tick_slice)

    def _taken(self) -> None:
        self._ever_taken = True
        self._refused = 0
        if self._degraded:
            self._degraded = False
            self._health.report("ticks", "ok")
            log.info("ticks_taken_again")

    def _none_taken(self, tick_slice: TickSlice) -> None:
        # A duplicate has been taken before.
        ignored = {"duplicate"} | (SELECTED if self._ever_taken else set())
        counts = {r: n for r, n in tick_slice.rejected.items() if r not in ignored}
        if not counts:
            return
        now_s = time.time()
        if not self._refused:
            self._since_s = now_s
        self._refused += sum(counts.values())
        reason = next(reversed(counts))
        self._reason = tick_slice.faults.get(reason, FAR if reason == BAD_PRINT else LATE)
        if self._refused >= LEAST_TICKS and now_s - self._since_s >= LEAST_S:
            self._report()

    def _report(self) -> None:
        since = time.strftime("%H:%M:%SZ", time.gmtime(self._since_s))
        text = f"{self._refused} ticks refused since {since}, none taken: {self._reason}"
        self._health.report("ticks", "degraded", text)
        if not self._degraded:
            self._degraded = True
            log.warning("no_tick_taken", since=since, refused=self._refused, error=self._reason)
