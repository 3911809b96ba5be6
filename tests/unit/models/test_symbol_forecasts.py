"""Forecasts of symbols against their formulas, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.applied import apply
from tests.unit.models.fixed import FixedModel, scales_of
from volsvc.config.settings import FeatureSettings
from volsvc.domain import HORIZON_MINUTES, Prediction
from volsvc.features import SCALE_NAMES, SymbolState
from volsvc.models import (
    HORIZONS_S,
    BarAdapter,
    Baseline,
    ForecastPoint,
    MinuteScoring,
    Model,
    Point,
    SymbolForecasts,
    forecast_point,
    minute_closes,
    packaged,
)
from volsvc.models.drift_inputs import DRIFT_INPUTS, bar_inputs, is_warm, snapshot_inputs
from volsvc.models.symbol_forecasts import matrix_of, named_scales
from volsvc.sources.generator import Generator, GeneratorSpec

HORIZONS = (10.0, 60.0, 130.0, 140.0, 300.0, 900.0, 3600.0, 7200.0)
# The fitted horizon that is nearest in ratio to each.
NEAREST = (0, 0, 0, 1, 1, 2, 3, 3)
MODEL = FixedModel((4e-8, 6e-7, 1e-6, 8e-6))
SCALES = {"level": 3e-9, "age": math.log1p(30.0), "resolution": 3.0}
START_NS = 1_767_571_200 * 10**9


def state() -> SymbolState:
    return SymbolState("BTC-USD", FeatureSettings())


def traded(count: int) -> SymbolState:
    """Return the state after some minutes of ticks."""
    found = state()
    generated = Generator(GeneratorSpec(("BTC-USD",), 7, START_NS)).ticks()
    for item in islice(generated, count):
        apply(found, item.tick)
    return found


def point(
    scales: Mapping[str, float],
    thresholds: Sequence[float] = (-16.0, -14.0, -13.0, -12.0),
    counts: Sequence[int] = (1440, 720, 480, 0),
) -> ForecastPoint:
    return ForecastPoint(state(), scales_of(scales), tuple(thresholds), tuple(counts))


def at(values: Sequence[float], horizon_s: float) -> float:
    """Return the value at a horizon, linear in ln horizon between the fitted ones."""
    return float(np.interp(math.log(horizon_s), np.log(HORIZONS_S), values))


def expected(at_point: ForecastPoint, column: int) -> Prediction:
    """Return the forecast of a symbol without a past of its own."""
    horizon, scales = HORIZONS[column], np.nan_to_num(at_point.scales)
    variance = MODEL.variances(matrix_of([at_point]), (horizon,))[0, 0]
    rates = []
    for index, fitted in enumerate(HORIZONS_S):
        limit = MODEL.log_threshold(matrix_of([at_point]), fitted)[0]
        if at_point.counts[index]:
            share = at_point.counts[index] / (at_point.counts[index] + 1440)
            limit = (1 - share) * limit + share * at_point.log_thresholds[index]
        rates.append(limit - math.log(fitted))
    limit = at(rates, horizon) + math.log(horizon)
    log = math.log(variance)
    more = max(scales[SCALE_NAMES.index("resolution")] - 1, 0)
    minutes = math.expm1(scales[SCALE_NAMES.index("age")]) * (1 + more * min(60 / horizon, 1))
    wide = 1 + 1 / math.sqrt(1 + minutes / 10)
    turbulence = min(max((log - limit) / 2 + 1, 0), 1)
    law = MODEL.laws[NEAREST[column]].mixed(turbulence)
    low, middle, high = law.bounds()
    return Prediction(
        horizon_s=horizon,
        sigma=math.sqrt(variance),
        lo=math.exp((log + middle - (middle - low) * wide) / 2),
        hi=math.exp((log + middle + (high - middle) * wide) / 2),
        threshold=math.exp(limit / 2),
        score=float(law.above(middle + (limit - log - middle) / wide)),
    )


def numbers(prediction: Prediction) -> tuple[float, ...]:
    one = prediction
    return (one.horizon_s, one.sigma, one.lo, one.hi, one.threshold, one.score)


def test_predictions_are_their_formulas() -> None:
    """Young and old symbols, with and without a past, have their own widths and thresholds."""
    points = [
        point(SCALES),
        point({**SCALES, "resolution": 0.5}),
        point({**SCALES, "age": math.log1p(1e5)}, (-18.5, -16.5, -15.0, -14.0)),
        point({**SCALES, "level": 2e-8}, (math.nan,) * 4, (0,) * 4),
        ForecastPoint(state(), np.full(len(SCALE_NAMES), np.nan), (math.nan,) * 4, (0,) * 4),
    ]
    forecasts = SymbolForecasts(MODEL, points, HORIZONS)
    for index, one in enumerate(points):
        found = forecasts.predictions(index)
        assert len(found) == len(HORIZONS)
        for column, prediction in enumerate(found):
            assert numbers(prediction) == pytest.approx(numbers(expected(one, column)), rel=1e-9)


def test_forecasts_issued_are_those_at_the_fitted_horizons() -> None:
    """At the end of a quarter all four are issued, with the numbers that were predicted."""
    ended = minute_closes(traded(8_000))
    quarter = next(e for e in ended if e.ended.bar.minute % 15 == 14)
    forecasts = SymbolForecasts(MODEL, [*ended[:1], quarter], HORIZONS)
    predicted = {one.horizon_s: one for one in forecasts.predictions(1)}
    forecasts.issue(1)
    scores = quarter.state.scores.by_variant["ml"]
    assert scores.digest == MODEL.digest
    assert (scores.newest_id or "").endswith("/ml-7")
    pending = scores.pending
    assert [one.horizon_minutes for one in pending] == list(HORIZON_MINUTES)
    for one in pending:
        assert (one.variant, one.version, one.minute) == ("ml", "7", quarter.ended.bar.minute)
        expected = predicted[60.0 * one.horizon_minutes]
        assert (one.sigma, one.lo, one.hi) == (expected.sigma, expected.lo, expected.hi)
        assert (one.threshold, one.score) == (expected.threshold, expected.score)


def test_a_snapshot_has_what_was_forecast() -> None:
    """Row, features and quality are the state's, the score that of the horizon asked for."""
    symbol = traded(3_000)
    at_tick = forecast_point(symbol)
    forecasts = SymbolForecasts(MODEL, [at_tick], HORIZONS)
    snapshot = forecasts.snapshot(0, 900.0)
    assert (snapshot.row, snapshot.variant, snapshot.version) == (symbol.row, "ml", "7")
    assert snapshot.quality == replace(symbol.quality(), calibration="pooled")
    assert snapshot.predictions == forecasts.predictions(0)
    assert snapshot.score == snapshot.predictions[5].score != snapshot.predictions[1].score
    assert list(snapshot.features) == list(SCALE_NAMES)
    assert list(snapshot.features.values()) == symbol.scales().tolist()
    assert snapshot.prediction_id is None
    closes = minute_closes(symbol)
    SymbolForecasts(MODEL, closes, HORIZONS).issue(len(closes) - 1)
    named = forecasts.snapshot(0, 900.0).prediction_id
    assert named == symbol.scores.newest_prediction_id("ml") is not None


