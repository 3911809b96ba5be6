"""Every multi-scale feature against its formula in docs/feature_spec.md, over the whole past."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.features.diurnal_formula import PatternFormula
from tests.unit.features.records import bar_of, started
from tests.unit.features.scales import Scales
from volsvc.domain.feature_names import SEASON_HORIZONS_S, WEEK
from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES
from volsvc.features.kernels import diurnal
from volsvc.features.kernels.diurnal import DIURNAL

DAY = 1440
# 2026-01-05T00:00Z, a Monday.
MONDAY = 29_459_520
TINY = FLOOR_PER_MINUTE / 100
PRIORS = {"cross": 0.0, "bipower": 0.9, "down": 0.5}
SHRUNK = {
    "quartic_360m": 2.2,
    "quartic_10080m": 2.8,
    "calm_1440m": -0.55,
    "calm_10080m": -0.5,
}


class Past:
    """All minutes of a symbol with their inputs, averaged anew for each reading."""

    def __init__(self, pattern: PatternFormula) -> None:
        self.pattern = pattern
        self.bars: list[Any] = []
        self.elapsed = 0.0
        self._ends: list[float] = []
        self._inputs: dict[str, list[float]] = {}
        self._move = 0.0

    def mean(self, name: str, half: float, elapsed: float) -> float:
        """Return the average of an input, for a time after the newest minute as well."""
        ages = elapsed - np.array(self._ends)
        weights = (1 - 2 ** (-1 / half)) * 2 ** (-ages / half)
        return float(weights @ np.array(self._inputs[name]) / (1 - 2 ** (-elapsed / half)))

    def silent(self, minute: int) -> float:
        """Return the minutes without trades before a minute, as far as they are no gap."""
        if not self.bars:
            return 0.0
        silent = minute - self.bars[-1].minute - 1
        active = min(max(self.mean("active", DAY, self.elapsed), 1e-3), 0.999)
        most = math.log(1e-3) / math.log(1 - active)
        return float(max(min(silent, min(max(most, 3), 60)), 0))

    def add(self, bar: Any, fraction: float) -> None:
        """Add a minute of which a fraction was observed."""
        silent, calm, move, share = self.silent(bar.minute), 0.0, 0.0, 1.0
        if self.bars:
            raw = max(self.mean("raw", DAY, self.elapsed), FLOOR_PER_MINUTE)
            self.pattern.add(bar.minute, min(bar.variance / raw, 50), silent)
            half_hour = self.mean("variance", 30, self.elapsed)
            level = self.mean("variance", WEEK, self.elapsed)
            calm = math.log(max(half_hour, TINY) / max(level, FLOOR_PER_MINUTE))
            move = math.log(bar.close / self.bars[-1].close)
            away = bar.minute - self.bars[-1].minute - 1
            share = (silent + fraction) / (away + fraction)
        season = self.pattern.factor(bar.minute)
        product = move * self._move * share / season
        span = math.log(bar.high / bar.low) ** 2 / (4 * math.log(2)) / season
        inputs = {
            "variance": bar.variance * share / season,
            "cross": product,
            "bipower": abs(product) * math.pi / 2,
            "down": bar.down * share / season,
            "range": span,
            "trend": move * share,
            "volume": bar.volume,
            "active": fraction,
            "raw": bar.variance * share,
            "quartic": span * span,
            "calm": fraction * calm,
            "returns": bar.returns,
        }
        for name, value in inputs.items():
            self._inputs.setdefault(name, []).append(value)
        self.elapsed += silent + fraction
        self._ends.append(self.elapsed)
        self._move = move
        self.bars.append(bar)

    def features(self, minute: int, fraction: float) -> dict[str, float]:
        """Return the features by name when a fraction of a minute has passed."""
        quiet = max(minute - self.bars[-1].minute, 0)
        elapsed = self.elapsed + (self.silent(minute + 1) if quiet else 0.0)
        level = max(self.mean("variance", WEEK, elapsed), FLOOR_PER_MINUTE)
        half_hour = max(self.mean("variance", 30, elapsed), FLOOR_PER_MINUTE)
        found = calendar(minute)
        found |= {"level": level / 60, "silence": math.log(1 + quiet)}
        found["age"] = math.log(1 + min(elapsed, WEEK))
        active = max(self.mean("active", 30, elapsed), 1e-3)
        found["resolution"] = self.mean("returns", 30, elapsed) / active
        for seconds in SEASON_HORIZONS_S:
            ahead = self.pattern.mean(minute + fraction, seconds / 60)
            found[f"season_{seconds}s"] = ahead
        found["season_log"] = math.log(found["season_60s"])
        for name in SCALE_NAMES:
            kind, _, half = name.removeprefix("abs_").partition("_")
            if name not in found:
                found[name] = self._average(kind, float(half[:-1]), elapsed, level, half_hour)
            if name in SHRUNK:
                found[name] += (SHRUNK[name] - found[name]) * 2 ** (-elapsed / float(half[:-1]))
        return found | {name: abs(found[name]) for name in found if name.startswith("abs_")}

    def _average(
        self, kind: str, half: float, elapsed: float, level: float, half_hour: float
    ) -> float:
        mean = self.mean(kind, half, elapsed)
        if kind in ("variance", "range"):
            return math.log(max(mean, TINY) / level)
        if kind in PRIORS:
            ratio = mean / max(self.mean("variance", half, elapsed), TINY)
            unseen = 2 ** (-elapsed / half)
            return min(max(ratio, -20), 20) * (1 - unseen) + PRIORS[kind] * unseen
        if kind == "trend":
            return min(max(mean / math.sqrt(half_hour), -20), 20)
        if kind == "volume":
            usual = self.mean(kind, WEEK, elapsed)
            return math.log(mean / usual + 1e-3) if usual else 0.0
        if kind == "quartic":
            under = max(self.mean("range", half, elapsed), TINY)
            return math.log(max(mean, TINY**2) / under**2)
        return mean


def calendar(minute: int) -> dict[str, float]:
    """Return the features that depend on the time alone."""
    time = datetime.fromtimestamp(minute * 60, UTC)
    angle = math.tau * (time.hour * 60 + time.minute) / DAY
    waves = {f"day_sin{k}": math.sin(k * angle) for k in (1, 2, 3)}
    return {
        **waves,
        **{f"day_cos{k}": math.cos(k * angle) for k in (1, 2, 3)},
        "hour_minute": time.minute,
        "weekend": float(time.weekday() in (5, 6)),
        "monday": float(time.weekday() == 0),
    }


def series(rng: random.Random, start: int, kind: str) -> list[Any]:
    """Return minutes of a symbol, with short silences and gaps of the feed."""
    bars, minute, price = [], start, 100.0
    for count in range(90):
        move = rng.gauss(0, 0.01)
        if kind == "flat":
            move = 0.0
        elif kind == "jumps":
            move = rng.choice((-0.3, 0.5)) if count % 2 else 0.2
        price *= math.exp(move)
        span, variance = rng.uniform(0, 0.02), rng.choice((0.0, 1e-7, 1e-5, 1e-3))
        if kind != "usual":
            span = variance = 0.0
        down, volume = variance * rng.random(), rng.choice((0.0, 1.0, 7.5))
        traded = 0.0 if kind == "flat" else volume
        bars.append(
            bar_of(minute, price, price * math.exp(span), price, variance, down, traded, count % 12)
        )
        minute += rng.choice((1, 1, 1, 2, 3, 4, 5, 9, 300 if count % 20 == 0 else 1))
    return bars


def row_by_name(row: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(SCALE_NAMES, row.tolist(), strict=True))


def patterned(state: Scales, first: int) -> PatternFormula:
    """Give a state and the formula three days of an uneven daily pattern."""
    pattern = PatternFormula(first // DAY)
    for minute in range(first, first + 3 * DAY, 30):
        relative = 10.0 + minute // 30 * 17 % 48
        diurnal.advance(state.record.diurnal, minute)
        diurnal.add(state.record.diurnal, minute, relative, 29.0)
        pattern.add(minute, relative, 29.0)
    return pattern


@pytest.mark.parametrize("seed", range(7))
def test_every_feature_against_its_formula(seed: int) -> None:
    """Rows of ended, pending and silent minutes have the values of the formulas, on any weekday."""
    rng, state = random.Random(seed), Scales()
    start = MONDAY + seed * DAY + rng.randrange(DAY)
    past = Past(patterned(state, (start // DAY - 3) * DAY))
    bars = series(rng, start, ("usual", "jumps", "usual", "flat")[seed % 4])
    for count, bar in enumerate(bars):
        fraction = 0.4 if count == 0 else 1.0
        if count == len(bars) - 1:
            fraction = 0.3
            found = row_by_name(state.within(bar, fraction))
            past.add(bar, fraction)
            assert found == pytest.approx(past.features(bar.minute, fraction), rel=1e-7, abs=1e-9)
            break
        state.push(bar, fraction)
        past.add(bar, fraction)
        assert state.elapsed == pytest.approx(past.elapsed)
        quiet = (0, 1, 2, 200)[count % 4] if count % 9 == 4 else 0
        if count % 3 == 0 or quiet:
            found = row_by_name(state.row(bar.minute + quiet))
            expected = past.features(bar.minute + quiet, 1.0)
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)
    state.push(bars[-1])
    diurnal.advance(state.record.diurnal, bars[-1].minute + 2 * DAY)
    day = bars[-1].minute // DAY + 2
    factors = [diurnal.factor(state.record.diurnal, day * DAY + 30 * b) for b in range(48)]
    assert factors == pytest.approx(past.pattern.factors(day), rel=1e-9)


def test_a_minute_that_was_hardly_seen_divides_nothing() -> None:
    """A first minute of which no time was observed leaves the state ready for the next ones."""
    state, minutes = (
        Scales(),
        [bar_of(MONDAY + k, 100.0 + k, 101.0 + k, 100.0, 1e-6, 0.0, 1.0) for k in range(3)],
    )
    state.push(minutes[0], 0.0)
    assert state.elapsed == 0.0
    # How active the symbol is is not known: the longest silence may be one.
    assert not state.is_gap(MONDAY + 50)
    state.push(minutes[1])
    # Nor is its level, to which its daily pattern is relative.
    flat = started(DIURNAL, diurnal.start)
    diurnal.advance(flat, MONDAY)
    assert state.record.diurnal.tobytes() == flat.tobytes()
    state.push(minutes[2])
    assert np.isfinite(state.row(minutes[2].minute)).all()
    assert row_by_name(state.row(minutes[2].minute))["active_5m"] == pytest.approx(1.0)


def test_a_state_without_minutes_has_no_features() -> None:
    """Before the first minute every feature is NaN, and no silence is a gap."""
    row = Scales().row(MONDAY)
    assert row.shape == (len(SCALE_NAMES),)
    assert np.isnan(row).all()
    assert not Scales().is_gap(MONDAY)


@pytest.mark.parametrize(("silent", "gap"), [(1, False), (3, False), (4, True)])
def test_the_shortest_gap_of_a_busy_symbol(silent: int, gap: bool) -> None:
    """More than three silent minutes are a gap if the symbol trades every minute."""
    state = Scales()
    for minute in range(MONDAY, MONDAY + 60):
        state.push(bar_of(minute, 100.0, 101.0, 100.0, 1e-6, 0.0, 1.0))
    assert state.is_gap(MONDAY + 60 + silent) is gap
