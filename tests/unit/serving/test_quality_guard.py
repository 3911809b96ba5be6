"""The quality guard takes a bad fitted model out of service, and lets it return."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.serving.test_holder import fitted
from volsvc.scoring.guard import Guard
from volsvc.scoring.scores import PairedLosses
from volsvc.serving.holder import ModelEvent, ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.serving.quality_guard import QualityGuard

BAD, GOOD = PairedLosses(100.0, 100.0, 150.0), PairedLosses(100.0, 100.0, 95.0)


class Served:
    """A holder under a guard, and the events that it has published."""

    def __init__(self) -> None:
        self.events: list[ModelEvent] = []
        self.holder = ModelHolder(DesiredModel("ml", fitted("1")), [self.events.append])
        self.guard = QualityGuard(self.holder, Guard(1.2, 10), 300.0)

    def after(self, losses: PairedLosses) -> str:
        self.guard.check(losses)
        return self.holder.current.name


@pytest.fixture
def served() -> Served:
    """A fitted model that the guard has seen to be good."""
    served = Served()
    assert served.after(GOOD) == "ml-1"
    return served


def test_a_bad_model_is_stopped_and_returns(served: Served) -> None:
    """The baseline serves in between; the reason gives figures, horizon and limit."""
    assert [served.after(losses) for losses in (BAD, BAD, GOOD)] == [
        "baseline-2",
        "baseline-2",
        "ml-1",
    ]
    reason = (
        "over 100 forecasts of 300 s the fitted model's QLIKE is 1.5 times the baseline's; "
        "quality.fallback_ratio is 1.2"
    )
    told = [(event.kind, event.trigger, event.reason) for event in served.events]
    assert told == [
        ("fallback", "guard", reason),
        ("return", "guard", "the fitted model is no worse any more"),
    ]


def test_an_operator_overrules_the_guard(served: Served) -> None:
    """A model that was activated all the same is stopped again only after it has been good."""
    served.after(BAD)
    served.holder.apply(replace(served.holder.desired, stopped=None), "route")
    assert [served.after(losses) for losses in (BAD, GOOD, BAD)] == ["ml-1", "ml-1", "baseline-2"]


def overruled(served: Served) -> None:
    """Let the guard know its model to be bad, and be overruled."""
    served.after(BAD)
    served.holder.apply(replace(served.holder.desired, stopped=None), "route")
    assert served.after(BAD) == "ml-1"


def test_another_model_is_judged_afresh(served: Served) -> None:
    """An overruled verdict does not pass to another model."""
    overruled(served)
    served.holder.apply(replace(served.holder.desired, fitted=fitted("2")), "alias")
    assert served.after(BAD) == "baseline-2"


def test_a_model_is_judged_afresh_after_there_was_none(served: Served) -> None:
    """The verdict ends with its model, also if the same one comes back."""
    overruled(served)
    model = served.holder.desired.fitted
    served.holder.apply(replace(served.holder.desired, fitted=None), "alias")
    assert served.after(BAD) == "baseline-2"
    served.holder.apply(replace(served.holder.desired, fitted=model, stopped=None), "alias")
    assert served.after(BAD) == "baseline-2"


def test_the_verdict_stays_when_the_same_artefact_is_loaded_again(served: Served) -> None:
    """Another object with the same digest is the same model, overruled or stopped."""
    overruled(served)
    again = fitted("1")
    served.holder.apply(replace(served.holder.desired, fitted=again), "alias")
    assert [served.after(losses) for losses in (BAD, GOOD, BAD)] == ["ml-1", "ml-1", "baseline-2"]
    served.holder.apply(replace(served.holder.desired, fitted=fitted("1")), "alias")
    assert served.after(GOOD) == "ml-1"
    assert served.events[-1].kind == "return"
