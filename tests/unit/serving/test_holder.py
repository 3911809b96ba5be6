"""The holder of the active model: fallbacks, events and rollbacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from volsvc.config.settings import load_settings
from volsvc.models import ArtefactError, Baseline, Model, ModelError
from volsvc.serving.factory import build_holder
from volsvc.serving.holder import ModelEvent, ModelHolder
from volsvc.serving.model_choice import BASELINE, DesiredModel, Serving, with_fallback


def test_a_damaged_artefact_leaves_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service starts with the baseline and the reason."""

    def damaged(*_: Path) -> None:
        raise ArtefactError("ml.npz: is not a model artefact")

    monkeypatch.setattr("volsvc.serving.factory.packaged", damaged)
    serving = build_holder(load_settings(None, {"model": {"variant": "ml"}})).current
    assert (serving.model.variant, serving.requested) == ("baseline", "ml")
    assert serving.fallback_reason == "ml.npz: is not a model artefact"


@pytest.mark.parametrize("variant", ["baseline", "ml"])
def test_the_requested_variant_serves(variant: str) -> None:
    """Either variant serves without a fallback."""
    serving = build_holder(load_settings(None, {"model": {"variant": variant}})).current
    assert serving.model.variant == variant
    assert not serving.fallback


def fitted(version: str) -> Model:
    model = Baseline()
    model.variant, model.version, model.digest = "ml", version, f"digest-{version}"
    return model


def change(holder: ModelHolder, trigger: str, **fields: Any) -> None:
    holder.apply(replace(holder.desired, **fields), trigger)


def test_ladder_and_events() -> None:
    """The fitted model, the last good one and the baseline follow each other with a reason."""
    events = list[ModelEvent]()
    holder = ModelHolder(DesiredModel("ml", fitted("1")), [events.append])
    assert holder.current.name == "ml-1"
    assert holder.shadow is BASELINE
    change(holder, "alias", load_error="version 2 is refused")
    assert (holder.current.name, holder.current.fallback) == ("ml-1", True)
    change(holder, "alias", fitted=fitted("3"), load_error=None)
    assert (holder.current.name, holder.current.fallback) == ("ml-3", False)
    change(holder, "guard", stopped="is worse")
    assert (holder.current.name, holder.current.fallback_reason) == ("baseline-2", "is worse")
    assert holder.shadow is not None
    assert holder.shadow.version == "3"
    change(holder, "route", stopped=None)
    change(holder, "route", variant="baseline")
    assert (holder.current.name, holder.current.fallback) == ("baseline-2", False)
    kinds = [(event.kind, event.after.name) for event in events]
    assert kinds == [
        ("fallback", "ml-1"),
        ("return", "ml-3"),
        ("fallback", "baseline-2"),
        ("return", "ml-3"),
        ("swap", "baseline-2"),
    ]


def test_the_same_model_under_another_request_is_a_swap() -> None:
    """The baseline may be asked for by name or by the alias: neither is a fallback."""
    events = list[ModelEvent]()
    holder = ModelHolder(DesiredModel("ml", fitted("1"), alias_baseline=True), [events.append])
    change(holder, "route", variant="baseline")
    change(holder, "route", variant="ml")
    found = [(event.kind, event.after.name, event.after.requested) for event in events]
    assert found == [("swap", "baseline-2", "baseline"), ("swap", "baseline-2", "ml")]


def test_rollback_and_back() -> None:
    """A rollback returns to the model before; another one undoes it."""
    holder = ModelHolder(DesiredModel("ml", fitted("1")), shadow=False)
    assert holder.rollback("rollback") is None
    change(holder, "alias", fitted=fitted("2"))
    names = []
    for _ in range(3):
        holder.rollback("rollback")
        names.append(holder.current.name)
    assert names == ["ml-1", "ml-2", "ml-1"]
    assert holder.previous is not None
    assert holder.previous.name == "ml-2"
    assert holder.shadow is None


def test_a_rollback_leaves_old_reasons_behind() -> None:
    """A model that an operator returns to is the one asked for, whatever was wrong at that time."""
    holder = ModelHolder(DesiredModel("ml", fitted("1"), load_error="the registry is away"))
    change(holder, "alias", fitted=fitted("2"), load_error=None)
    holder.rollback("rollback")
    assert (holder.current.name, holder.current.fallback) == ("ml-1", False)
    assert holder.desired.load_error is None


def test_the_active_model_answers() -> None:
    """A call gets the active model, which is named beside the result."""
    model = fitted("1")
    assert with_fallback(Serving(model, "ml"), lambda used: used.version) == (model, "1")


def test_the_baseline_replaces_a_model_that_fails() -> None:
    """The baseline answers the one call; if it fails too, the error is raised."""

    def call(model: Model) -> str:
        if model is not BASELINE:
            raise ModelError("not finite")
        return "fine"

    def fail(model: Model) -> str:
        raise ModelError("not finite")

    assert with_fallback(Serving(fitted("1"), "ml"), call) == (BASELINE, "fine")
    with pytest.raises(ModelError):
        with_fallback(Serving(fitted("1"), "ml"), fail)
