"""What serves when the fitted model cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from volsvc.config.settings import load_settings
from volsvc.models import ArtefactError, Baseline, Model, ModelError
from volsvc.serving.factory import build_holder
from volsvc.serving.holder import (
    BASELINE,
    DesiredModel,
    ModelEvent,
    ModelHolder,
    Serving,
    with_fallback,
)


def test_a_damaged_artefact_leaves_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service starts, with the baseline and the reason."""

    def damaged(*_: Path) -> None:
        raise ArtefactError("ml.npz: is no model artefact")

    monkeypatch.setattr("volsvc.serving.factory.packaged", damaged)
    serving = build_holder(load_settings(None, {"model": {"variant": "ml"}})).current
    assert (serving.model.variant, serving.requested) == ("baseline", "ml")
    assert serving.fallback_reason == "ml.npz: is no model artefact"


@pytest.mark.parametrize("variant", ["baseline", "ml"])
def test_what_is_asked_for_serves(variant: str) -> None:
    """Either variant, without a fallback."""
    serving = build_holder(load_settings(None, {"model": {"variant": variant}})).current
    assert serving.model.variant == variant
    assert not serving.fallback


def fitted(version: str) -> Model:
    model = Baseline()
    model.variant, model.version, model.digest = "ml", version, f"digest-{version}"
    return model


def test_ladder_and_labels() -> None:
    """Fitted, last good, baseline: each says what it is and why."""
    holder, heard = ModelHolder(DesiredModel("ml", fitted("1"))), list[ModelEvent]()
    holder.listen(heard.append)
    assert holder.current.name == "ml-1"
    assert holder.shadow is BASELINE
    holder.change("alias", lacking="version 2 is refused")
    assert (holder.current.name, holder.current.fallback) == ("ml-1", True)
    holder.change("alias", fitted=fitted("3"), lacking=None)
    assert (holder.current.name, holder.current.fallback) == ("ml-3", False)
    holder.change("guard", stopped="is worse")
    assert (holder.current.name, holder.current.fallback_reason) == ("baseline-2", "is worse")
    assert holder.shadow is not None
    assert holder.shadow.version == "3"
    holder.change("route", stopped=None)
    holder.change("route", variant="baseline")
    assert (holder.current.name, holder.current.fallback) == ("baseline-2", False)
    kinds = [(event.kind, event.after.name) for event in heard]
    assert kinds == [
        ("fallback", "ml-1"),
        ("return", "ml-3"),
        ("fallback", "baseline-2"),
        ("return", "ml-3"),
        ("swap", "baseline-2"),
    ]


def test_rollback_and_back() -> None:
    """A rollback serves what served before; another one undoes it."""
    holder = ModelHolder(DesiredModel("ml", fitted("1")), shadow=False)
    assert holder.rollback("rollback") is None
    holder.change("alias", fitted=fitted("2"))
    names = []
    for _ in range(3):
        holder.rollback("rollback")
        names.append(holder.current.name)
    assert names == ["ml-1", "ml-2", "ml-1"]
    assert holder.previous is not None
    assert holder.previous.name == "ml-2"
    assert holder.shadow is None


def test_a_model_that_fails_is_stood_in_for() -> None:
    """For one call the baseline answers, and says so; when it fails too, there is no answer."""

    def call(model: Model) -> str:
        if model is not BASELINE:
            raise ModelError("not finite")
        return "fine"

    def fail(model: Model) -> str:
        raise ModelError("not finite")

    assert with_fallback(Serving(fitted("1"), "ml"), call) == (BASELINE, "fine")
    with pytest.raises(ModelError):
        with_fallback(Serving(fitted("1"), "ml"), fail)
