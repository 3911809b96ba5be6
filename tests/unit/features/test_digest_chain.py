"""DigestChain: a restored chain continues; test_digest_fields.py has what is hashed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.digests import Chain
from tests.unit.features.records import bar_of
from tests.variations import FORECAST
from volsvc.domain import NS, PointForecast


def forecast_at(at: int, price: float) -> PointForecast:
    return FORECAST._replace(row=FORECAST.row._replace(time_ns=at * NS, price=price))


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20), st.integers(0, 20))
def test_a_restored_chain_continues_exactly(prices: list[float], cut: int) -> None:
    """A chain restored from its record has the heads of the original."""
    whole, broken = Chain(), Chain()
    for at, price in enumerate(prices):
        if at == cut:
            broken = broken.restored()
        for chain in (whole, broken):
            chain.add_forecast(forecast_at(at, price))
            chain.close_bar(bar_of(at, 100.0, 101.0, 99.0, 1e-6, 5e-7, 1.0))
    assert broken.head == whole.head
    assert broken.closed == whole.closed


def test_a_closed_minute_is_a_window_with_the_head() -> None:
    """A window has the minute and the head at its end, and the start of the minute in JSON."""
    chain = Chain()
    assert chain.head == "00" * 32
    assert chain.closed is None
    window = chain.close_bar(bar_of(29_459_521, 100.0, 101.0, 99.0, 1e-6, 5e-7, 1.0))
    assert chain.closed == window
    assert (window.minute, window.head) == (29_459_521, chain.head)
    assert window.fields() == {"window": "2026-01-05T00:01:00.000Z", "head": window.head}
    assert chain.restored().closed == window
