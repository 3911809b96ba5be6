"""The multi-scale engine against sums over the whole past, and through a restart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain import NS
from volsvc.domain.feature_names import WEEK
from volsvc.domain.float_codec import pack, unpack
from volsvc.features import SCALE_NAMES, MinuteBar, MinuteBuilder, MultiScale, Ohlcv, bar_of_prices
from volsvc.features.diurnal import BINS, DAY_MINUTES, Diurnal
from volsvc.features.minutes import GRID_NS, MINUTE_NS
from volsvc.features.multiscale import FLOOR_PER_MINUTE, TINY, parkinson

START = 29_459_520
"""Minutes from the epoch to 2026-01-05, a Monday."""
AT = {name: index for index, name in enumerate(SCALE_NAMES)}

moves = st.lists(
    st.tuples(st.integers(1, 4), st.floats(-0.02, 0.02), st.floats(0, 0.01), st.floats(0, 50)),
    min_size=2,
    max_size=60,
)
"""Minutes since the bar before (never long enough for a gap), return, range, size."""


def bars_of(steps: Sequence[tuple[int, float, float, float]]) -> list[MinuteBar]:
    bars, minute, price, previous = [], START, 100.0, math.nan
    for gap, move, span, volume in steps:
        minute += gap
        price *= math.exp(move)
        ohlcv = Ohlcv(price, price * math.exp(span), price, price, volume)
        bars.append(bar_of_prices(minute, previous, ohlcv))
        previous = price
    return bars


def engine_of(bars: Sequence[MinuteBar]) -> MultiScale:
    engine = MultiScale()
    for bar in bars:
        engine.push(bar)
    return engine


def average(bars: Sequence[MinuteBar], values: Sequence[float], half_life: float) -> float:
    """The weighted mean over every minute since the first, those without trades as zeros."""
    last = bars[-1].minute
    decay = 2.0 ** (-1 / half_life)
    weights = [decay ** (last - bar.minute) for bar in bars]
    minutes = last - bars[0].minute + 1
    total = math.fsum(w * v for w, v in zip(weights, values, strict=True))
    return float(total * (1 - decay) / (1 - decay**minutes))


@given(moves)
def test_averages_against_the_whole_past(steps: list[tuple[int, float, float, float]]) -> None:
    """Each running average is the weighted mean over all minutes; all lie inside the first day."""
    bars = bars_of(steps)
    row = engine_of(bars).row(bars[-1].minute)
    variances = [bar.variance for bar in bars]
    level = max(average(bars, variances, WEEK), FLOOR_PER_MINUTE)
    assert row[AT["level"]] * 60 == pytest.approx(level, rel=1e-9)
    for half in (1.5, 10, 90, 1440):
        expected = math.log(max(average(bars, variances, half), TINY) / level)
        assert row[AT[f"variance_{half:g}m"]] == pytest.approx(expected, rel=1e-7, abs=1e-7)
    ranges = [parkinson(bar.high, bar.low) for bar in bars]
    expected = math.log(max(average(bars, ranges, 6), TINY) / level)
    assert row[AT["range_6m"]] == pytest.approx(expected, rel=1e-7, abs=1e-7)
    under = max(average(bars, variances, 10), TINY)
    down = average(bars, [bar.down for bar in bars], 10) / under
    # Drawn to a half by what is not known yet of an average over ten minutes.
    unseen = 2.0 ** (-(bars[-1].minute - bars[0].minute + 1) / 10)
    drawn = min(down, 20) * (1 - unseen) + 0.5 * unseen
    assert row[AT["down_10m"]] == pytest.approx(drawn, rel=1e-7, abs=1e-9)
    active = average(bars, [1.0] * len(bars), 30)
    assert row[AT["active_30m"]] == pytest.approx(active, rel=1e-9)


@given(moves, st.integers(0, 60))
def test_a_restored_engine_goes_on_to_the_bit(
    steps: list[tuple[int, float, float, float]], cut: int
) -> None:
    """State through JSON, then more minutes: the same rows as without the break."""
    bars = bars_of(steps)
    whole, second = engine_of(bars[:cut]), MultiScale()
    second.restore(json.loads(json.dumps(engine_of(bars[:cut]).dump())))
    for bar in bars[cut:]:
        whole.push(bar)
        second.push(bar)
    end = bars[-1].minute
    assert whole.row(end).tobytes() == second.row(end).tobytes()


@given(moves, st.floats(0.01, 100))
def test_relative_features_do_not_know_the_unit(
    steps: list[tuple[int, float, float, float]], factor: float
) -> None:
    """Prices and sizes in another unit give the same row."""
    bars = bars_of(steps)
    scaled = [
        bar._replace(
            close=bar.close * factor,
            high=bar.high * factor,
            low=bar.low * factor,
            volume=bar.volume * factor,
        )
        for bar in bars
    ]
    first, second = (engine_of(b).row(bars[-1].minute) for b in (bars, scaled))
    assert np.allclose(first, second, rtol=1e-6, atol=1e-6)


def test_silence_is_told_from_a_gap() -> None:
    """Hours without a tick of a symbol that trades each minute do not fade its variance."""
    bars = bars_of([(1, 0.001, 0.001, 1.0)] * 300)
    engine = engine_of(bars)
    before = engine.row(bars[-1].minute)
    assert engine.is_gap(bars[-1].minute + 200)
    assert not engine.is_gap(bars[-1].minute + 3)
    after = engine.row(bars[-1].minute + 200)
    assert after[AT["level"]] == pytest.approx(before[AT["level"]], rel=0.03)
    assert after[AT["silence"]] == pytest.approx(math.log1p(200))
    jump = bars[-1].close * math.exp(0.02)
    late = bar_of_prices(bars[-1].minute + 200, bars[-1].close, Ohlcv(jump, jump, jump, jump, 1.0))
    engine.push(late)
    # 200 minutes' worth of variance in one return: an eightfold level would be a panic.
    fresh = engine.row(late.minute)
    assert fresh[AT["variance_30m"]] < before[AT["variance_30m"]] + 1.0


def test_pending_minute_becomes_the_minute() -> None:
    """A row when all of a minute has passed is the row after it, to the bit."""
    bars = bars_of([(1, 0.001, 0.002, 1.0), (1, -0.002, 0.001, 2.0), (2, 0.003, 0.004, 3.0)])
    engine = engine_of(bars[:2])
    pending = engine.row(bars[2].minute, 1.0, bars[2])
    engine.push(bars[2])
    after = engine.row(bars[2].minute)
    assert pending.tobytes() == after.tobytes()


ticks = st.lists(
    st.tuples(st.floats(0, 40), st.floats(90, 110), st.floats(0, 5)), min_size=2, max_size=80
)


@given(ticks)
def test_minutes_against_the_whole_grid(steps: list[tuple[float, float, float]]) -> None:
    """A minute's variance is the sum of squared returns on the previous-tick grid inside it."""
    at, builder, built, seen = 0.0, MinuteBuilder(), {}, []
    for gap, price, size in steps:
        at += gap
        time_ns = START * MINUTE_NS + round(at * NS)
        seen.append((time_ns, price, size))
        over = builder.push(time_ns, price, size)
        if over is not None:
            built[over[0].minute] = over[0]
    first, last = seen[0][0] // GRID_NS, seen[-1][0] // GRID_NS
    # A grid step holds the last price before its end.
    held = [[p for t, p, _ in seen if t // GRID_NS <= step][-1] for step in range(first, last)]
    returns = [math.log(b / a) for a, b in zip([seen[0][1], *held], held, strict=False)]
    for minute, bar in built.items():
        inside = [p for t, p, _ in seen if t // MINUTE_NS == minute]
        moves_inside = [
            r for step, r in enumerate(returns, first) if step * GRID_NS // MINUTE_NS == minute
        ]
        assert bar.variance == pytest.approx(math.fsum(r * r for r in moves_inside), abs=1e-12)
        assert (bar.close, bar.high, bar.low) == (inside[-1], max(inside), min(inside))
        sizes = [s for t, _, s in seen if t // MINUTE_NS == minute]
        assert bar.volume == pytest.approx(math.fsum(sizes))


def test_diurnal_factors_follow_the_day_and_know_no_future() -> None:
    """Half the day twice as loud: the factors say so, with mean 1, from days before yesterday."""
    diurnal = Diurnal()
    first = START // DAY_MINUTES
    for day in range(first, first + 60):
        for minute in range(day * DAY_MINUTES, (day + 1) * DAY_MINUTES):
            diurnal.begin(minute)
            diurnal.add(minute, 2.0 if minute % DAY_MINUTES < 720 else 1.0, 0.0)
    today = (first + 59) * DAY_MINUTES
    factors = [diurnal.factor(today + 30 * b) for b in range(BINS)]
    assert np.mean(factors) == pytest.approx(1.0)
    assert factors[10] / factors[40] == pytest.approx(2.0, rel=0.1)
    assert diurnal.mean_ahead(today, 720) == pytest.approx(np.mean(factors[:24]))
    over_midnight = diurnal.mean_ahead(today + 1410, 60)
    assert over_midnight == pytest.approx((factors[47] + factors[0]) / 2, rel=1e-3)
    other = Diurnal()
    other.restore(json.loads(json.dumps(diurnal.dump())))
    diurnal.add(today + 700, 1e6, 0.0)
    for each in (diurnal, other):
        each.begin(today + DAY_MINUTES)
    tomorrow = today + DAY_MINUTES + 700
    assert diurnal.factor(tomorrow) == other.factor(tomorrow)
    assert diurnal.factor(tomorrow + DAY_MINUTES) > other.factor(tomorrow + DAY_MINUTES)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_packing_loses_nothing(values: list[float]) -> None:
    """Any doubles come back as they were."""
    assert unpack(pack(values)).tobytes() == np.array(values, dtype=np.float64).tobytes()
