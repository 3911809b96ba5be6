"""The choice of the model that answers: the ladder, and the fallback of a call that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from volsvc.models.base import Model, ModelError
from volsvc.models.baseline import Baseline

T = TypeVar("T")

BASELINE: Final = Baseline()


@dataclass(frozen=True, slots=True)
class Serving:
    """The active model, the requested variant, and the reason if another one serves."""

    model: Model
    requested: str
    fallback_reason: str | None = None

    @property
    def fallback(self) -> bool:
        """True if the active model is not the requested one."""
        return self.fallback_reason is not None

    @property
    def name(self) -> str:
        """The name of the active model, `<variant>-<version>`."""
        return f"{self.model.variant}-{self.model.version}"


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """The model that was asked for, and the obstacles to serving it.

    `fitted` is the newest verified model or None. `alias_baseline` is true if the alias `ml` of the
    registry points at the baseline. `stopped` is the reason for which the quality guard stopped
    `fitted`. `load_error` is the reason for which `fitted` is not the requested version.
    """

    variant: str
    fitted: Model | None
    alias_baseline: bool = False
    stopped: str | None = None
    load_error: str | None = None

    def serving(self) -> Serving:
        """Return the first model of the ladder that may serve.

        The ladder is the fitted model, the last good one in its place, then the baseline.
        """
        if self.variant == "baseline":
            return Serving(BASELINE, self.variant)
        if self.alias_baseline:
            return Serving(BASELINE, self.variant, self.load_error)
        if self.fitted is None:
            return Serving(BASELINE, self.variant, self.load_error or "there is no fitted model")
        if self.stopped is not None:
            return Serving(BASELINE, self.variant, self.stopped)
        return Serving(self.fitted, self.variant, self.load_error)


def with_fallback(serving: Serving, call: Callable[[Model], T]) -> tuple[Model, T]:
    """Call the active model, or the baseline if it fails; return the model used and the result.

    Raises ModelError if both fail: there is then no forecast that could be trusted.
    """
    try:
        return serving.model, call(serving.model)
    except ModelError:
        if serving.model is BASELINE:
            raise
        return BASELINE, call(BASELINE)
