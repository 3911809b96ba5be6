"""What serves when the fitted model cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from volsvc.config import load_settings
from volsvc.model_setup import build_holder
from volsvc.models import ArtefactError


def test_a_damaged_artefact_leaves_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service starts, with the baseline and the reason."""

    def damaged(*_: Path) -> None:
        raise ArtefactError("ml.npz: is no model artefact")

    monkeypatch.setattr("volsvc.model_setup.read_artefact", damaged)
    serving = build_holder(load_settings(None, {"model": {"variant": "ml"}})).current
    assert (serving.model.variant, serving.requested) == ("baseline", "ml")
    assert serving.fallback_reason == "ml.npz: is no model artefact"


@pytest.mark.parametrize("variant", ["baseline", "ml"])
def test_what_is_asked_for_serves(variant: str) -> None:
    """Either variant, without a fallback."""
    serving = build_holder(load_settings(None, {"model": {"variant": variant}})).current
    assert serving.model.variant == variant
    assert not serving.fallback
