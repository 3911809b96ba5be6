"""The forecaster: what readers get, what is published, and what a symbol learns from it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.applied import apply
from tests.unit.pipeline.logged import tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import Snapshot, parse_time
from volsvc.features import SymbolState
from volsvc.models import (
    HORIZONS_S,
    Baseline,
    MinuteScoring,
    Model,
    SymbolForecasts,
    forecast_point,
    minute_closes,
    packaged,
)
from volsvc.pipeline.forecaster import DuePoint, Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.output_publisher import Outputs
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import BASELINE, DesiredModel
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import encode_outcome
from volsvc.transport.features_record import decode_snapshot, read_header

MODEL = packaged().model
# Minutes of which forecasts for one minute and for five mature.
MINUTES = 8


class BrokenModel(Baseline):
    """A fitted model without a finite forecast."""

    variant, version, digest = "ml", "9", "broken"

    def head_variances(self, features: Any, count: int) -> Any:
        """Return NaN."""
        return np.full((len(features), count), np.nan)


class Forecasting:
    """A forecaster and all that it is connected with."""

    def __init__(
        self, fitted: Model = MODEL, variant: str = "ml", *, shadow: bool = True, **options: Any
    ) -> None:
        self.metrics = Metrics()
        self.store = LatestStore()
        self.observed: list[Snapshot] = []
        holder = ModelHolder(DesiredModel(variant, fitted), shadow=shadow)
        options.setdefault("observe", self.observed.append)
        self.forecaster = Forecaster(holder, self.store, self.metrics, "writer#1", **options)

    def forecast(self, *due: DuePoint) -> Outputs:
        """Forecast at points, and return the records to publish."""
        outputs = Outputs()
        self.forecaster.forecast(due, outputs)
        return outputs

    def timed(self, variant: str) -> float | None:
        """Return how many model calls of a variant were timed."""
        name, labels = "volsvc_inference_duration_seconds_count", {"variant": variant}
        return self.metrics.registry.get_sample_value(name, labels)


def symbol_state(seconds: int = 5, symbol: str = "A") -> SymbolState:
    """Return a state after a tick a second."""
    state = SymbolState(symbol, FeatureSettings())
    for second in range(seconds):
        apply(state, tick(second, symbol))
    state.offset, state.partition = 41, 3
    return state


def on_grid(state: SymbolState) -> DuePoint:
    """Return the point of a state on the publishing grid."""
    return DuePoint(forecast_point(state), state.dump(), on_grid=True)


def decoded(record: OutRecord) -> Snapshot:
    """Return the snapshot in a features record."""
    place = Record("ticks.features", 0, 0, record.key, record.value, record.headers)
    return decode_snapshot(place).snapshot


def expected(state: SymbolState, model: Model, horizon_s: float = 60.0) -> Snapshot:
    """Return the snapshot of one point, by a call of the model for it alone."""
    horizons = sorted({*HORIZONS_S, horizon_s})
    return SymbolForecasts(model, [forecast_point(state)], horizons).snapshot(0, horizon_s)


def test_without_points_no_model_is_called() -> None:
    """An empty list of points leaves everything as it is."""
    forecasting = Forecasting()
    assert forecasting.forecast() == Outputs()
    assert not forecasting.timed("ml")


def test_readers_get_the_forecast_of_a_point() -> None:
    """A point without a dump goes to the latest store, with its offset and the present time."""
    forecasting, state = Forecasting(), symbol_state()
    before = time.time()
    assert forecasting.forecast(DuePoint(forecast_point(state), None)) == Outputs()
    entry = forecasting.store.get("A")
    assert entry.snapshot == expected(state, MODEL)
    assert entry.offset == 41
    assert before - 0.001 <= entry.processed_s <= time.time()
    assert forecasting.observed == []
    assert state.digest.dump() == SymbolState("A", FeatureSettings()).digest.dump()


def test_a_point_of_the_grid_is_published_with_its_state() -> None:
    """The record has the snapshot, the writer, and the state after the forecast."""
    forecasting, state = Forecasting(), symbol_state()
    before, point = time.time_ns(), on_grid(state)
    reference = symbol_state()
    reference.digest.add_forecast(expected(reference, MODEL))
    outputs = forecasting.forecast(point)
    (record,) = outputs.features
    assert outputs == Outputs(features=[record])
    snapshot = decoded(record)
    assert snapshot == expected(state, MODEL)
    value = msgspec.json.decode(record.value or b"")
    assert before - 1_000_000 <= parse_time(value["processed_at"]) <= time.time_ns()
    stored = msgspec.json.encode({**reference.dump(), **reference.dump_learnt()})
    assert value["state"] == {**msgspec.json.decode(stored), "offset": 41, "partition": 3}
    header = read_header(Record("f", 3, 0, record.key, record.value, record.headers))
    assert header is not None
    assert (header.offset, header.writer, record.partition) == (41, "writer#1", 3)
    assert forecasting.observed == [snapshot]
    assert len(state.forecast_history.forecasts(10)) == 1
    # Readers get it with the newest tick of its slice, which has a point of its own.
    assert len(forecasting.store) == 0


def test_a_flush_enters_neither_digest_nor_history() -> None:
    """A point off the grid is published, but its time depends on the polls."""
    forecasting, state = Forecasting(), symbol_state()
    digest = state.digest.dump()
    outputs = forecasting.forecast(DuePoint(forecast_point(state), state.dump()))
    assert len(outputs.features) == 1
    assert forecasting.observed == []
    assert state.digest.dump() == digest
    assert state.forecast_history.forecasts(10) == []


def test_nobody_need_observe() -> None:
    """Without an observer the forecasts are published all the same."""
    forecasting = Forecasting(observe=None)
    assert len(forecasting.forecast(on_grid(symbol_state())).features) == 1


@pytest.mark.parametrize("horizon_s", [60.0, 300.0, 120.0, 7_200.0])
def test_the_score_is_that_of_the_configured_horizon(horizon_s: float) -> None:
    """A horizon beside the fitted ones is forecast as well, in its order."""
    forecasting, state = Forecasting(horizon_s=horizon_s), symbol_state()
    forecasting.forecast(DuePoint(forecast_point(state), None))
    snapshot = forecasting.store.get("A").snapshot
    horizons = [prediction.horizon_s for prediction in snapshot.predictions]
    assert horizons == sorted({*HORIZONS_S, horizon_s})
    assert snapshot.score == snapshot.predictions[horizons.index(horizon_s)].score
    assert snapshot == expected(state, MODEL, horizon_s)


def test_the_usual_horizon_is_a_minute() -> None:
    """Without a configured horizon the score is that of the first fitted one."""
    forecasting, state = Forecasting(), symbol_state()
    forecasting.forecast(DuePoint(forecast_point(state), None))
    snapshot = forecasting.store.get("A").snapshot
    assert snapshot.score == snapshot.predictions[0].score
    assert len(snapshot.predictions) == len(HORIZONS_S)


@pytest.mark.parametrize("variant", ["ml", "baseline"])
def test_model_calls_are_timed_by_variant(variant: str) -> None:
    """One call for all points is timed, in seconds, of the model that serves."""
    forecasting = Forecasting(variant=variant)
    points = [DuePoint(forecast_point(symbol_state(5, symbol)), None) for symbol in "AB"]
    started = time.perf_counter()
    forecasting.forecast(*points)
    assert forecasting.timed(variant) == 1
    assert forecasting.store.get("B").snapshot.variant == variant
    name, labels = "volsvc_inference_duration_seconds_sum", {"variant": variant}
    seconds = forecasting.metrics.registry.get_sample_value(name, labels)
    assert seconds is not None
    assert 0 < seconds <= time.perf_counter() - started


def run_minutes(forecasting: Forecasting) -> tuple[list[OutRecord], SymbolState]:
    """Forecast at the closes of some minutes; return the outcomes to publish, and the state."""
    state, outputs = SymbolState("A", FeatureSettings()), Outputs()
    for second in range(0, 60 * MINUTES, 5):
        apply(state, tick(second))
        closes = [DuePoint(point, None) for point in minute_closes(state)]
        forecasting.forecaster.forecast([*closes, on_grid(state)], outputs)
    return outputs.outcomes, state


def learnt(state: SymbolState) -> Mapping[str, Any]:
    """Return calibrations and scores of a state."""
    return {"calibrations": state.calibrations.dump(), "scores": state.scores.dump()}


@pytest.mark.parametrize(
    ("fitted", "variant", "serving", "shadow"),
    [
        (MODEL, "ml", MODEL, BASELINE),
        (MODEL, "baseline", BASELINE, MODEL),
        # The baseline answers for a model that fails, and has no shadow then.
        (BrokenModel(), "ml", BASELINE, None),
        # A shadow that fails is left out.
        (BrokenModel(), "baseline", BASELINE, None),
    ],
)
def test_minutes_score_the_model_and_its_shadow(
    fitted: Model, variant: str, serving: Model, shadow: Model | None
) -> None:
    """Outcomes, calibrations, scores and the digest are those of learning minute by minute."""
    forecasting = Forecasting(fitted, variant)
    outcomes, state = run_minutes(forecasting)
    reference, matured = SymbolState("A", FeatureSettings()), list[OutRecord]()
    for second in range(0, 60 * MINUTES, 5):
        apply(reference, tick(second))
        for point in minute_closes(reference):
            forecasts = SymbolForecasts(serving, [point], HORIZONS_S)
            scoring = MinuteScoring(forecasts, shadow, [point])
            scoring.learn(0)
            reference.digest.close(point.ended.bar)
            matured += [encode_outcome(symbol, outcome) for symbol, outcome in scoring.outcomes]
        reference.digest.add_forecast(expected(reference, serving))
    assert learnt(state) == learnt(reference)
    assert outcomes == matured
    assert len(matured) >= (MINUTES - 2) * (1 if shadow is None else 2)
    assert state.digest.dump() == reference.digest.dump()
    assert all(snapshot.variant == serving.variant for snapshot in forecasting.observed)


def test_shadows_may_be_disabled() -> None:
    """Without a shadow only the serving model is scored."""
    outcomes, state = run_minutes(Forecasting(shadow=False))
    assert state.scores.by_variant.keys() == {"ml"}
    variants = {msgspec.json.decode(record.value or b"")["model_variant"] for record in outcomes}
    assert variants == {"ml"}
