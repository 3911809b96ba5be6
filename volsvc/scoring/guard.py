"""The guard: decides from scores whether the model falls back to the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from volsvc.scoring.scores import Pair


@dataclass(slots=True)
class Guard:
    """Whether the fitted model may serve: it is stopped above `ratio`, and let back at 1.

    The distance between the two is what keeps it from flapping. After an operator has overruled it,
    it is silent until the model has been no worse than the baseline once.
    """

    ratio: float
    least: int
    stopped: bool = False
    overruled: bool = False

    def judge(self, pair: Pair) -> str | None:
        """`stop`, `return` or nothing, by the forecasts of the window."""
        ratio = pair.ratio
        if ratio is None or pair.n < self.least:
            return None
        if ratio <= 1.0:
            returned, self.stopped, self.overruled = self.stopped, False, False
            return "return" if returned else None
        if ratio > self.ratio and not self.stopped and not self.overruled:
            self.stopped = True
            return "stop"
        return None

    def overrule(self) -> None:
        """The operator wants the fitted model all the same."""
        self.overruled = self.overruled or self.stopped
        self.stopped = False

    def begin(self) -> None:
        """Another fitted model: nothing is held against it."""
        self.stopped = self.overruled = False
