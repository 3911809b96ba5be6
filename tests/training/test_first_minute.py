"""Sigma of fresh symbols on generated markets whose volatility is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.first_minute import MAX_STEP, Start, generated, rows_of, steps_at
from volsvc.models import Baseline, Model, packaged

MODELS = [packaged().model, Baseline()]


@pytest.fixture(scope="module")
def markets() -> list[Start]:
    """Markets of another seed than those on which the prior was chosen."""
    return list(generated(303, 40, 150.0))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.variant)
def test_sigma_is_unbiased_from_the_first_second(model: Model, markets: list[Start]) -> None:
    """At 60 s and an hour, in the first minute and after it; intervals hold the truth."""
    rows = rows_of(model, markets)
    for low, high in ((0, 60), (60, 150)):
        part = rows.within(low, high)
        assert (np.abs(np.log(part.median_ratios())) < np.log(1.25)).all()
        assert (part.coverage() > 0.85).all()
    assert (np.abs(np.log(rows.within(0, 5).median_ratios())) < np.log(1.6)).all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.variant)
def test_sigma_does_not_step_when_the_minute_ends(model: Model, markets: list[Start]) -> None:
    """It changes as little as in another second, but for a jump of a market perhaps."""
    steps = steps_at(rows_of(model, markets), 60)
    assert np.median(steps) < 1.05
    assert ((steps > MAX_STEP).sum(axis=0) <= 1).all()
