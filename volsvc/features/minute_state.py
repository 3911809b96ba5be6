"""The part of a symbol's state that moves once a minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.features.minutes import MinuteBar
from volsvc.features.multiscale import MultiScale
from volsvc.features.realised import RealisedAtMinute, RealisedVariances

# Observed minutes from which on a symbol is warm: a day, so that it has its own daily pattern.
WARM_MINUTES = 1440.0


class MinuteEnd(NamedTuple):
    """The state of a symbol at the end of a minute with trades.

    `realised` has the realised variances of that minute and of the silent minutes before it;
    `log_thresholds` are the trailing quantiles of ln RV and `counts` the minutes behind each.
    """

    bar: MinuteBar
    scales: NDArray[np.float64]
    realised: list[RealisedAtMinute]
    log_thresholds: tuple[float, ...]
    counts: tuple[int, ...]


class MinuteState:
    """Averages and realised variances of a symbol, and the minutes that have ended."""

    __slots__ = ("_dumped", "_ended", "multiscale", "realised")

    def __init__(self) -> None:
        self.multiscale = MultiScale()
        self.realised = RealisedVariances()
        self._ended: list[MinuteEnd] = []
        self._dumped: Mapping[str, Any] | None = None

    def close(self, bar: MinuteBar, one_minute: float, observed: float = 1.0) -> None:
        """Add a completed minute, built from ticks or recorded as a bar.

        `one_minute` is the proxy of its variance at a horizon of one minute, and `observed` the
        fraction of the minute that was observed.
        """
        self._dumped = None
        gap = self.multiscale.is_gap(bar.minute)
        self.multiscale.push(bar, observed)
        realised = []
        # The variance of a part of a minute is no outcome of a forecast.
        if observed == 1.0:
            realised = self.realised.close(bar.minute, bar.variance, one_minute, gap=gap)
        thresholds, counts = self.realised.log_thresholds, self.realised.counts
        scales = self.multiscale.row(bar.minute)
        self._ended.append(MinuteEnd(bar, scales, realised, thresholds, counts))

    def take_ended(self) -> list[MinuteEnd]:
        """Return the minutes that have ended since the last call, oldest first."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def warm(self) -> bool:
        """True if the symbol was observed for long enough to have its own level and pattern."""
        return self.multiscale.elapsed >= WARM_MINUTES

    def dump(self) -> Mapping[str, Any]:
        """Return the state without ended minutes in a form that JSON holds without loss."""
        # Kept until the next minute, because the state is written every second.
        if self._dumped is None:
            self._dumped = {"engine": self.multiscale.dump(), "outcomes": self.realised.dump()}
        return self._dumped

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`; other keys are ignored."""
        self.multiscale.restore(state["engine"])
        self.realised.restore(state["outcomes"])
