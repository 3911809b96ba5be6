"""Forecasts of symbols against their formulas, one number at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tests.unit.models.fixed import FixedModel, scales_of
from volsvc.config.settings import FeatureSettings
from volsvc.domain import COVERAGE, HORIZON_MINUTES, Prediction
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import MINUTE_NS, SCALE_NAMES, PointGrid, SymbolTable, apply_recording
from volsvc.features.kernels.points import GRID, MINUTE, NEWEST, POINT
from volsvc.models import (
    HORIZONS_S,
    BarAdapter,
    Baseline,
    Model,
    ModelError,
    SymbolForecasts,
    packaged,
)
from volsvc.models.columns import FEATURES, SCALES_FROM
from volsvc.models.drift_inputs import DRIFT_INPUTS, drift_inputs, is_warm
from volsvc.scoring.scores import NUMBERS, VARIANTS, version_of
from volsvc.sources.generator import Generator, GeneratorSpec

HORIZONS = (10.0, 60.0, 130.0, 140.0, 300.0, 900.0, 3600.0, 7200.0)
# The fitted horizon that is nearest in ratio to each.
NEAREST = (0, 0, 0, 1, 1, 2, 3, 3)
MODEL = FixedModel((4e-8, 6e-7, 1e-6, 8e-6))
SCALES = {"level": 3e-9, "age": math.log1p(30.0), "resolution": 3.0}
SYMBOL = "BTC-USD"
LEVEL_COLUMN = FEATURES.index("level")
START_NS = 1_767_571_200 * 10**9


def table_of(symbols: int = 1) -> SymbolTable:
    """Return a table with new symbols, in rows from 0 on; their ticks give the ends of minutes."""
    table = SymbolTable(FeatureSettings(), grid=PointGrid())
    for index in range(symbols):
        name = SYMBOL if index == 0 else f"S{index}-USD"
        assert table.row_for(name, START_NS) == index
    return table


def traded(count: int, slices: Sequence[int] = ()) -> tuple[SymbolTable, Any]:
    """Return a table after some minutes of ticks, and the ends of minutes that these passed.

    Ticks are applied in slices that end before each of the given numbers.
    """
    table = table_of()
    generated = Generator(GeneratorSpec((SYMBOL,), 7, START_NS)).ticks()
    ticks = [item.tick for item in islice(generated, count)]
    parts = [np.zeros(0, POINT)]
    for first, end in zip([0, *slices], [*slices, count], strict=True):
        found = apply_recording(table, [columns_of_ticks(ticks[first:end])], Counter())
        parts += [applied.points.copy() for applied in found]
    return table, np.concatenate(parts)


def newest(table: SymbolTable) -> Any:
    """Return the point at the newest tick of each symbol."""
    return table.newest(table.rows)


def forecast_points(table: SymbolTable, rows: Sequence[Mapping[str, float] | None]) -> Any:
    """Return a point of each symbol with multi-scale features; with None they are not known."""
    points = np.zeros(len(rows), POINT)
    points["kind"], points["symbol"] = NEWEST, range(len(rows))
    points["features"] = math.nan
    for point, scales in zip(points, rows, strict=True):
        if scales is not None:
            point["features"][SCALES_FROM:] = scales_of(scales)
    return points


def learn_past(
    table: SymbolTable,
    row: int,
    thresholds: Sequence[float] = (-16.0, -14.0, -13.0, -12.0),
    counts: Sequence[int] = (1440, 720, 480, 0),
) -> None:
    """Give a symbol thresholds of its own, each with the number of minutes behind it."""
    past = table.records[row].learnt.realised
    past.log_thresholds[:] = thresholds
    past.quantiles["count"][:] = counts


def at(values: Sequence[float], horizon_s: float) -> float:
    """Return the value at a horizon, linear in ln horizon between the fitted ones."""
    return float(np.interp(math.log(horizon_s), np.log(HORIZONS_S), values))


def expected(table: SymbolTable, point: Any, column: int) -> Prediction:
    """Return the forecast of a symbol that has thresholds of its own, but no residuals."""
    horizon, features = HORIZONS[column], point["features"][None, :]
    scales = np.nan_to_num(features[0, SCALES_FROM:])
    age = math.expm1(scales[SCALE_NAMES.index("age")])
    # From the first step of the grid to the end of the first minute.
    part = min(max((age - 5 / 60) / (55 / 60), 0), 1)
    evidence = 1.2 * part / (part + 0.2)
    past = table.records[point["symbol"]].learnt.realised
    variance = MODEL.variances(features, (horizon,))[0, 0]
    variance = variance**evidence * (36e-8 / 60 * horizon) ** (1 - evidence)
    features = features.copy()
    level = scales[SCALE_NAMES.index("level")]
    features[0, LEVEL_COLUMN] = level**evidence * (36e-8 / 60) ** (1 - evidence)
    rates = []
    for index, fitted in enumerate(HORIZONS_S):
        limit = MODEL.log_threshold(features, fitted)[0]
        count = past.quantiles[index]["count"]
        if count:
            share = count / (count + 1440)
            limit = (1 - share) * limit + share * past.log_thresholds[index]
        rates.append(limit - math.log(fitted))
    limit = at(rates, horizon) + math.log(horizon)
    log = math.log(variance)
    more = max(scales[SCALE_NAMES.index("resolution")] - 1, 0)
    minutes = age * (1 + more * min(60 / horizon, 1))
    wide = 1 + 1 / math.sqrt(1 + minutes / 10)
    turbulence = min(max((log - limit) / 2 + 1, 0), 1)
    law = MODEL.laws[NEAREST[column]]
    cumulated = (1 - turbulence) * law.cumulated[0] + turbulence * law.cumulated[1]
    levels = ((1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2)
    low, middle, high = np.interp(levels, cumulated, law.quantiles).tolist()
    wide = math.hypot(wide, (1 - evidence) * math.log(100) / (high - low))
    residual = middle + (limit - log - middle) / wide
    return Prediction(
        horizon_s=horizon,
        sigma=math.sqrt(variance),
        lo=math.exp((log + middle - (middle - low) * wide) / 2),
        hi=math.exp((log + middle + (high - middle) * wide) / 2),
        threshold=math.exp(limit / 2),
        score=float(1 - np.interp(residual, law.quantiles, cumulated)),
    )


def numbers(prediction: Prediction) -> tuple[float, ...]:
    one = prediction
    return (one.horizon_s, one.sigma, one.lo, one.hi, one.threshold, one.score)


def test_predictions_are_their_formulas() -> None:
    """Young and old symbols, with and without a past, have their own widths and thresholds.

    The youngest lean on the prior.
    """
    table = table_of(9)
    points = forecast_points(
        table,
        [
            SCALES,
            {**SCALES, "resolution": 0.5},
            {**SCALES, "age": math.log1p(1e5)},
            {**SCALES, "level": 2e-8},
            None,
            {**SCALES, "age": math.log1p(0.02), "level": 4e-10},
            {**SCALES, "age": math.log1p(0.2)},
            {**SCALES, "age": math.log1p(0.8), "level": 2e-8},
            {**SCALES, "age": math.log1p(1.0)},
        ],
    )
    learn_past(table, 0)
    learn_past(table, 1)
    learn_past(table, 2, (-18.5, -16.5, -15.0, -14.0))
    forecasts = SymbolForecasts(table, MODEL, points, HORIZONS)
    assert forecasts.settle_all() == []
    for index, one in enumerate(points):
        found = forecasts.point_forecast(index, 60.0).predictions
        assert len(found) == len(HORIZONS)
        for column, prediction in enumerate(found):
            wanted = numbers(expected(table, one, column))
            assert numbers(prediction) == pytest.approx(wanted, rel=1e-9)


def test_forecasts_issued_are_those_at_the_fitted_horizons() -> None:
    """At the end of a quarter all four are issued, with the numbers that are forecast there."""
    table, ended = traded(8_000)
    quarter = ended[ended["bar"]["minute"] % 15 == 14][:1]
    # The same features once more, as those of a point at which nothing is learnt.
    same = quarter.copy()
    same["kind"] = GRID
    forecasts = SymbolForecasts(table, MODEL, np.concatenate([ended[:1], quarter, same]), HORIZONS)
    forecasts.settle_all()
    predicted = {one.horizon_s: one for one in forecasts.point_forecast(2, 60.0).predictions}
    state, minute = table.state(0), quarter["bar"]["minute"][0]
    assert state.scores.has_model("ml", MODEL.digest)
    assert not state.scores.has_model("ml", "another")
    assert not state.scores.has_model("baseline", MODEL.digest)
    assert (state.scores.newest_prediction_id("ml") or "").endswith("/ml-7")
    kept = table.records[0].learnt.scores.variants[VARIANTS.index("ml")]
    assert version_of(kept.version) == "7"
    pending = kept.issued[: kept.pending]
    assert [HORIZON_MINUTES[one["horizon"]] for one in pending] == list(HORIZON_MINUTES)
    for one in pending:
        assert one["minute"] == minute
        wanted = predicted[60.0 * HORIZON_MINUTES[one["horizon"]]]
        assert [one[name] for name in NUMBERS] == [getattr(wanted, name) for name in NUMBERS]


def test_a_snapshot_has_what_was_forecast() -> None:
    """Row, features and quality are the state's, the score that of the horizon asked for."""
    table, closes = traded(3_000)
    state, points = table.state(0), newest(table)
    forecasts = SymbolForecasts(table, MODEL, points, HORIZONS)
    forecasts.settle_all()
    snapshot = forecasts.point_forecast(0, 900.0).snapshot()
    assert (snapshot.row, snapshot.variant, snapshot.version) == (state.row, "ml", "7")
    assert snapshot.quality == replace(state.quality(), calibration="pooled")
    assert snapshot.predictions == forecasts.point_forecast(0, 60.0).predictions
    assert snapshot.score == snapshot.predictions[5].score != snapshot.predictions[1].score
    assert list(snapshot.features) == list(SCALE_NAMES)
    assert list(snapshot.features.values()) == points["features"][0, SCALES_FROM:].tolist()
    assert snapshot.prediction_id is None
    SymbolForecasts(table, MODEL, closes, HORIZONS).settle_all()
    forecasts.settle_all()
    named = forecasts.point_forecast(0, 900.0).snapshot().prediction_id
    assert named == state.scores.newest_prediction_id("ml") is not None


