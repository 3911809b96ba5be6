"""The quality guard at work: it takes a bad fitted model out of service, and lets it return."""

from __future__ import annotations

from dataclasses import replace

from volsvc.models import Model
from volsvc.scoring.guard import Guard
from volsvc.scoring.scores import PairedLosses
from volsvc.serving.holder import ModelHolder


class QualityGuard:
    """Applies the guard's verdict on the scores of the fitted model to the model holder."""

    def __init__(self, holder: ModelHolder, guard: Guard, horizon_s: float) -> None:
        """`horizon_s` is the horizon of the losses that `check` gets, for the reason it gives."""
        self.guard = guard
        self.horizon_s = horizon_s
        self._holder = holder
        self._guarded: Model | None = None

    def check(self, losses: PairedLosses) -> None:
        """Update the guard with the losses so far, and stop or return the fitted model."""
        desired, guard = self._holder.desired, self.guard
        if desired.fitted is not self._guarded:
            # The same artefact may be loaded again; only other contents start the guard afresh.
            if (
                self._guarded is None
                or desired.fitted is None
                or (desired.fitted.digest != self._guarded.digest)
            ):
                guard.reset()
            self._guarded = desired.fitted
        if guard.stopped and desired.stopped is None:
            # Somebody else lifted the stop: an operator who activated the model all the same.
            guard.overrule()
        verdict = guard.update(losses)
        if verdict == "stop":
            reason = (
                f"over {losses.n:g} forecasts of {self.horizon_s:g} s the fitted "
                f"model's QLIKE is {losses.ratio:.3g} times the baseline's; "
                f"quality.fallback_ratio is {guard.ratio:g}"
            )
            self._holder.apply(replace(desired, stopped=reason), "guard")
        elif verdict == "return":
            returned = replace(desired, stopped=None)
            self._holder.apply(returned, "guard", "the fitted model is no worse any more")
