"""Bad prints: prices far outside what the symbol's own recent law allows, and back again.

One wrong price counts twice in a variance, there and back, and dominates it for hours. So a price
that is too far from the last one is held until the next tick says which of the two it is nearer to.
Rule, false-alarm rate and limits: docs/feature_spec.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import astuple

from volsvc.domain import NS, FeatureRow, Tick
from volsvc.features.return_window import log_return

# The reason of a tick that was taken, held for its price, and then left out.
BAD_PRINT: Final = "bad_print"
# A return up to this size is never held, whatever the law says: fills of one order that sweeps a
# thin book are that far apart.
LEAST_RETURN: Final = 0.005
# The relative change of a price below which no logarithm is needed; the lesser of both directions.
_GATE: Final = -math.expm1(-LEAST_RETURN)
# Least variance of a minute assumed of a symbol that was observed for less than an hour: that of a
# volatility of 150 % a year.
PRIOR_VARIANCE: Final = 1.5**2 / (365.25 * 1440)
PRIOR_MINUTES: Final = 60.0


class PrintFilter:
    """Judges the prices of one symbol, and keeps the tick that waits for the next one."""

    __slots__ = ("_sigmas", "dropped", "gate", "held")

    def __init__(self, sigmas: float) -> None:
        """Hold returns of more than `sigmas` deviations of the recent law; 0 holds none."""
        self._sigmas = sigmas
        # A caller compares with it first, since nearly every tick is below.
        self.gate = _GATE if sigmas else math.inf
        self.held: Tick | None = None
        self.dropped = 0

    def is_far(self, price: float, time_ns: int, last: FeatureRow, variance: float) -> bool:
        """Return True if a tick is too far from the last row, given the variance of a minute."""
        # One price is no law.
        if not last.n:
            return False
        # Within a second a price may jump as far as in a whole one: fills of one order share a
        # time, and venues stamp in steps.
        minutes = max(time_ns - last.time_ns, NS) / (60 * NS)
        # Prices that are far apart from tick to tick show here at once, in the variance later.
        spread = last.ret_std**2 * max(last.n - 1, 0) / max(last.n, 1)
        plausible = max(variance * minutes, last.ret_mean**2 + spread)
        limit = max(LEAST_RETURN, self._sigmas * math.sqrt(plausible))
        return abs(log_return(price, last.price)) > limit

    def confirms(self, price: float, last: FeatureRow) -> bool:
        """Return True if the held tick is a true jump: the next price is nearer to its price."""
        assert self.held is not None, "only a held tick can be confirmed"
        held = self.held.feature_price
        return abs(log_return(price, held)) < abs(log_return(price, last.price))

    def drop(self) -> None:
        """Leave the held tick out for good."""
        self.held = None
        self.dropped += 1

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss; {} without bad prints."""
        if self.held is None and not self.dropped:
            return {}
        held = None if self.held is None else astuple(self.held)
        return {"prints": [self.dropped, held]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`; other keys are ignored."""
        self.dropped, held = state.get("prints", (0, None))
        self.held = None if held is None else Tick(*held)
