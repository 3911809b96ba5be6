"""Issued forecasts against the ticks that follow them: each is judged by its own minutes alone.

The forecaster knows the future, so that each of its forecasts is off by the same residual.
"""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Outcome, Tick, parse_time
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import (
    FLOOR_PER_MINUTE,
    MINUTE_NS,
    PointGrid,
    SymbolTable,
    apply_recording,
)
from volsvc.features.forecast_history import ForecastHistory
from volsvc.features.kernels.calibration import PRIOR
from volsvc.features.kernels.laws import bin_of
from volsvc.models import HORIZONS_S, Baseline, SymbolForecasts
from volsvc.models.base import Array
from volsvc.scoring.scores import ISSUE_EVERY, VARIANTS
from volsvc.transport.codec import encode_outcome

# In the middle of a minute.
START_NS = 1_767_571_200 * NS + 31 * NS
MINUTES = tuple(round(horizon / 60) for horizon in HORIZONS_S)
GRID_NS = 5 * NS
RESIDUAL = -0.31


class Market:
    """Irregular ticks with silent minutes and a gap of hours, and the variances inside them."""

    def __init__(self, seed: int) -> None:
        rng, time_ns, price = random.Random(seed), START_NS, 100.0
        self.ticks: list[Tick] = []
        while len(self.ticks) < 1_500:
            self.ticks.append(Tick("BTC-USD", time_ns, price, trade_id=len(self.ticks) + 1))
            wait_s = rng.choice((0.0, 0.5, 2.0, 4.0, 5.0, 11.0, 29.0))
            if rng.random() < 0.03:
                wait_s = rng.randrange(60, 231)
            if len(self.ticks) == 900:
                wait_s = 3 * 3_600
            time_ns += round(wait_s * NS)
            price *= math.exp(rng.gauss(0, 10 ** rng.uniform(-6, -2)))
        self._times = [tick.time_ns for tick in self.ticks]
        self.traded = sorted({time_ns // MINUTE_NS for time_ns in self._times})
        # Whole minutes that were observed: all but the first, the last and those of the gap.
        self.observed = {
            minute
            for before, after in pairwise(self.traded[1:-1])
            for minute in range(before if after - before < 60 else after, after + 1)
        } | {self.traded[1]}

    def price(self, time_ns: int) -> float:
        """Return the last price before a time."""
        return self.ticks[max(bisect_left(self._times, time_ns) - 1, 0)].price

    def variance(self, start_ns: int, end_ns: int) -> float:
        """Return the sum of squared log returns on the grid of previous-tick prices."""
        prices = [self.price(at) for at in range(start_ns, end_ns + 1, GRID_NS)]
        found = math.fsum(math.log(b / a) ** 2 for a, b in pairwise(prices))
        return max(found, FLOOR_PER_MINUTE * (end_ns - start_ns) / MINUTE_NS)

    def realised(self, minute: int, horizon: int) -> float | None:
        """Return RV over the minutes after one; None if they were not all observed."""
        if not self.observed.issuperset(range(minute + 1, minute + horizon + 1)):
            return None
        return self.variance((minute + 1) * MINUTE_NS, (minute + 1 + horizon) * MINUTE_NS)


class Foresight(Baseline):
    """A model that forecasts the variance that follows, and too much where none does.

    `minutes` are those at whose ends it is asked next.
    """

    def __init__(self, market: Market) -> None:
        super().__init__()
        self.digest = "foresight"
        self.minutes: Sequence[int] = ()
        self._market = market

    def head_variances(self, features: Array, count: int) -> Array:
        """Return the future of each row."""
        rows = np.array([self._future(minute) for minute in self.minutes])
        assert len(rows) == len(features)
        return rows[:, :count]

    def _future(self, minute: int) -> list[float]:
        found: list[float] = []
        for horizon in MINUTES:
            realised = self._market.realised(minute, horizon)
            wrong = 1e3 * max([1e-3, *found])
            found.append(wrong if realised is None else realised * math.exp(-RESIDUAL))
        return found


class Run(NamedTuple):
    """The state after all ticks, in row 0, the outcomes on the way and what is shown of them."""

    table: SymbolTable
    outcomes: list[Outcome]
    history: ForecastHistory


def empty_table() -> SymbolTable:
    """Return a table whose ticks give the ends of minutes alone."""
    return SymbolTable(FeatureSettings(), grid=PointGrid())


def run(market: Market, model: Foresight, seed: int) -> Run:
    """Process the ticks in batches as the daemon does, with a restart after some of them."""
    rng, table, outcomes = random.Random(seed), empty_table(), []
    history = ForecastHistory(FeatureSettings().history)
    ticks = list(market.ticks)
    while ticks:
        size = rng.choice((1, 7, 60))
        batch, ticks = ticks[:size], ticks[size:]
        (applied,) = apply_recording(table, [columns_of_ticks(batch)], Counter())
        points = applied.points
        model.minutes = points["bar"]["minute"].tolist()
        if len(points):
            matured = SymbolForecasts(table, model, points, HORIZONS_S).settle_all()
            for outcome in matured:
                history.add_outcome(outcome)
            outcomes += matured
        if len(points) and rng.random() < 0.2:
            stored = table.stored(0)
            table = empty_table()
            table.restore("BTC-USD", stored, batch[-1].time_ns)
    return Run(table, outcomes, history)


@pytest.fixture(scope="module", params=range(3))
def both(request: pytest.FixtureRequest) -> tuple[Market, Run]:
    market = Market(request.param)
    return market, run(market, Foresight(market), request.param)


def test_outcomes_are_those_of_the_minutes_that_follow(both: tuple[Market, Run]) -> None:
    """Every forecast is scored once its horizon has passed, by the variance inside it."""
    market, (_, outcomes, _) = both
    expected = {
        (minute, horizon): realised
        for minute in market.traded[:-1]
        for horizon in MINUTES
        if (minute + 1) % ISSUE_EVERY[horizon] == 0
        and (realised := market.realised(minute, horizon)) is not None
    }
    found = {(o.issued.minute, o.issued.horizon_minutes): o for o in outcomes}
    assert len(found) == len(outcomes)
    assert found.keys() == expected.keys()
    assert {horizon for _, horizon in found} == set(MINUTES)
    for key, outcome in found.items():
        assert outcome.realised**2 == pytest.approx(expected[key], rel=1e-6)
        if key[0] == market.traded[0]:
            # Watched in part: its forecasts lean on the prior (tests/unit/models/test_cold.py).
            continue
        ratio = (outcome.realised / outcome.issued.sigma) ** 2
        assert math.log(ratio) == pytest.approx(RESIDUAL, rel=1e-6)


def test_published_times_are_those_of_the_variance(both: tuple[Market, Run]) -> None:
    """The times in `/history` and `ticks.outcomes` enclose the variance of the outcome."""
    market, (_, outcomes, history) = both
    records = [json.loads(encode_outcome(o).value or b"") for o in outcomes]
    assert {record["horizon_s"] for record in records} == set(HORIZONS_S)
    for record in records:
        start, end = parse_time(record["issued_at"]), parse_time(record["matured_at"])
        assert end - start == round(record["horizon_s"]) * NS
        assert record["realised"] ** 2 == pytest.approx(market.variance(start, end), rel=1e-6)
    shown = history.outcomes(len(records))
    assert shown
    for entry, record in zip(shown, records[-len(shown) :], strict=True):
        assert (entry["issued"], entry["matured"]) == (record["issued_at"], record["matured_at"])
        assert entry["horizon_s"] == record["horizon_s"]
        assert entry["realised"] == pytest.approx(record["realised"], rel=1e-5)


def test_the_next_forecast_to_be_scored_is_named(both: tuple[Market, Run]) -> None:
    """`prediction_id` has the time at which the last whole minute ended."""
    market, (table, _, _) = both
    model = Foresight(market)
    model.minutes = market.traded[-1:]
    forecasts = SymbolForecasts(table, model, table.newest(table.rows), HORIZONS_S)
    forecasts.settle_all()
    named = forecasts.point_forecast(0, HORIZONS_S[0]).prediction_id
    assert named is not None
    symbol, time, _ = named.split("/")
    assert (symbol, parse_time(time)) == ("BTC-USD", (market.traded[-2] + 1) * MINUTE_NS)


def test_residuals_are_those_of_the_minutes_that_follow(both: tuple[Market, Run]) -> None:
    """The symbol's laws have moved to the one residual, by as much as there were horizons."""
    market, (table, _, _) = both
    model = Foresight(market)
    calibration = table.records[0].learnt.calibrations[VARIANTS.index(model.variant)]
    for index, horizon in enumerate(MINUTES):
        pooled = np.diff(model.laws[index].cumulated, axis=1)
        shares = np.diff(calibration.cumulated[index], axis=1)
        place = bin_of(model.laws[index].quantiles, RESIDUAL)
        others = np.arange(shares.shape[1]) != place
        kept = shares[:, others] / pooled[:, others]
        np.testing.assert_allclose(kept, kept[:, :1] * np.ones_like(kept), rtol=1e-9)
        weights = PRIOR[index] * (1 / kept[:, 0] - 1)
        judged = [m for m in market.traded[:-1] if market.realised(m, horizon) is not None]
        assert weights.sum() == pytest.approx(len(judged), rel=1e-6)
        assert len(judged) > 50
