"""Bars of before a symbol's first tick, added to its state."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.one_symbol import SYMBOL, OneSymbol
from tests.unit.features.ticks import START_NS, tick
from volsvc.domain import NS
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.features.bars import apply_past
from volsvc.features.kernels.minutes import FLOOR_PER_MINUTE
from volsvc.models import HORIZONS_S, Baseline, SymbolForecasts
from volsvc.sources.generated_past import past_bars
from volsvc.sources.generator import GeneratorSpec

MINUTE = START_NS // (60 * NS)
BARS = past_bars(SYMBOL, GeneratorSpec((SYMBOL,), 3, START_NS), 2)
PRICE = float(BARS.values[-1, 3])


def add(one: OneSymbol, bars: BarSeries = BARS, offset: int = 0) -> int:
    """Add bars, learn from them, and return the number of those that were new."""
    points = apply_past(one.table, PastBars(SYMBOL, "file", bars), 0, offset)
    SymbolForecasts(one.table, Baseline(), points, HORIZONS_S).settle_without_outcomes()
    return len(points)


def settle(one: OneSymbol, point: Any) -> None:
    SymbolForecasts(one.table, Baseline(), np.array([point]), HORIZONS_S).settle_all()


def of_minutes(first: int, end: int) -> BarSeries:
    """Return the bars of minutes, counted from START_NS."""
    return BARS.between(MINUTE + first, MINUTE + end)


@given(st.lists(st.integers(1, 2_879), max_size=4, unique=True), st.booleans())
def test_records_of_a_past_are_one_past(cuts: list[int], twice: bool) -> None:
    """However bars are divided, and even if parts come again, the state is the same."""
    whole, parts = OneSymbol(), OneSymbol()
    assert add(whole, offset=99) == 2_880
    bounds = [-2_880, *(cut - 2_880 for cut in sorted(cuts)), 0]
    for first, end in itertools.pairwise(bounds):
        assert add(parts, of_minutes(first, end), offset=2 * (first + 2_880)) == end - first
        if twice:
            assert add(parts, of_minutes(first, end), offset=2 * (first + 2_880) + 1) == 0
    add(parts, of_minutes(-5, 0), offset=9_999)
    whole.ticks.offset = parts.ticks.offset
    assert parts.stored() == whole.stored()


def test_a_symbol_with_a_past_is_warm_at_its_first_tick() -> None:
    """The verdict is ok, and the bars are named, also after a restart."""
    one = OneSymbol()
    add(one)
    one = one.restored()
    assert one.apply(tick(20, PRICE)) == "new"
    for quality in (one.quality, one.restored().quality):
        assert quality.verdict == "ok"
        assert quality.warmed is not None
        assert quality.warmed.source == "file"
        assert quality.warmed.from_minute == "2026-01-03T00:00:00.000Z"
        assert quality.warmed.minutes == 2_880
    fresh = OneSymbol()
    fresh.apply(tick(20, PRICE))
    assert (fresh.quality.verdict, fresh.quality.warmed) == ("cold", None)


def test_a_state_of_bars_alone_has_the_last_close() -> None:
    """Before the first tick, features are those at the end of the newest bar."""
    one = OneSymbol()
    add(one)
    (point,) = one.table.newest(one.table.rows)
    assert (point.row.price, point.row.time_ns, point.row.n) == (PRICE, START_NS, 0)
    assert not np.isnan(point.features[4:]).any()


def test_ticks_of_the_time_of_bars_are_late() -> None:
    """Bars stand for all ticks up to their end."""
    one = OneSymbol(late_tolerance_s=90)
    add(one)
    assert one.apply(tick(-1, PRICE, trade_id=1)) == "late"
    assert one.apply(tick(1, PRICE, trade_id=2)) == "new"
    assert one.apply(tick(-1, PRICE, trade_id=3)) == "late"


@pytest.mark.parametrize("silence", [0, 90])
def test_bars_fill_what_a_symbol_has_missed(silence: int) -> None:
    """After a stop the state goes on with bars: its own minute is given up for the bar of it."""
    one, whole = OneSymbol(), OneSymbol()
    add(whole)
    add(one, of_minutes(-2_880, -200))
    one.apply(tick(-200 * 60 + 7, PRICE))
    # A bar before the tick's minute is an older one.
    assert add(one, of_minutes(-300, -200), offset=1) == 0
    assert add(one, of_minutes(-200 + silence, 0), offset=2) == 200 - silence
    assert one.apply(tick(3, PRICE)) == "new"
    assert one.quality.verdict == "ok"
    if silence == 0:
        assert one.ticks.multiscale.tobytes() == whole.ticks.multiscale.tobytes()


def test_bars_wait_for_no_tick() -> None:
    """While ticks wait for older ones bars are left out, since they would be newer."""
    one = OneSymbol(late_tolerance_s=90)
    one.apply(tick(-7_200, PRICE))
    assert add(one, of_minutes(-100, 0), offset=1) == 0


def test_the_first_minute_after_bars_is_no_outcome() -> None:
    """A part of a minute has no variance, so no horizon with it inside is realised."""
    one = OneSymbol()
    add(one)
    counts = one.state.record.learnt.realised.quantiles["count"].copy()
    for second in range(30, 400, 5):
        applied = one.apply_one(tick(second, PRICE * (1 + 1e-4 * (second % 3))))
        for point in applied.points:
            if point.bar.minute:
                SymbolForecasts(one.table, Baseline(), np.array([point]), HORIZONS_S).settle_all()
    # Minutes 1 to 5 are whole: five outcomes of a minute and one of five.
    added = one.state.record.learnt.realised.quantiles["count"] - counts
    assert added.tolist() == [5, 1, 0, 0]


def test_variances_are_those_of_ranges_in_the_unit_of_returns() -> None:
    """Their mean is that of squared returns, with a fifth of the noise."""
    one = OneSymbol()
    points = apply_past(one.table, PastBars(SYMBOL, "venue", BARS), 0, 0)
    squares = np.diff(np.log(BARS.values[:, 3])) ** 2
    spans = np.log(BARS.values[:, 1] / BARS.values[:, 2]) ** 2 / (4 * np.log(2))
    variances = points["bar"]["variance"][1:]
    assert variances[600:].mean() == pytest.approx(squares[600:].mean(), rel=0.15)
    relative = variances / np.maximum(spans[1:], FLOOR_PER_MINUTE)
    assert relative[-500:].std() < 0.02
    assert set(points["bar"]["returns"]) == {5.0}


def test_bars_judge_no_model() -> None:
    """Calibration and scores are those of ticks alone; thresholds are learnt from bars."""
    one, watched = OneSymbol(), OneSymbol()
    for second in range(0, 900, 5):
        for symbol in (one, watched):
            applied = symbol.apply_one(tick(second - 90_000, PRICE * (1 + 1e-4 * (second % 3))))
            for point in applied.points:
                settle(symbol, point)
    issued = watched.state.record.learnt.calibrations[0]
    assert issued.counts.max() > 0
    add(one, of_minutes(-1_400, 0), offset=1)
    learnt = one.state.record.learnt
    assert learnt.calibrations[0].tobytes() == issued.tobytes()
    assert learnt.scores.tobytes() == watched.state.record.learnt.scores.tobytes()
    assert learnt.realised.quantiles["count"].min() > 1_300
