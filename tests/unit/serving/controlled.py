"""A controller on a loop whose time the test sets."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from tests.unit.serving.registry import PACKAGED, HeldLoader, Registry
from tests.unit.stepping import StillLoop
from volsvc.config.model import ModelSettings
from volsvc.models import Model
from volsvc.serving.artefact_cache import LastGood
from volsvc.serving.controller import ModelController
from volsvc.serving.holder import ModelEvent, ModelHolder
from volsvc.serving.model_choice import DesiredModel, Serving

POLL_S: Final = 60.0
T = TypeVar("T")
Event = tuple[str, str, str, str]


class Controlled:
    """A controller on a loop whose time the test sets, with all that it has reported."""

    def __init__(self, loop: StillLoop) -> None:
        self.loop = loop
        self.registry = Registry()
        self.events: list[ModelEvent] = []
        self.polls: list[tuple[str, bool]] = []
        self.postponements: list[tuple[str, str]] = []
        self.delays_s: list[float] = []
        self.read = 0

    def start(self, note: LastGood | None = None, model: Model = PACKAGED, **chosen: Any) -> None:
        """Start as the daemon does, and poll once."""
        settings = ModelSettings(poll_s=POLL_S, **chosen)
        self.loader = HeldLoader(self.registry, note)
        self.holder = ModelHolder(DesiredModel(settings.variant, model), [self.events.append])
        self.controller = ModelController(settings, self.holder, self.loader, self)
        self.running = self.loop.create_task(self.controller.run())
        self.loop.settle()

    def polled(self, reason: str, *, is_open: bool) -> None:
        """Note the end of a poll. Implements `RegistryListener`."""
        self.polls.append((reason, is_open))

    def postponed(self, trigger: str, reason: str, delay_s: float) -> None:
        """Note an attempt without a verdict. Implements `RegistryListener`."""
        self.postponements.append((trigger, reason))
        self.delays_s.append(delay_s)

    def poll(self) -> None:
        """Let the time until the next poll pass, whatever it is."""
        self.loop.advance(100 * POLL_S)

    def told(self) -> list[Event]:
        """Return what was published since the last call, and what serves after each."""
        new, self.read = self.events[self.read :], len(self.events)
        return [(e.kind, e.trigger, e.reason, e.after.name) for e in new]

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of work that waits for nothing."""
        task = self.loop.create_task(work)
        self.loop.settle()
        return task.result()

    def activate(self, variant: str, version: str | None) -> Serving:
        return self.result(self.controller.activate(variant, version, "route"))

    def rollback(self) -> Serving:
        return self.result(self.controller.rollback("undo"))

    def reload(self, **chosen: Any) -> None:
        self.controller.reload(ModelSettings(poll_s=POLL_S, **chosen))
