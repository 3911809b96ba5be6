"""The guard that stops a fitted model whose forecasts are worse than the baseline's."""

from __future__ import annotations

from dataclasses import dataclass

from volsvc.scoring.scores import PairedLosses


@dataclass(slots=True)
class Guard:
    """Decides from paired losses whether the fitted model may serve.

    The model is stopped when the ratio of its mean QLIKE to the baseline's exceeds `ratio`, and
    returns when the ratio is at most 1. After an operator has overruled a stop, the guard does not
    stop the model again until the ratio has been at most 1 once.
    """

    # Stopping above `ratio` and returning at 1 leaves a gap, which keeps the guard from flapping.
    ratio: float
    min_forecasts: int
    stopped: bool = False
    overruled: bool = False

    def update(self, losses: PairedLosses) -> str | None:
        """Update the decision; return "stop" or "return" if it changed, else None.

        Nothing changes below `min_forecasts` forecasts.
        """
        ratio = losses.ratio
        if ratio is None or losses.n < self.min_forecasts:
            return None
        if ratio <= 1.0:
            returned, self.stopped, self.overruled = self.stopped, False, False
            return "return" if returned else None
        if ratio > self.ratio and not self.stopped and not self.overruled:
            self.stopped = True
            return "stop"
        return None

    def overrule(self) -> None:
        """Lift a stop at the request of an operator."""
        self.overruled = self.overruled or self.stopped
        self.stopped = False

    def reset(self) -> None:
        """Start afresh with another fitted model."""
        self.stopped = self.overruled = False
