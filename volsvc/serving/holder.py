"""The active model: one reference, swapped in one step, and the model before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from volsvc.models.base import Model
from volsvc.serving.model_choice import BASELINE, DesiredModel, Serving

Kind = Literal["start", "swap", "rollback", "fallback", "return", "refused", "stop"]


class ModelEvent(NamedTuple):
    """A change of the active model, or an event that leaves `before` and `after` the same."""

    kind: Kind
    trigger: str
    reason: str
    before: Serving
    after: Serving


Listener = Callable[[ModelEvent], None]


class ModelHolder:
    """The one reference to the active model.

    Read `current` once a request, so that number, variant and version belong together whatever is
    swapped in meanwhile. A change replaces the reference and calls the listeners, in the event
    loop's thread; nothing here waits.
    """

    def __init__(
        self, desired: DesiredModel, listeners: Sequence[Listener] = (), *, shadow: bool = True
    ) -> None:
        """Listeners are called with every change, and with events passed to `notify`."""
        self._desired = desired
        self._listeners = tuple(listeners)
        self._shadows = shadow
        self._previous: DesiredModel | None = None
        self._current = desired.serving()

    @property
    def current(self) -> Serving:
        """The active model."""
        return self._current

    @property
    def desired(self) -> DesiredModel:
        """The model that was asked for."""
        return self._desired

    @property
    def previous(self) -> Serving | None:
        """The model that `rollback` would make active."""
        return self._previous.serving() if self._previous is not None else None

    @property
    def shadow(self) -> Model | None:
        """The variant that forecasts beside the active one; None if shadows are disabled."""
        if not self._shadows:
            return None
        return self._desired.fitted if self._current.model is BASELINE else BASELINE

    def notify(self, kind: Kind, trigger: str, reason: str = "") -> None:
        """Report an event that changes nothing: start, stop, or a candidate that was refused."""
        self._publish(ModelEvent(kind, trigger, reason, self._current, self._current))

    def apply(self, desired: DesiredModel, trigger: str, reason: str = "") -> Serving:
        """Replace the desired model, and return what serves then.

        `desired` is a copy of the property of that name with other fields, made without an `await`
        before this call: a change made in between would be lost.
        """
        self._replace(desired, "swap", trigger, reason)
        return self._current

    def rollback(self, trigger: str) -> Serving | None:
        """Return to the model that was active before; None if there was none.

        A second rollback undoes the first.
        """
        if self._previous is None:
            return None
        # All other fields of the former state come back, so a rollback of the guard's fallback
        # overrules the guard: its `stopped` was set after that state.
        former = self._previous
        self._replace(former, "rollback", trigger, f"back to {former.serving().name}")
        return self._current

    def _replace(self, desired: DesiredModel, kind: Kind, trigger: str, reason: str) -> None:
        before, after = self._current, desired.serving()
        # Only another model is worth a rollback; a change of the reason alone is not.
        if after.model.digest != before.model.digest:
            # Its load error was of that time; after a rollback this model is the one asked for.
            self._previous = replace(self._desired, load_error=None)
        self._desired, self._current = desired, after
        if after == before:
            return
        if after.fallback != before.fallback and kind != "rollback":
            kind = "fallback" if after.fallback else "return"
        elif kind == "swap" and after.fallback and after.model is before.model:
            # The same fallback for another reason.
            kind = "fallback"
        self._publish(ModelEvent(kind, trigger, after.fallback_reason or reason, before, after))

    def _publish(self, event: ModelEvent) -> None:
        for listener in self._listeners:
            listener(event)
