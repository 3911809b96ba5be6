"""DigestChain: a difference in any field of what it covers gives another head, for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.variations import SNAPSHOT, variations
from volsvc.domain import Snapshot
from volsvc.features import DigestChain, MinuteBar

BAR = MinuteBar(29_459_520, 100.0, 101.0, 99.0, 1e-6, 5e-7, 1.0, 12.0)
# Counts of deliveries, which a disturbed run may repeat or miss although its results are the same.
DELIVERY = {f"quality.{name}" for name in ("gaps", "duplicates", "late", "future", "bad_prints")}
# Numbers that follow from the ticks and minutes in the chain; each symbol has a chain of its own.
IMPLIED = {
    "row.symbol",
    *(f"quality.{name}" for name in ("fill_ratio", "verdict", "calibration")),
    *(f"features.{name}" for name in SNAPSHOT.features),
    "prediction_id",
}
FIELDS = dict(variations(SNAPSHOT))


def head(snapshot: Snapshot, bar: MinuteBar = BAR, later: int = 0) -> str:
    """Return the head of a chain of a forecast and its minute, and of `later` minutes."""
    chain = DigestChain()
    chain.add_forecast(snapshot)
    window = chain.close(bar)
    for minute in range(1, later + 1):
        window = chain.close(BAR._replace(minute=BAR.minute + minute))
    return window.head


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in DELIVERY | IMPLIED])
def test_every_field_of_a_forecast_is_hashed(path: str) -> None:
    """One bit of any result gives another head, and so do all heads after it."""
    for later in (0, 3):
        assert head(FIELDS[path], later=later) != head(SNAPSHOT, later=later)


@pytest.mark.parametrize("path", sorted(DELIVERY | IMPLIED))
def test_deliveries_and_what_is_implied_are_left_out(path: str) -> None:
    """Runs over the same ticks have the same heads, however often these were delivered."""
    assert head(FIELDS[path]) == head(SNAPSHOT)


def test_every_field_of_a_minute_is_hashed() -> None:
    """One bit of any number of a minute gives another head."""
    heads = {path: head(SNAPSHOT, other) for path, other in variations(BAR)}
    assert [path for path, found in heads.items() if found == head(SNAPSHOT)] == []
    assert len(heads) == len(BAR)


def test_links_are_neither_left_out_nor_exchanged() -> None:
    """A forecast or a minute more, less, twice or in another order gives another head."""
    first, second = SNAPSHOT, FIELDS["row.price"]
    runs: list[tuple[Snapshot | MinuteBar, ...]] = [
        (first, second, BAR),
        (second, first, BAR),
        (first, BAR, second),
        (first, BAR),
        (first, first, BAR),
        (first, second, BAR, BAR),
    ]
    heads = []
    for links in runs:
        chain = DigestChain()
        for link in links:
            if isinstance(link, MinuteBar):
                chain.close(link)
            else:
                chain.add_forecast(link)
        heads.append(chain.dump()["head"])
    assert len(set(heads)) == len(runs)


def test_the_number_of_horizons_is_hashed() -> None:
    """Forecasts of none, one and two of the same horizons have different heads."""
    cut = [replace(SNAPSHOT, predictions=SNAPSHOT.predictions[:count]) for count in range(3)]
    assert len({head(snapshot) for snapshot in cut}) == 3