def test_the_calibration_is_the_symbols_own_once_it_has_residuals_enough() -> None:
    """The quality of a snapshot says so."""
    table, _ = traded(100)
    forecasts = SymbolForecasts(table, MODEL, newest(table), HORIZONS)
    forecasts.settle_all()
    assert forecasts.point_forecast(0, 60.0).snapshot().quality.calibration == "pooled"
    calibration = table.records[0].learnt.calibrations[VARIANTS.index("ml")]
    calibration.counts[:, 0] = 2_000.0
    forecasts.settle_all()
    assert forecasts.point_forecast(0, 60.0).snapshot().quality.calibration == "own"
    # Of another model, they are none of its residuals.
    other = FixedModel((4e-8, 6e-7, 1e-6, 8e-6), digest="e")
    forecasts = SymbolForecasts(table, other, newest(table), HORIZONS)
    forecasts.settle_all()
    assert forecasts.point_forecast(0, 60.0).snapshot().quality.calibration == "pooled"


def test_points_hold_the_state_of_their_symbol() -> None:
    """A point has the newest features; a minute's end those of that time, however it came."""
    table, closes = traded(3_000)
    state, (found,) = table.state(0), newest(table)
    assert (found.symbol, found.kind, found.at_ns) == (0, NEWEST, state.row and state.row.time_ns)
    forecasts = SymbolForecasts(table, MODEL, newest(table), HORIZONS)
    forecasts.settle_all()
    snapshot = forecasts.point_forecast(0, 60.0).snapshot()
    assert (snapshot.row, replace(snapshot.quality, calibration="pooled")) == (
        state.row,
        replace(state.quality(), calibration="pooled"),
    )
    assert len(closes) > 5
    assert list(apply_recording(table, [], Counter())) == []
    assert (closes["kind"] == MINUTE).all()
    assert (closes["symbol"] == 0).all()
    minutes = closes["bar"]["minute"].tolist()
    assert minutes == sorted(set(minutes))
    assert closes["at_ns"].tolist() == [(minute + 1) * MINUTE_NS for minute in minutes]
    again, alone = traded(3_000, range(1, 3_000))
    for points in (closes, alone):
        points["tick"] = 0
    assert alone.tobytes() == closes.tobytes()
    assert newest(again).tobytes() == newest(table).tobytes()


