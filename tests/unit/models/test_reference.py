"""The fitted model and the baseline against their formulas, one row and one number at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.models.fixed import row_of
from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES
from volsvc.models import HORIZONS_S, BarAdapter, Baseline, MlModel, MlParameters, Model, packaged
from volsvc.models.base import TICK_RESIDUALS, Array, normal_laws
from volsvc.models.columns import PRIOR_LEVEL_RATE, SCALES_FROM, SECONDS_PER_TICK
from volsvc.models.heads import Head
from volsvc.models.kernels.heads import (
    INPUTS,
    MIN_LEVEL_SHARE,
    RANGES,
    VARIANCES,
    weighted_sums,
)
from volsvc.models.ml import check_parameters

HALF_LIVES = ("variance_10m", "variance_10m", "variance_30m", "variance_90m")
Row = Mapping[str, float]


def live_rows(count: int) -> Array:
    """Return rows of live symbols, some of them far from anything that was fitted."""
    rng = np.random.default_rng(7)
    rows = rng.normal(scale=rng.choice((0.3, 1.0, 6.0), (count, 1)), size=(count, 64))
    found = np.full((count, SCALES_FROM + len(SCALE_NAMES)), np.nan)
    found[:, SCALES_FROM:] = rows[:, : len(SCALE_NAMES)]
    found[:, SCALES_FROM] = 10 ** rng.uniform(-13, -7, count)
    found[:, SCALES_FROM + 1 : SCALES_FROM + 5] = rng.uniform(0.2, 3, (count, 4))
    found[:, SCALES_FROM + SCALE_NAMES.index("resolution")] = rng.choice((0.5, 1, 3, 12), count)
    return found


def named(row: Array) -> Row:
    return dict(zip(SCALE_NAMES, row[SCALES_FROM:].tolist(), strict=True))


def level(row: Row, horizon_s: float) -> float:
    return row["level"] * row[f"season_{horizon_s:.0f}s"] * horizon_s


def ratio_to_range(row: Row) -> float:
    return math.exp(min(max(row["variance_360m"] - row["range_360m"], -1.1), 1.1))


def tree(arrays: Mapping[str, NDArray[Any]], index: int, row: list[float]) -> float:
    """Follow one tree from its root to a leaf."""
    node = 0
    while (column := arrays["feature"][index, node]) >= 0:
        side = "left" if row[column] <= float(arrays["threshold"][index, node]) else "right"
        node = int(arrays[side][index, node])
    return float(arrays["value"][index, node])


def head(head: Head, row: Row) -> float:
    """Return the blend of the five members."""
    terms = [*(math.exp(row[name]) for name in VARIANCES + RANGES), 1.0]
    mixture = sum(w * term for w, term in zip(head.mixture, terms, strict=True) if w)
    columns = [*(row[name] for name in INPUTS), math.log(mixture)]
    standard = [(x - c) / s for x, c, s in zip(columns, head.centre, head.scale, strict=True)]
    linear = sum(min(max(x, -5), 5) * b for x, b in zip(standard, head.slope, strict=True))
    arrays, groups = head.forest.arrays, len(head.forest.offsets)
    size = len(arrays["feature"]) // groups
    trees, rest = (
        math.exp(
            head.forest.offsets[group]
            + sum(tree(arrays, group * size + index, columns) for index in range(size))
        )
        for group in range(groups)
    )
    members = (mixture, math.exp(linear + head.intercept), trees, rest * mixture, 1.0)
    blend = sum(w * member for w, member in zip(head.weights, members, strict=True))
    least = FLOOR_PER_MINUTE * head.horizon_s / 60
    return float(max(blend, MIN_LEVEL_SHARE)) * max(level(row, head.horizon_s), least)


def fitted(parameters: MlParameters, row: Row) -> list[float]:
    """Return the variances of the fitted model for a live symbol."""
    averages = ("variance_4m", "variance_10m", "variance_30m", "variance_90m")
    mean = sum(math.exp(row[name]) for name in averages) / 4
    more = max(row["resolution"] - 1, 0)
    found = [head(one, row) for one in parameters.heads]
    found[0] *= ratio_to_range(row)
    for index, horizon in enumerate(HORIZONS_S):
        weight = more / (more + 2 * (horizon / 60) ** 0.4)
        found[index] = (1 - weight) * found[index] + weight * mean * level(row, horizon)
    return found


def window_rate(mean: float, std: float, n: float, span_s: float) -> float:
    covered = span_s if span_s > 0 else n * SECONDS_PER_TICK
    return (max(n - 1, 1) * std**2 + n * mean**2) / max(covered, SECONDS_PER_TICK)


def fitted_window(parameters: MlParameters, window: tuple[float, ...]) -> list[float]:
    """Return the variances of the fitted model for a posted window."""
    span_s = window[2] * SECONDS_PER_TICK if math.isnan(window[3]) else window[3]
    span = math.log(min(max(span_s, 300.0), 6000.0) / 300)
    rate = math.log(min(max(window_rate(*window), 1e-12), 1.0) / PRIOR_LEVEL_RATE)
    terms = (1.0, rate, rate * span, span)
    logs = [sum(w * t for w, t in zip(line, terms, strict=True)) for line in parameters.windows]
    return [
        math.exp(log) * PRIOR_LEVEL_RATE * horizon
        for log, horizon in zip(logs, HORIZONS_S, strict=True)
    ]


ROWS = live_rows(40)
WINDOWS = (
    (1e-5, 3e-5, 1.0, 0.0),
    (1e-5, 3e-5, 1.0, math.nan),
    (1e-5, 3e-5, 7.0, 0.0),
    (-2e-5, 4e-5, 2.0, 0.05),
    (1e-6, 3e-5, 49.0, 10.0),
    (1e-6, 3e-5, 3_000.0, math.nan),
    (0.0, 2e-4, 900.0, 2_000.0),
    (0.0, 2e-4, 900.0, 90_000.0),
    (0.0, 0.0, 9.0, 900.0),
    (1e3, 1e3, 9.0, 1.0),
)


@pytest.fixture(scope="module")
def parameters() -> MlParameters:
    return packaged().model.parameters


@pytest.mark.parametrize("rows", [1, 5, 15, 16, 40])
def test_the_fitted_model_is_its_formulas(parameters: MlParameters, rows: int) -> None:
    """Live rows, few or many, have the blend of mixture, regression, trees and averages."""
    model = MlModel(parameters, "1", "")
    expected = np.array([fitted(parameters, named(row)) for row in ROWS[:rows]])
    for count in range(1, 5):
        found = model.head_variances(ROWS[:rows], count)
        np.testing.assert_allclose(found, expected[:, :count], rtol=1e-9)


def test_rows_of_both_kinds_keep_their_places(parameters: MlParameters) -> None:
    """Posted windows among live rows are forecast by the window fit, and the others not."""
    model = MlModel(parameters, "1", "")
    posted = [row_of(window) for window in WINDOWS]
    matrix = np.concatenate(
        [part for i, row in enumerate(posted) for part in (ROWS[i : i + 1], row)]
    )
    found = model.head_variances(matrix, 4)
    windows = np.array([fitted_window(parameters, window) for window in WINDOWS])
    np.testing.assert_allclose(found[1::2], windows, rtol=1e-9)
    assert (found[::2] == model.head_variances(ROWS[: len(WINDOWS)], 4)).all()
    for count in range(1, 5):
        for window, row in zip(windows, posted, strict=True):
            alone = model.head_variances(row, count)
            np.testing.assert_allclose(alone, window[None, :count], rtol=1e-9)


def test_the_baseline_is_its_formulas() -> None:
    """A live row has the average of its horizon, a posted one the rate of its window."""
    model = Baseline()
    live = [
        [
            level(row, h) * math.exp(row[name])
            for name, h in zip(HALF_LIVES, HORIZONS_S, strict=True)
        ]
        for row in map(named, ROWS)
    ]
    posted = [[window_rate(*window) * horizon for horizon in HORIZONS_S] for window in WINDOWS]
    matrix = np.concatenate([ROWS, *map(row_of, WINDOWS)])
    for count in range(1, 5):
        found = model.head_variances(matrix, count)
        np.testing.assert_allclose(found, np.array(live + posted)[:, :count], rtol=1e-12)
        alone = [model.head_variances(row_of(window), count)[0] for window in WINDOWS]
        np.testing.assert_allclose(alone, np.array(posted)[:, :count], rtol=1e-12)


def test_a_model_is_made_of_its_parameters(parameters: MlParameters) -> None:
    """Bars have the laws of the fit, ticks those of ticks; each horizon needs its parameters."""
    model = MlModel(parameters, "9", "d")
    assert (model.variant, model.version, model.digest) == ("ml", "9", "d")
    assert model.coarse_laws == parameters.laws
    for law, other in zip(model.laws, normal_laws(TICK_RESIDUALS), strict=True):
        assert (law.quantiles == other.quantiles).all()
    assert model.spike_log_ratios == parameters.spike_log_ratios
    assert check_parameters(parameters) == []
    with pytest.raises(ValueError, match="shorter"):
        check_parameters(replace(parameters, windows=parameters.windows[:3]))


@pytest.mark.parametrize(
    ("rate", "product", "falls"),
    [(0.0, 0.0, False), (-0.1, 1.0, True), (2.9, -1.0, True), (3.1, -1.0, False)],
)
def test_windows_must_not_fall_with_ret_std(
    parameters: MlParameters, rate: float, product: float, falls: bool
) -> None:
    """The forecast rises with the rate from the shortest span to one 20 times as long: e**2.996."""
    line = np.array([1.0, rate, product, 0.0])
    faults = check_parameters(replace(parameters, windows=(line, *parameters.windows[1:])))
    assert faults == ["the window line of 60 s falls with ret_std"] * falls


def test_columns_without_weight_are_left_out() -> None:
    """An infinite column of weight 0 does not make the sum NaN."""
    columns = np.array([[2.0, math.inf, 5.0], [3.0, math.nan, 7.0]])
    assert weighted_sums(columns, np.array([1.0, 0.0, 2.0])).tolist() == [12.0, 17.0]


def test_heads_of_other_sizes_are_refused(parameters: MlParameters) -> None:
    """Kernels check no index, so that each parameter has to have the size of the inputs."""
    first, *rest = parameters.heads
    for name in ("mixture", "centre", "scale", "slope", "weights"):
        for array in (getattr(first, name)[:-1], np.float64(1.0), getattr(first, name)[None]):
            changed: dict[str, Any] = {name: array}
            odd = replace(first, **changed)
            with pytest.raises(ValueError, match=f"{name} of a head has the shape"):
                MlModel(replace(parameters, heads=(odd, *rest)), "1", "")
    short = tuple(window[:3] for window in parameters.windows)
    with pytest.raises(ValueError, match="the window fits have the shape"):
        MlModel(replace(parameters, windows=short), "1", "")


@pytest.mark.parametrize("model", [packaged().model, Baseline()], ids=lambda m: m.variant)
def test_bars_are_forecast_by_their_range(model: Model) -> None:
    """One minute ahead the range is forecast, with laws and names as the model has them."""
    bars = BarAdapter(model)
    matrix = np.concatenate([ROWS, row_of(WINDOWS[4])])
    plain, found = (one.head_variances(matrix, 4) for one in (model, bars))
    ratios = [ratio_to_range(named(row)) for row in ROWS]
    np.testing.assert_allclose(found[:-1, 0] * ratios, plain[:-1, 0], rtol=1e-12)
    assert found[-1, 0] == plain[-1, 0]
    assert (found[:, 1:] == plain[:, 1:]).all()
    assert bars.head_variances(matrix, 1).shape == (len(matrix), 1)
    assert (bars.variant, bars.version) == (model.variant, model.version)
    assert bars.digest == model.digest
    assert bars.laws is bars.coarse_laws is model.coarse_laws
    assert bars.spike_log_ratios == model.spike_log_ratios
