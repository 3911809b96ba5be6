"""The model holder under any order of changes, refusals, rollbacks and reads."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.unit.serving.test_holder import fitted
from volsvc.models import Model
from volsvc.serving.audit_log import AuditLog, entries, verify
from volsvc.serving.holder import Kind, Listener, ModelEvent, ModelHolder
from volsvc.serving.listeners import ModelListener
from volsvc.serving.model_choice import BASELINE, DesiredModel, Serving
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

Facts = tuple[str, ...]


def registered_again(model: Model, version: str) -> Model:
    again = fitted(version)
    again.digest = model.digest
    return again


MODELS: Final = {version: fitted(version) for version in ("1", "3")}
MODELS["4"] = registered_again(MODELS["1"], "4")

variants = st.sampled_from(["baseline", "ml"])
reasons = st.none() | st.sampled_from(["is worse", "is refused"])
versions = st.none() | st.sampled_from(sorted(MODELS))
changes = st.fixed_dictionaries(
    {},
    optional={
        "variant": variants,
        "fitted": versions,
        "alias_baseline": st.booleans(),
        "stopped": reasons,
        "load_error": reasons,
    },
)


def facts(serving: Serving) -> Facts:
    """Return everything that a request reads of the active model."""
    model = serving.model
    reason = serving.fallback_reason or ""
    return serving.name, model.variant, model.version, model.digest, serving.requested, reason


class HolderMachine(RuleBasedStateMachine):
    """A holder with its listeners, beside the list of everything that it was asked for."""

    reads: Bundle[tuple[Serving, Facts]] = Bundle("reads")

    def __init__(self) -> None:
        super().__init__()
        self.events: list[ModelEvent] = []
        self.heard_last: list[ModelEvent] = []
        self.metrics, self.health = Metrics(), Health()
        self.folder = tempfile.TemporaryDirectory()
        audit_log = AuditLog(Path(self.folder.name))
        self.record = ModelListener(self.metrics, self.health, audit_log)

    @initialize(variant=variants, version=versions, shadow=st.booleans())
    def start(self, variant: str, version: str | None, shadow: bool) -> None:
        desired = DesiredModel(variant, MODELS[version] if version else None)
        self.asked = [desired]
        listeners: list[Listener] = [self.hear, self.record, self.heard_last.append]
        self.holder = ModelHolder(desired, listeners, shadow=shadow)
        self.shadows = shadow
        self.notify("start")

    def hear(self, event: ModelEvent) -> None:
        """Read the holder as a request that comes in the middle of a change would."""
        assert self.holder.current == event.after
        self.events.append(event)
        self.the_ladder_holds()
        self.the_shadow_is_another_model()

    # --- changes --------------------------------------------------------------------------

    @rule(version=st.sampled_from(sorted(MODELS)))
    def activate(self, version: str) -> None:
        clear = {"alias_baseline": False, "stopped": None, "load_error": None}
        self.apply({"variant": "ml", "fitted": version, **clear})

    @rule(fields=changes)
    def apply(self, fields: Mapping[str, Any]) -> None:
        if fields.get("fitted"):
            fields = {**fields, "fitted": MODELS[fields["fitted"]]}
        before, told = self.holder.current, len(self.events)
        self.asked.append(replace(self.holder.desired, **fields))
        assert self.holder.apply(self.asked[-1], "route", "asked") == self.holder.current
        after = self.holder.current
        kind: Kind = "swap"
        if after.fallback != before.fallback:
            kind = "fallback" if after.fallback else "return"
        elif after.fallback and after.model is before.model:
            kind = "fallback"
        event = ModelEvent(kind, "route", after.fallback_reason or "asked", before, after)
        assert self.events[told:] == ([event] if after != before else [])

    @rule()
    def rollback(self) -> None:
        before, told, former = self.holder.current, len(self.events), self.former()
        if former is None:
            assert self.holder.rollback("rollback") is None
            assert (self.holder.current, self.events[told:]) == (before, [])
            return
        self.asked.append(former)
        after = self.holder.rollback("rollback")
        assert after == self.holder.current == former.serving()
        (event,) = self.events[told:]
        assert (event.kind, event.before, event.after) == ("rollback", before, after)

    @rule(kind=st.sampled_from(["refused", "stop"]))
    def notify(self, kind: Literal["start", "refused", "stop"]) -> None:
        before = self.holder.current
        self.holder.notify(kind, "alias", "why")
        assert self.holder.current == before
        assert self.events[-1] == ModelEvent(kind, "alias", "why", before, before)

    def former(self) -> DesiredModel | None:
        """Return what was asked for while another model than the present one served last."""
        digest = self.holder.current.model.digest
        others = (d for d in reversed(self.asked) if d.serving().model.digest != digest)
        former = next(others, None)
        return former and replace(former, load_error=None)

    # --- reads ----------------------------------------------------------------------------

    @rule(target=reads)
    def read(self) -> tuple[Serving, Facts]:
        return self.holder.current, facts(self.holder.current)

    @rule(read=reads)
    def a_request_ends_with_the_model_it_began_with(self, read: tuple[Serving, Facts]) -> None:
        serving, then = read
        assert facts(serving) == then

    @invariant()
    def number_variant_and_version_belong_together(self) -> None:
        name, variant, version, digest, *_ = facts(self.holder.current)
        model = BASELINE if variant == "baseline" else MODELS[version]
        assert (variant, version, digest) == (model.variant, model.version, model.digest)
        assert name == f"{variant}-{version}"

    @invariant()
    def the_ladder_holds(self) -> None:
        desired, current = self.holder.desired, self.holder.current
        assert desired == self.asked[-1]
        by_choice = desired.variant == "baseline"
        obstacle = desired.alias_baseline or desired.stopped is not None
        may_serve = not by_choice and not obstacle and desired.fitted is not None
        assert current.model is (desired.fitted if may_serve else BASELINE)
        assert current.requested == desired.variant
        as_asked = (may_serve or desired.alias_baseline) and desired.load_error is None
        assert current.fallback is not (by_choice or as_asked)
        allowed = {None, desired.stopped, desired.load_error, "there is no fitted model"}
        assert current.fallback_reason in allowed

    @invariant()
    def a_rollback_would_return_to_the_model_before(self) -> None:
        former = self.former()
        assert self.holder.previous == (former.serving() if former else None)

    @invariant()
    def the_shadow_is_another_model(self) -> None:
        shadow = self.holder.shadow
        if not self.shadows:
            assert shadow is None
        elif self.holder.current.model is BASELINE:
            assert shadow is self.holder.desired.fitted
        else:
            assert shadow is BASELINE

    # --- listeners ------------------------------------------------------------------------

    @invariant()
    def every_listener_hears_every_change_in_order(self) -> None:
        assert self.heard_last == self.events
        for earlier, later in zip(self.events, self.events[1:], strict=False):
            assert earlier.after == later.before
        assert self.events[-1].after == self.holder.current

    @invariant()
    def metrics_and_health_show_what_serves(self) -> None:
        current, metrics = self.holder.current, self.metrics.model
        (info,) = metrics.info.collect()
        (active,) = info.samples
        labels = {"variant": current.model.variant, "version": current.model.version}
        assert (active.labels, active.value) == (labels, 1)
        (fallback,) = metrics.fallback_active.collect()
        assert fallback.samples[0].value == current.fallback
        assert self.health.status == ("degraded" if current.fallback else "ok")
        (swaps,) = metrics.swaps.collect()
        counted = [event for event in self.events if event.kind not in ("start", "stop")]
        assert sum(s.value for s in swaps.samples) == len(counted)

    @rule()
    def the_audit_log_has_every_event(self) -> None:
        folder = Path(self.folder.name)
        assert verify(folder) == (1, len(self.events))
        written = [(e["kind"], e["model"], e["previous"]) for e in entries(folder)]
        heard = [(event.kind, event.after.name, event.before.name) for event in self.events]
        assert written == heard

    def teardown(self) -> None:
        """Remove the audit log."""
        self.folder.cleanup()


def test_any_order_of_changes_and_reads() -> None:
    """The active model, a rollback and the events of listeners follow from the history."""
    run_state_machine_as_test(
        HolderMachine,
        settings=settings(max_examples=40, stateful_step_count=30, report_multiple_bugs=False),
    )
