"""Bad prints: prices far outside what the symbol's own recent law allows, and back again.

One wrong price counts twice in a variance, there and back, and dominates it for hours. So a price
that is too far from the last one is held until the next tick says which of the two it is nearer to.
Rule, false-alarm rate and limits: docs/feature_spec.md.
"""

from __future__ import annotations

import math
from typing import Any, Final

from volsvc.compiled import kernel, record_type
from volsvc.domain import NS
from volsvc.features.kernels import exact_sums, minutes, multiscale
from volsvc.features.kernels.price_window import log_return, returns_inside

# A return up to this size is never held, whatever the law says: fills of one order that sweeps a
# thin book are that far apart.
LEAST_RETURN: Final = 0.005
# The relative change of a price below which no logarithm is needed; the lesser of both directions.
_GATE: Final = -math.expm1(-LEAST_RETURN)
# Least variance of a minute assumed of a symbol that was observed for less than an hour: that of a
# volatility of 150 % a year.
PRIOR_VARIANCE: Final = 1.5**2 / (365.25 * 1440)
PRIOR_MINUTES: Final = 60.0

# A tick whose turn has not come; `price` is the one that features use, `source` a number for its
# origin. `present` is 0 without a tick.
WAITING_TICK = record_type(
    [("present", "i8"), ("time_ns", "i8"), ("price", "f8"), ("volume", "f8"), ("source", "i8")]
)
PRINTS = record_type([("dropped", "i8"), ("held", WAITING_TICK)])


@kernel
def keep(tick: Any, time_ns: int, price: float, volume: float, source: int) -> None:
    """Write a tick that waits."""
    tick.present = 1
    tick.time_ns = time_ns
    tick.price = price
    tick.volume = volume
    tick.source = source


@kernel
def is_far(
    state: Any, size: int, sigmas: float, last: float, last_ns: int, price: float, time_ns: int
) -> bool:
    """Return True if a tick is too far from the last one to be taken without another.

    `state` is that of the symbol's ticks (`record.TICKS`) and `size` the window's; returns of more
    than `sigmas` deviations of the recent law are too far, and with 0 none are.
    """
    # Nearly every tick leaves here.
    if sigmas == 0 or abs(price - last) <= _GATE * last:
        return False
    n = returns_inside(state.window, size)
    # One price is no law.
    if n == 0:
        return False
    # Within a second a price may jump as far as in a whole one: fills of one order share a time,
    # and venues stamp in steps.
    passed = max(time_ns - last_ns, NS) / (60 * NS)
    mean = exact_sums.mean(state.window.sums, n)
    deviation = exact_sums.deviation(state.window.sums, n)
    # Prices that are far apart from tick to tick show here at once, in the variance later.
    spread = mean * mean + deviation * deviation * (n - 1) / n
    plausible = max(_recent_variance(state, last_ns) * passed, spread)
    limit = max(LEAST_RETURN, sigmas * math.sqrt(plausible))
    return abs(log_return(price, last)) > limit


@kernel
def _recent_variance(state: Any, last_ns: int) -> float:
    """Return the variance of a minute that the ticks so far make plausible."""
    # The current minute counts as if it were over: a part of it is no reason to expect more.
    current = minutes.pending_variance(state.minute, last_ns)
    prior = PRIOR_VARIANCE if state.multiscale.elapsed < PRIOR_MINUTES else 0.0
    return max(current, multiscale.recent_variance(state.multiscale), prior)


@kernel
def confirms(held: Any, last: float, price: float) -> bool:
    """Return True if the held tick is a true jump: the next price is nearer to its price."""
    return abs(log_return(price, held.price)) < abs(log_return(price, last))
