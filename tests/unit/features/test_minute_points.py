"""Points at the ends of minutes, and what is learnt at them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.unit.features.one_symbol import SYMBOL, OneSymbol
from tests.unit.features.records import bar_of, close_minute, started
from tests.unit.features.scales import Scales
from volsvc.features import MINUTE_NS
from volsvc.features.kernels import bars as kernels
from volsvc.features.kernels import points, realised
from volsvc.features.kernels.minutes import BAR, parkinson
from volsvc.features.kernels.points import MINUTE, POINT, SCALES_FROM
from volsvc.features.kernels.realised import REALISED
from volsvc.models import Baseline
from volsvc.models.columns import HORIZONS_S
from volsvc.models.symbol_forecasts import SymbolForecasts

START = 29_459_520
MINUTES = (*range(START, START + 70), START + 72, *range(START + 120, START + 140))


def bar(minute: int) -> Any:
    price = 100.0 + minute % 7
    return bar_of(minute, price, price + 1, price - 1, 1e-6 * (1 + minute % 3), 5e-7, 1.0)


def test_the_end_of_a_minute_has_all_that_follows_from_it() -> None:
    """Features, realised variances and thresholds are those after the minute, oldest first.

    A first minute that was seen in part has no realised variance, and a gap is no silence.
    """
    one, scales, past = OneSymbol(), Scales(), started(REALISED, realised.start)
    (row,) = one.table.rows.tolist()
    found = np.zeros(len(MINUTES), POINT)
    for point, minute in zip(found, MINUTES, strict=True):
        observed = 0.25 if minute == START else 1.0
        points.write_minute(point, row, one.ticks.multiscale, bar(minute), 2e-6, observed)
        scales.push(bar(minute), observed)
        assert (point.symbol, point.kind) == (row, MINUTE)
        assert (point.at_ns, point.observed) == ((minute + 1) * MINUTE_NS, observed)
        assert point.bar.tobytes() == bar(minute).tobytes()
        assert point.one_minute == 2e-6
        assert point.gap == (minute == START + 120)
        assert point.features[SCALES_FROM:].tobytes() == scales.row(minute).tobytes()
        assert np.isnan(point.features[:SCALES_FROM]).all()
    for place, minute in enumerate(MINUTES):
        if minute > START:
            close_minute(past, minute, bar(minute).variance, 2e-6, gap=minute == START + 120)
        alone = found[place : place + 1]
        SymbolForecasts(one.table, Baseline(), alone, HORIZONS_S).settle_all()
        assert one.state.record.learnt.realised.tobytes() == past.tobytes()
    # All but the first one, and the two silent ones before the gap.
    assert past.quantiles["count"].tolist()[0] == len(MINUTES) - 1 + 2


def test_a_recorded_bar_is_a_whole_minute() -> None:
    """It is observed in full, and has a realised variance."""
    one = OneSymbol()
    bars = np.array([bar(START), bar(START + 1)], BAR)
    found = np.zeros(200, POINT)
    (row,) = one.table.rows.tolist()
    done, count = kernels.bar_points(one.ticks.multiscale, row, bars, 0, 3600, found)
    assert done == 2
    assert found[:count]["kind"].tolist() == [MINUTE] * 2
    assert found[:count]["observed"].tolist() == [1.0] * 2
    expected = [parkinson(each.high, each.low) for each in bars]
    assert found[:count]["one_minute"].tolist() == expected
    assert one.ticks.multiscale.elapsed == 2.0
    SymbolForecasts(one.table, Baseline(), found[:count], HORIZONS_S).settle_all()
    assert one.table.get(SYMBOL).record.learnt.realised.quantiles["count"][0] == 2
