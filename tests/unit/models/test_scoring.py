"""Learning and judging beside the ticks: across a restart to the bit, and with a failing shadow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import Outcome, Tick
from volsvc.features import SymbolState
from volsvc.models import (
    HORIZONS_S,
    Baseline,
    Model,
    Point,
    Scoring,
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


def work(
    state: SymbolState, chunk: Sequence[Tick], serving: Model, shadow: Model
) -> list[tuple[str, Outcome]]:
    """What the consumer does with a batch."""
    for tick in chunk:
        state.update(tick)
    points: list[Point] = [*minute_closes(state), forecast_point(state)]
    scoring = Scoring(SymbolForecasts(serving, points, HORIZONS_S), shadow, points)
    for index in range(len(points) - 1):
        scoring.learn(index)
    return scoring.outcomes


def chunks(items: Sequence[Tick], size: int) -> Iterator[Sequence[Tick]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def test_a_restart_changes_no_score() -> None:
    """State through JSON at any batch, other sizes of batches: the same outcomes and scores."""
    recording, model, baseline = ticks(40_000), packaged().model, Baseline()
    whole, parts = (SymbolState("BTC-USD", FeatureSettings()) for _ in range(2))
    expected = [o for c in chunks(recording, 500) for o in work(whole, c, model, baseline)]
    found = []
    for chunk in chunks(recording, 777):
        found += work(parts, chunk, model, baseline)
        fresh = SymbolState("BTC-USD", FeatureSettings())
        fresh.restore(stored(parts))
        parts = fresh
    assert found == expected
    assert stored(parts) == stored(whole)
    assert {(o.issued.variant, o.issued.ahead) for _, o in expected} == {
        (variant, ahead) for variant in ("baseline", "ml") for ahead in (1, 5, 15, 60)
    }


def test_either_serves_and_both_are_judged_alike() -> None:
    """Which variant serves does not change a single score: the shadow is judged the same way."""
    recording, model, baseline = ticks(4_000), packaged().model, Baseline()
    states = [SymbolState("BTC-USD", FeatureSettings()) for _ in range(2)]
    for chunk in chunks(recording, 500):
        work(states[0], chunk, model, baseline)
        work(states[1], chunk, baseline, model)
    first, second = (state.dump_learnt() for state in states)
    assert first["calibrations"] == second["calibrations"]
    assert first["scores"]["versus"] == second["scores"]["versus"]


class Broken(Baseline):
    """A shadow that gives no number."""

    variant = "ml"

    def head_variances(self, features: Any, count: int) -> Any:
        return np.full((len(features), count), np.nan)


def test_a_failing_shadow_costs_nothing() -> None:
    """It is left out, and the one that serves is judged as ever."""
    state = SymbolState("BTC-USD", FeatureSettings())
    outcomes = [o for c in chunks(ticks(4_000), 500) for o in work(state, c, Baseline(), Broken())]
    assert {o.issued.variant for _, o in outcomes} == {"baseline"}