def test_what_a_model_has_issued_stays_its_own() -> None:
    """After a swap, the outcomes of the model before have its version, and no id names the next."""
    table, closes = traded(3_000)
    SymbolForecasts(table, MODEL, closes[:2], HORIZONS_S).settle_all()
    swapped = FixedModel((2e-8, 3e-7, 2e-6, 4e-6), digest="e")
    swapped.version = "8"
    points = newest(table)
    points["kind"] = GRID
    forecasts = SymbolForecasts(
        table, swapped, np.concatenate([points, closes[2:4], points]), HORIZONS_S
    )
    outcomes = forecasts.settle_all()
    minutes = closes["bar"]["minute"].tolist()
    assert [(o.issued.version, o.issued.minute) for o in outcomes] == [
        ("7", minutes[1]),
        ("8", minutes[2]),
    ]
    assert [outcome.issued.sigma**2 for outcome in outcomes] == pytest.approx([4e-8, 2e-8])
    # It has issued none before the end of its first minute.
    assert forecasts.point_forecast(0, 60.0).snapshot().prediction_id is None
    named = forecasts.point_forecast(3, 60.0).snapshot().prediction_id
    assert named == table.state(0).scores.newest_prediction_id("ml")
    assert (named or "").endswith("/ml-8")


def test_inputs_have_the_window_of_forecast_points_alone() -> None:
    """At the end of a minute, and of bars, the columns of the window are NaN."""
    table, closes = traded(3_000)
    row = table.state(0).row
    assert row is not None
    assert np.isnan(closes["features"][:, :SCALES_FROM]).all()
    assert np.isfinite(closes["features"][:, SCALES_FROM:]).all()
    (found,) = newest(table)
    assert found.features[:SCALES_FROM].tolist() == [row.ret_mean, row.ret_std, row.n, row.span_s]
    assert np.isfinite(found.features).all()


