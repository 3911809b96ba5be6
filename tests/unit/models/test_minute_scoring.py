"""Calibration and scores at the ends of minutes: across a restart, and with a failing shadow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from tests.applied import apply
from volsvc.config.settings import FeatureSettings
from volsvc.domain import Outcome, Tick
from volsvc.features import SymbolState
from volsvc.models import (
    HORIZONS_S,
    Baseline,
    MinuteScoring,
    Model,
    Point,
    SymbolForecasts,
    forecast_point,
    minute_closes,
    packaged,
)
from volsvc.sources.generator import Generator, GeneratorSpec

START_NS = 1_767_571_200 * 10**9


def ticks(count: int) -> list[Tick]:
    spec = GeneratorSpec(("BTC-USD",), 7, START_NS)
    return [item.tick for item in islice(Generator(spec).ticks(), count)]


def stored(state: SymbolState) -> Any:
    return json.loads(json.dumps({**state.dump(), **state.dump_learnt()}))


def process(
    state: SymbolState, chunk: Sequence[Tick], serving: Model, shadow: Model
) -> list[tuple[str, Outcome]]:
    """Process a batch as the consumer does; return its outcomes."""
    for tick in chunk:
        apply(state, tick)
    points: list[Point] = [*minute_closes(state), forecast_point(state)]
    scoring = MinuteScoring(SymbolForecasts(serving, points, HORIZONS_S), shadow, points)
    for index in range(len(points) - 1):
        scoring.learn(index)
    return scoring.outcomes


def chunks(items: Sequence[Tick], size: int) -> Iterator[Sequence[Tick]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def test_a_restart_changes_no_score() -> None:
    """State restored from JSON at any batch, of any size, gives the same outcomes and scores."""
    recording, model, baseline = ticks(40_000), packaged().model, Baseline()
    whole, parts = (SymbolState("BTC-USD", FeatureSettings()) for _ in range(2))
    expected = [o for c in chunks(recording, 500) for o in process(whole, c, model, baseline)]
    found = []
    for chunk in chunks(recording, 777):
        found += process(parts, chunk, model, baseline)
        fresh = SymbolState("BTC-USD", FeatureSettings())
        fresh.restore(stored(parts))
        parts = fresh
    assert found == expected
    assert stored(parts) == stored(whole)
    assert {(o.issued.variant, o.issued.horizon_minutes) for _, o in expected} == {
        (variant, ahead) for variant in ("baseline", "ml") for ahead in (1, 5, 15, 60)
    }


def test_serving_and_shadow_have_equal_scores() -> None:
    """The scores are the same whichever variant serves."""
    recording, model, baseline = ticks(4_000), packaged().model, Baseline()
    states = [SymbolState("BTC-USD", FeatureSettings()) for _ in range(2)]
    for chunk in chunks(recording, 500):
        process(states[0], chunk, model, baseline)
        process(states[1], chunk, baseline, model)
    first, second = (state.dump_learnt() for state in states)
    assert first["calibrations"] == second["calibrations"]
    assert first["scores"]["versus"] == second["scores"]["versus"]


class NanShadow(Baseline):
    """A shadow whose variances are NaN."""

    variant = "ml"

    def head_variances(self, features: Any, count: int) -> Any:
        return np.full((len(features), count), np.nan)


def test_a_failing_shadow_is_left_out() -> None:
    """The serving model is scored without it."""
    state = SymbolState("BTC-USD", FeatureSettings())
    outcomes = [
        o for c in chunks(ticks(4_000), 500) for o in process(state, c, Baseline(), NanShadow())
    ]
    assert {o.issued.variant for _, o in outcomes} == {"baseline"}
