"""DigestChain: a difference in any field of what it covers gives another head, for ever."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.unit.features.digests import Chain
from tests.unit.features.records import bar_of, copied
from tests.variations import FORECAST, published_variations
from volsvc.domain import PointForecast
from volsvc.domain.feature_names import SCALE_NAMES, WINDOW_NAMES

BAR = bar_of(29_459_520, 100.0, 101.0, 99.0, 1e-6, 5e-7, 1.0, 12.0)
# Counts of deliveries, which a disturbed run may repeat or miss although its results are the same.
DELIVERY = {f"quality.{name}" for name in ("gaps", "duplicates", "late", "future", "bad_prints")}
# Numbers that follow from the ticks and minutes in the chain; each symbol has a chain of its own.
IMPLIED = {
    "row.symbol",
    *(f"quality.{name}" for name in ("fill_ratio", "verdict", "calibration")),
    *(f"quality.warmed.{name}" for name in ("source", "from_minute", "minutes")),
    *(f"inputs.{len(WINDOW_NAMES) + place}" for place, _ in enumerate(SCALE_NAMES)),
    "prediction_id",
    "first minute",
}
FIELDS = dict(published_variations())


def head(forecast: PointForecast, bar: Any = BAR, later: int = 0) -> str:
    """Return the head of a chain of a forecast and its minute, and of `later` minutes."""
    chain = Chain()
    chain.add_forecast(forecast)
    window = chain.close_bar(bar)
    for minute in range(1, later + 1):
        following = copied(BAR)
        following.minute += minute
        window = chain.close_bar(following)
    return window.head


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in DELIVERY | IMPLIED])
def test_every_field_of_a_forecast_is_hashed(path: str) -> None:
    """One bit of any result gives another head, and so do all heads after it."""
    for later in (0, 3):
        assert head(FIELDS[path], later=later) != head(FORECAST, later=later)


@pytest.mark.parametrize("path", sorted(DELIVERY | IMPLIED))
def test_deliveries_and_what_is_implied_are_left_out(path: str) -> None:
    """Runs over the same ticks have the same heads, however often these were delivered."""
    assert head(FIELDS[path]) == head(FORECAST)


def test_every_field_of_a_minute_is_hashed() -> None:
    """One bit of any number of a minute gives another head."""
    found = []
    for name in BAR.dtype.names:
        other = copied(BAR)
        value = BAR[name]
        other[name] = value + 1 if name in ("minute", "ticks") else math.nextafter(value, math.inf)
        found.append(head(FORECAST, other))
    assert len({head(FORECAST), *found}) == len(BAR.dtype.names) + 1


def test_links_are_neither_left_out_nor_exchanged() -> None:
    """A forecast or a minute more, less, twice or in another order gives another head."""
    first, second = FORECAST, FIELDS["row.price"]
    runs: list[tuple[Any, ...]] = [
        (first, second, BAR),
        (second, first, BAR),
        (first, BAR, second),
        (first, BAR),
        (first, first, BAR),
        (first, second, BAR, BAR),
    ]
    heads = []
    for links in runs:
        chain = Chain()
        for link in links:
            if link is BAR:
                chain.close_bar(link)
            else:
                chain.add_forecast(link)
        heads.append(chain.head)
    assert len(set(heads)) == len(runs)


def test_the_number_of_horizons_is_hashed() -> None:
    """Forecasts of one and two of the same horizons have different heads."""
    cut = [
        FORECAST._replace(
            numbers=FORECAST.numbers[:count],
            horizons_s=FORECAST.horizons_s[:count],
            score_horizon_s=FORECAST.horizons_s[0],
        )
        for count in (1, 2)
    ]
    assert len({head(forecast) for forecast in cut}) == 2