def test_the_calibration_is_the_symbols_own_once_it_has_residuals_enough() -> None:
    """The quality of a snapshot says so."""
    symbol = traded(100)
    forecasts = SymbolForecasts(MODEL, [forecast_point(symbol)], HORIZONS)
    calibration = symbol.calibrations.get("ml", "d", MODEL.laws)
    calibration.restore({**calibration.dump(), "counts": [[2_000.0, 0.0]] * 4})
    assert forecasts.snapshot(0, 60.0).quality.calibration == "own"


def test_points_hold_the_state_of_their_symbol() -> None:
    """A point has the newest features and thresholds; a minute's end those of that time."""
    symbol = traded(3_000)
    past, found = symbol.minutes.realised, forecast_point(symbol)
    assert found.state is symbol
    assert (found.row, found.quality) == (symbol.row, symbol.quality())
    assert (found.log_thresholds, found.counts) == (past.log_thresholds, past.counts)
    assert (found.scales == symbol.scales()).all()
    closes = minute_closes(symbol)
    assert len(closes) > 5
    assert minute_closes(symbol) == []
    for one in closes:
        assert one.state is symbol
        assert (one.scales, one.log_thresholds) == (one.ended.scales, one.ended.log_thresholds)
        assert one.counts == one.ended.counts
    minutes = [one.ended.bar.minute for one in closes]
    assert minutes == sorted(set(minutes))


def test_the_matrix_has_the_window_of_forecast_points_alone() -> None:
    """At the end of a minute, and without a row, the columns of the window are NaN."""
    symbol = traded(3_000)
    at_tick, close = forecast_point(symbol), minute_closes(symbol)[-1]
    row = at_tick.row
    assert row is not None
    matrix = matrix_of([close, at_tick, at_tick._replace(row=None)])
    assert np.isnan(matrix[[0, 2], :4]).all()
    assert matrix[1, :4].tolist() == [row.ret_mean, row.ret_std, row.n, row.span_s]
    assert (matrix[:, 4:] == [close.scales, at_tick.scales, at_tick.scales]).all()


