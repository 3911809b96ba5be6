"""The public features of the last prices, and the times that they span."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from tests.unit.features.prices import PriceWindow
from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS
from volsvc.features.kernels.multiscale import indices

PRICES = (100.0, 101.0, 99.0, 99.0, 104.0, 103.0, 100.5)


def test_the_row_is_that_of_the_window() -> None:
    """Mean, deviation, number and time span are those of the last prices, at any fill."""
    window = PriceWindow(4)
    times = [START_NS + at * NS // 2 for at in (0, 1, 4, 5, 9, 20, 21)]
    for count, (time_ns, price) in enumerate(zip(times, PRICES, strict=True), 1):
        window.push(price, time_ns)
        returns = np.diff(np.log(PRICES[max(count - 4, 0) : count]))
        mean = returns.mean() if len(returns) else 0.0
        std = returns.std(ddof=1) if len(returns) > 1 else 0.0
        span = (time_ns - times[max(count - 4, 0)]) / NS
        expected = (time_ns, price, mean, std, len(returns), span)
        assert window.row.item() == pytest.approx(expected)
        prices, kept_times = window.contents()
        assert kept_times.tolist() == times[max(count - 4, 0) : count]
        assert prices.tolist() == list(PRICES[max(count - 4, 0) : count])
        assert window.fill_ratio == len(returns) / 3


def test_a_late_tick_spans_no_negative_time() -> None:
    """A window whose newest tick is its earliest spans no time, nor does that of one tick."""
    window = PriceWindow(2)
    for time_ns in (START_NS, START_NS - NS):
        window.push(100.0, time_ns)
        assert window.row.span_s == 0.0


def test_a_window_needs_two_prices() -> None:
    """A window of one price has no return."""
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        FeatureSettings(window_size=1)


def test_indices_of_averages() -> None:
    """They select averages from a vector, also none at all."""
    values = np.arange(45.0)
    assert values[indices([("variance", 1.5), ("variance", 30), ("returns", 30)])].tolist() == [
        0.0,
        3.0,
        44.0,
    ]
    assert values[indices([])].tolist() == []
