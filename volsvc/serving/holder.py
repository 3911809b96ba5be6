"""The one place that knows which model serves, what was asked for, and why they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeVar

from volsvc.models.base import Model, ModelError
from volsvc.models.baseline import Baseline

Variant = Literal["baseline", "ml"]
Kind = Literal["start", "swap", "rollback", "fallback", "return", "refused", "stop"]
T = TypeVar("T")

BASELINE: Final = Baseline()


@dataclass(frozen=True, slots=True)
class Serving:
    """The model that serves, what was asked for, and why they differ if they do."""

    model: Model
    requested: str
    fallback_reason: str | None = None

    @property
    def fallback(self) -> bool:
        """Whether something else serves than was asked for."""
        return self.fallback_reason is not None

    @property
    def name(self) -> str:
        """`<variant>-<version>`."""
        return f"{self.model.variant}-{self.model.version}"


class ModelEvent(NamedTuple):
    """Something that happened to what serves: `before` and `after` are the same when refused."""

    kind: Kind
    trigger: str
    reason: str
    before: Serving
    after: Serving


Listener = Callable[[ModelEvent], None]


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """What the operator asked for, and what stands in its way.

    `fitted` is the newest model that was proved, or None; `alias_baseline` says that the alias `ml`
    points at the baseline; `stopped` is the guard's reason; `lacking` says why `fitted` is not the
    version that was asked for.
    """

    variant: str
    fitted: Model | None
    alias_baseline: bool = False
    stopped: str | None = None
    lacking: str | None = None

    def serving(self) -> Serving:
        """The ladder: the fitted model, the last good one of its kind, the baseline."""
        if self.variant == "baseline":
            return Serving(BASELINE, self.variant)
        if self.alias_baseline:
            return Serving(BASELINE, self.variant, self.lacking)
        if self.fitted is None:
            return Serving(BASELINE, self.variant, self.lacking or "there is no fitted model")
        if self.stopped is not None:
            return Serving(BASELINE, self.variant, self.stopped)
        return Serving(self.fitted, self.variant, self.lacking)


class ModelHolder:
    """One reference to what serves.

    Read `current` once a request: number, variant and version then belong together whatever is
    swapped in meanwhile. A change replaces the reference and tells the listeners; it touches
    nothing else, and nothing here waits.
    """

    def __init__(self, desired: DesiredModel, *, shadow: bool = True) -> None:
        self._desired = desired
        self._shadows = shadow
        self._previous: DesiredModel | None = None
        self._listeners: list[Listener] = []
        self._current = desired.serving()

    @property
    def current(self) -> Serving:
        """What serves now."""
        return self._current

    @property
    def desired(self) -> DesiredModel:
        """What was asked for."""
        return self._desired

    @property
    def previous(self) -> Serving | None:
        """What `rollback` would serve."""
        return self._previous.serving() if self._previous is not None else None

    @property
    def shadow(self) -> Model | None:
        """The other variant, which forecasts beside the one that serves; None when switched off."""
        if not self._shadows:
            return None
        return self._desired.fitted if self._current.model is BASELINE else BASELINE

    def listen(self, listener: Listener) -> None:
        """Hear of every change, and of refusals."""
        self._listeners.append(listener)

    def tell(self, kind: Kind, trigger: str, reason: str = "") -> None:
        """An event that changes nothing: start, stop, a candidate that was refused."""
        self._tell(ModelEvent(kind, trigger, reason, self._current, self._current))

    def change(self, trigger: str, reason: str = "", **changes: object) -> Serving:
        """Change the wish by the names of its fields; listeners hear when something else serves."""
        self._adopt(replace(self._desired, **changes), "swap", trigger, reason)  # type: ignore[arg-type]
        return self._current

    def rollback(self, trigger: str) -> Serving | None:
        """Serve what served before; once more and the newer one is back. None without a past."""
        if self._previous is None:
            return None
        # All of the wish of then: a rollback out of the guard's fallback overrules the guard.
        back = self._previous
        self._adopt(back, "rollback", trigger, f"back to {back.serving().name}")
        return self._current

    def _adopt(self, desired: DesiredModel, kind: Kind, trigger: str, reason: str) -> None:
        before, after = self._current, desired.serving()
        if after.model.digest != before.model.digest:
            self._previous = self._desired
        self._desired, self._current = desired, after
        if after == before:
            return
        if after.fallback != before.fallback and kind != "rollback":
            kind = "fallback" if after.fallback else "return"
        self._tell(ModelEvent(kind, trigger, after.fallback_reason or reason, before, after))

    def _tell(self, event: ModelEvent) -> None:
        for listener in self._listeners:
            listener(event)


def with_fallback(serving: Serving, call: Callable[[Model], T]) -> tuple[Model, T]:
    """What the model that serves says, or the baseline where it fails; and which of them it was.

    Raises ModelError when both fail: then there is no answer that could be trusted.
    """
    try:
        return serving.model, call(serving.model)
    except ModelError:
        if serving.model is BASELINE:
            raise
        return BASELINE, call(BASELINE)