@pytest.mark.parametrize("model", [MODEL, BarAdapter(MODEL), packaged().model, Baseline()])
def test_no_points_give_no_forecasts(model: Model) -> None:
    """A batch without points is one like any other."""
    points = np.zeros(0, POINT)
    forecasts = SymbolForecasts(table_of(), model, points, HORIZONS, shadow=model)
    assert forecasts.settle() == (0, [])
    assert forecasts.settle_all() == []
    with pytest.raises(IndexError):
        forecasts.point_forecast(0, 60.0)


def test_a_shadow_is_asked_at_the_ends_of_minutes() -> None:
    """Both variants learn and issue at every end of a minute, wherever it is in the batch."""
    table, closes = traded(3_000)
    # The first one was watched in part.
    closes = closes[1:]
    point = newest(table)
    point["kind"] = GRID
    points = np.concatenate([closes[:1], point, point, closes[1:2], point, closes[2:3]])
    shadow = FixedModel((2e-8, 3e-7, 2e-6, 4e-6))
    shadow.variant = "baseline"
    forecasts = SymbolForecasts(table, MODEL, points, HORIZONS_S, shadow)
    outcomes, done, ends = [], 0, []
    for minute in (0, 0, 1, 2):
        # To the next point of the grid, whose state is published before what follows is learnt.
        done, matured = forecasts.settle(done, to_grid=True)
        ends.append(done)
        outcomes += matured
        for variant, variance in (("ml", 4e-8), ("baseline", 2e-8)):
            kept = table.records[0].learnt.scores.variants[VARIANTS.index(variant)]
            newest_sigmas = [
                one["sigma"]
                for one in kept.issued[: kept.pending]
                if one["minute"] == closes["bar"]["minute"][minute] and one["horizon"] == 0
            ]
            assert newest_sigmas == pytest.approx([math.sqrt(variance)])
    assert ends == [2, 3, 5, 6]
    assert {outcome.issued.variant for outcome in outcomes} == {"ml", "baseline"}
    assert {outcome.issued.symbol for outcome in outcomes} == {SYMBOL}
    assert {outcome.issued.version for outcome in outcomes} == {"7"}


@pytest.mark.parametrize(
    ("version", "fits"), [("1" * 32, True), ("\xe4" * 16, True), ("1" * 33, False)]
)
def test_a_version_is_kept_in_full_or_refused(version: str, fits: bool) -> None:
    """A version of more than 32 bytes is no model's that can serve; ids have the others in full."""
    table, closes = traded(1_000)
    model = FixedModel((4e-8, 6e-7, 1e-6, 8e-6))
    model.version = version
    if not fits:
        with pytest.raises(ModelError, match=r"^ml: a version has at most 32 bytes, not 33$"):
            SymbolForecasts(table, model, closes, HORIZONS_S)
        return
    SymbolForecasts(table, model, closes, HORIZONS_S).settle_all()
    named = table.state(0).scores.newest_prediction_id("ml") or ""
    assert named.endswith(f"Z/ml-{version}")


def test_drift_inputs_are_those_of_their_names() -> None:
    """Those of a forecast and of a minute of bars have the same features; bars have no window."""
    table, closes = traded(3_000)
    forecasts = SymbolForecasts(table, MODEL, newest(table), HORIZONS)
    forecasts.settle_all()
    found = forecasts.point_forecast(0, 60.0)
    row, features = found.row, found.features
    known = {"ret_mean": row.ret_mean, "ret_std": row.ret_std, "span_s": row.span_s}
    expected = {**features, **known, "score": 0.25}
    values = drift_inputs(found.inputs, 0.25)
    assert values == [expected[name] for name in DRIFT_INPUTS]
    window = closes["features"][0, :SCALES_FROM].tolist()
    of_bars = drift_inputs([*window, *found.inputs[SCALES_FROM:]], 0.25)
    assert [math.isnan(value) for value in of_bars[:4]] == [True, True, True, False]
    assert of_bars[3:] == values[3:]


def test_a_symbol_is_warm_after_a_day() -> None:
    """Its age is ln(1 + minutes); not known yet counts as cold."""
    warm = []
    for age in (math.nan, math.log1p(1439), math.log1p(1440), math.log1p(9_999)):
        inputs = [0.0] * len(FEATURES)
        inputs[FEATURES.index("age")] = age
        warm.append(is_warm(inputs))
    assert warm == [False, False, True, True]
