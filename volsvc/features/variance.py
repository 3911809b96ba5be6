"""Exponentially weighted variance per second, on event time.

Ticks come at irregular times and bounce, so returns are taken on a previous-tick grid: the price
that held at each grid point. Weights halve every half-life, whatever the number of ticks between,
and the start is corrected for its bias (FORECAST: S <- S * 2**(-d/tau) + r**2).
"""

from __future__ import annotations

import math

from volsvc.domain import NS
from volsvc.features.moments import log_return

GRID_NS = 5 * NS
"""Grid step. Below 5 s the bounce of trade prices shows; above, information is lost."""


class EwmaVariance:
    """Variance per second with a half-life, bias-corrected at the start."""

    __slots__ = ("_decay", "_grid", "_last", "_sampled", "_sum", "_weight")

    def __init__(self, half_life_s: float) -> None:
        self._decay = math.log(2) * GRID_NS / NS / half_life_s
        self._grid: int | None = None
        self._sampled = 0.0
        self._last = 0.0
        self._sum = 0.0
        self._weight = 0.0

    def push(self, time_ns: int, price: float) -> bool:
        """Add a price of event time `time_ns`; true when it opened a new step of the grid."""
        step = time_ns // GRID_NS
        if self._grid is None:
            self._grid, self._sampled, self._last = step, price, price
            return True
        opened = step > self._grid
        if opened:
            self._close(step - self._grid)
            self._grid = step
        self._last = price
        return opened

    def _close(self, steps: int) -> None:
        """Close `steps` grid steps: the first holds the move, the others none (previous tick)."""
        move = log_return(self._last, self._sampled)
        self._sampled = self._last
        fade = math.exp(-self._decay * steps)
        first = math.exp(-self._decay * (steps - 1))
        self._sum = self._sum * fade + move * move * first
        self._weight = self._weight * fade + (1 - fade) / (1 - math.exp(-self._decay))

    @property
    def rate(self) -> float:
        """Variance per second of event time; NaN before the first grid step has closed."""
        return self._sum / (self._weight * GRID_NS / NS) if self._weight else math.nan

    @property
    def seconds(self) -> float:
        """Event time that the average rests on, in seconds: at most half-life / ln 2."""
        return self._weight * GRID_NS / NS

    def dump(self) -> tuple[int | None, float, float, float, float]:
        """The whole state, as JSON can carry it without loss."""
        return (self._grid, self._sampled, self._last, self._sum, self._weight)

    def restore(self, state: tuple[int | None, float, float, float, float]) -> None:
        """Take over what `dump` gave."""
        self._grid, self._sampled, self._last, self._sum, self._weight = state