@pytest.mark.parametrize("model", [MODEL, BarAdapter(MODEL), packaged().model, Baseline()])
def test_no_points_give_no_forecasts(model: Model) -> None:
    """A batch without points is one like any other."""
    forecasts = SymbolForecasts(model, [], HORIZONS)
    assert MinuteScoring(forecasts, model, []).outcomes == []
    with pytest.raises(IndexError):
        forecasts.predictions(0)


def test_points_of_the_wrong_kind_are_refused() -> None:
    """Minutes are learnt from and issued at, snapshots taken at ticks whose row is known."""
    symbol = traded(3_000)
    at_tick, close = forecast_point(symbol), minute_closes(symbol)[-1]
    points: list[Point] = [at_tick, close]
    points += [at_tick._replace(row=None), at_tick._replace(quality=None)]
    forecasts = SymbolForecasts(MODEL, points, HORIZONS)
    wrong: list[tuple[Any, str]] = [
        (lambda: forecasts.learn(0), r"^only the end of a minute is learnt from"),
        (lambda: MinuteScoring(forecasts, None, points).learn(0), r"^only the end of a minute"),
        (lambda: forecasts.issue(0), r"^forecasts are issued at the ends of minutes"),
        (lambda: forecasts.snapshot(1, 60.0), r"^a snapshot is taken at a forecast point"),
        (lambda: forecasts.snapshot(2, 60.0), r"^a snapshot needs the feature row"),
        (lambda: forecasts.snapshot(3, 60.0), r"^a snapshot needs the quality of the feed"),
    ]
    for call, message in wrong:
        with pytest.raises(AssertionError, match=message):
            call()


def test_a_shadow_is_asked_at_the_ends_of_minutes() -> None:
    """Both variants learn and issue at every end of a minute, wherever it is in the batch."""
    symbol = traded(3_000)
    closes = minute_closes(symbol)[:3]
    points: list[Point] = [closes[0], forecast_point(symbol), *closes[1:]]
    shadow = FixedModel((2e-8, 3e-7, 2e-6, 4e-6))
    shadow.variant = "baseline"
    scoring = MinuteScoring(SymbolForecasts(MODEL, points, HORIZONS_S), shadow, points)
    for index, close in zip((0, 2, 3), closes, strict=True):
        scoring.learn(index)
        for variant, variance in (("ml", 4e-8), ("baseline", 2e-8)):
            newest = [
                one.sigma
                for one in symbol.scores.by_variant[variant].pending
                if one.minute == close.ended.bar.minute and one.horizon_minutes == 1
            ]
            assert newest == pytest.approx([math.sqrt(variance)])
    assert {outcome.issued.variant for _, outcome in scoring.outcomes} == {"ml", "baseline"}
    assert {name for name, _ in scoring.outcomes} == {"BTC-USD"}


def test_features_are_named_once_they_are_known() -> None:
    """Without a level every feature is None; an array of another length is refused."""
    values = np.arange(float(len(SCALE_NAMES)))
    found = named_scales(values)
    assert list(found.items()) == list(zip(SCALE_NAMES, values.tolist(), strict=True))
    values[0] = np.nan
    assert named_scales(values) == dict.fromkeys(SCALE_NAMES)
    with pytest.raises(ValueError, match="shorter"):
        named_scales(values[1:])


def test_drift_inputs_are_those_of_their_names() -> None:
    """A snapshot and a minute of bars give the same features; bars have no window."""
    symbol = traded(3_000)
    snapshot = SymbolForecasts(MODEL, [forecast_point(symbol)], HORIZONS).snapshot(0, 60.0)
    row, features = snapshot.row, snapshot.features
    known = {"ret_mean": row.ret_mean, "ret_std": row.ret_std, "span_s": row.span_s}
    expected = {**features, **known, "score": snapshot.score}
    assert snapshot_inputs(snapshot) == [expected[name] for name in DRIFT_INPUTS]
    of_bars = bar_inputs(symbol.scales(), 0.25)
    assert [math.isnan(value) for value in of_bars[:4]] == [True, True, True, False]
    assert of_bars[3:] == [*snapshot_inputs(snapshot)[3:-1], 0.25]


def test_a_symbol_is_warm_after_a_day() -> None:
    """Its age is ln(1 + minutes); not known yet counts as cold."""
    ages = [None, math.log1p(1439), math.log1p(1440), math.log1p(9_999)]
    assert [is_warm({"age": age}) for age in ages] == [False, False, True, True]
