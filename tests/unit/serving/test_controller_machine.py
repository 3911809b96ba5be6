"""The controller under any order of polls, operators' choices, reloads, faults and restarts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from tests.unit.serving.registry import (
    MODELS,
    PACKAGED,
    REFUSED,
    REGISTERED,
    REGISTERED_BASELINE,
    UNKNOWN,
    HeldLoader,
    Registry,
)
from tests.unit.stepping import SteppingMachine
from volsvc.config.model import ModelSettings
from volsvc.models import Model
from volsvc.serving.artefact_cache import LastGood
from volsvc.serving.controller import ModelController, ModelRefusedError
from volsvc.serving.holder import ModelEvent, ModelHolder
from volsvc.serving.model_choice import BASELINE, DesiredModel, Serving
from volsvc.serving.registry_breaker import OPENS_AFTER
from volsvc.serving.registry_client import RegistryAwayError

POLL_S: Final = 60.0
# Longer than the longest pause of a registry that is away.
LONG_S: Final = 100 * POLL_S

variants = st.sampled_from(["ml", "ml", "baseline"])
registered = st.sampled_from(REGISTERED)


class ControllerMachine(SteppingMachine):
    """A controller that follows a registry, beside the version that it followed last.

    `noted` is that version as it was when the model of the next start was recorded.
    The machine is the controller's `RegistryListener`, and so checks each poll as it ends.
    """

    @initialize(alias=st.none() | registered, away=st.booleans())
    def start(self, alias: str | None, away: bool) -> None:
        self.registry = Registry()
        self.registry.alias, self.registry.away = alias, away
        self.settings = ModelSettings(poll_s=POLL_S)
        self.noted = ""
        self.activations: list[asyncio.Task[None]] = []
        self.judged: set[Model | None] = set()
        self.launch(PACKAGED, None)

    def launch(self, model: Model, note: LastGood | None) -> None:
        """Build holder and controller as a start of the daemon does, and poll once."""
        self.followed = self.noted if note else ""
        self.failed_polls = self.polls = self.checked = 0
        self.events: list[ModelEvent] = []
        self.loader = HeldLoader(self.registry, note)
        desired = DesiredModel(self.settings.variant, model)
        self.holder = ModelHolder(desired, [self.events.append])
        self.controller = ModelController(self.settings, self.holder, self.loader, self)
        self.running = self.begin(self.controller.run())

    def polled(self, reason: str, *, is_open: bool) -> None:
        """Check the end of a poll."""
        self.polls += 1
        self.failed_polls = self.failed_polls + 1 if reason else 0
        assert is_open is (self.failed_polls >= OPENS_AFTER)
        target = self.loader.resolved
        followed = [e for e in self.events[self.checked :] if e.trigger in ("alias", "settings")]
        self.checked = len(self.events)
        if reason or target in (None, self.followed):
            assert followed == [], "a choice holds until the alias moves"
        else:
            self.followed = target
            self.follow(target)
        unreachable = "the last good model serves" in (self.holder.current.fallback_reason or "")
        assert reason or not unreachable

    def postponed(self, trigger: str, reason: str, delay_s: float) -> None:
        """Fail: every version of this registry gets a verdict."""
        raise AssertionError(reason)

    def follow(self, target: str) -> None:
        """Check what a poll made of another version than the one before."""
        desired = self.holder.desired
        if target == REFUSED:
            assert desired.load_error == f"version {REFUSED} is refused: is not finite"
            return
        assert desired.load_error is None
        assert desired.alias_baseline is (target == REGISTERED_BASELINE)
        if target != REGISTERED_BASELINE:
            assert desired.fitted is MODELS[target]
            self.noted = target

    # --- the registry ---------------------------------------------------------------------

    @rule(version=registered)
    def the_alias_moves(self, version: str) -> None:
        self.registry.alias = version
        self.time_passes()

    @rule(version=registered)
    def a_version_takes_long_to_load(self, version: str) -> None:
        self.loader.open.clear()
        self.the_alias_moves(version)

    @rule(polls=st.integers(1, OPENS_AFTER))
    def the_registry_goes(self, polls: int) -> None:
        self.registry.away = True
        for _ in range(polls):
            self.time_passes()

    @rule()
    def the_registry_comes(self) -> None:
        self.registry.away = False
        self.time_passes()

    @rule()
    def loads_end(self) -> None:
        self.loader.open.set()
        self.loop.settle()

    @rule()
    def time_passes(self) -> None:
        self.loop.advance(LONG_S)

    # --- operators ------------------------------------------------------------------------

    @rule(variant=variants, version=st.none() | registered | st.just(UNKNOWN))
    def activate(self, variant: str, version: str | None) -> None:
        trigger = f"route {len(self.activations)}"
        self.activations.append(self.begin(self._activate(variant, version, trigger)))

    async def _activate(self, variant: str, version: str | None, trigger: str) -> None:
        failures = self.registry.failures
        try:
            serving = await self.controller.activate(variant, version, trigger)
        except ModelRefusedError:
            assert variant == "baseline" or version in (REFUSED, UNKNOWN)
        except RegistryAwayError:
            assert self.registry.failures > failures or self.failed_polls >= OPENS_AFTER
        else:
            self._succeeded(serving, variant, version)
            return
        assert all(e.before == e.after for e in self.events if e.trigger == trigger)

    def _succeeded(self, serving: Serving, variant: str, version: str | None) -> None:
        assert serving == self.holder.current
        assert serving.requested == variant
        if variant == "baseline" or version == REGISTERED_BASELINE:
            assert serving.model is BASELINE
        else:
            expected = MODELS[version] if version else self.holder.desired.fitted
            assert (serving.model, serving.fallback) == (expected, False)
            self.noted = self.followed

    @rule()
    def rollback(self) -> None:
        before, previous = self.holder.current, self.holder.previous
        try:
            serving = self.result(self.controller.rollback("rollback"))
        except ModelRefusedError:
            assert previous is None
            assert self.holder.current == before
        else:
            assert serving == self.holder.current == previous
            assert serving.model.digest != before.model.digest
            assert self.holder.desired.load_error is None, "it is the model asked for"
            self.noted = self.followed

    @rule(reason=st.none() | st.just("is worse"))
    def guard(self, reason: str | None) -> None:
        self.judged.add(self.holder.desired.fitted)
        self.holder.apply(replace(self.holder.desired, stopped=reason), "guard")

    @rule(variant=variants, version=st.sampled_from(["", "1", "2", REFUSED]))
    def reload(self, variant: str, version: str) -> None:
        """Nothing that was asked for is forgotten while another version is loaded."""
        before, polls = self.settings, self.polls
        self.settings = ModelSettings.model_validate(
            {"poll_s": POLL_S, "variant": variant, "version": version}
        )
        if version != before.version or self.holder.desired.load_error is not None:
            self.followed = ""
        self.controller.reload(self.settings)
        assert self.holder.desired.variant == variant
        self.loads_end()
        assert self.polls > polls
        target = version or self.registry.alias
        assert self.registry.away or target in (None, self.followed)

    @rule(away=st.booleans())
    def restart(self, away: bool) -> None:
        """The daemon starts again with the last model that it remembered."""
        self.registry.away = away
        self.running.cancel()
        for task in self.activations:
            task.cancel()
        self.loop.settle()
        self.activations.clear()
        note = self.loader.note
        model = {m.digest: m for m in (PACKAGED, *MODELS.values())}[note.digest] if note else None
        assert model in (None, self.holder.desired.fitted), "an operator's choice is remembered"
        self.launch(model or PACKAGED, note)

    # --- at rest --------------------------------------------------------------------------

    @invariant()
    def nobody_waits_but_for_a_load(self) -> None:
        if self.running.done():
            self.running.result()
        if self.loader.open.is_set():
            for task in self.activations:
                task.result()

    @invariant()
    def what_serves_follows_from_what_was_asked_for(self) -> None:
        current = self.holder.current
        assert current == self.holder.desired.serving()
        assert not self.events or self.events[-1].after == current
        desired = self.holder.desired
        assert desired.stopped is None or desired.fitted in self.judged


def test_any_order_of_polls_and_choices() -> None:
    """The alias is followed, a choice holds until it moves, and a failure changes nothing."""
    run_state_machine_as_test(
        ControllerMachine,
        settings=settings(max_examples=120, stateful_step_count=40, report_multiple_bugs=False),
    )
