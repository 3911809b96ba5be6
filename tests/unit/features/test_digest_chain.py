"""DigestChain: a restored chain continues; test_digest_fields.py has what is hashed."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain import NS, FeatureRow, Quality, Snapshot
from volsvc.features import DigestChain, MinuteBar


def snapshot_at(at: int, price: float) -> Snapshot:
    row = FeatureRow("BTC-USD", at * NS, price, 0.0, 1e-5, 49, 10.0)
    quality = Quality(0, 0, 0, 1.0, "ok", ticks=1)
    return Snapshot(row, 0.1, "ml", "1", (), quality, {})


def bar(minute: int) -> MinuteBar:
    return MinuteBar(minute, 100.0, 101.0, 99.0, 1e-6, 5e-7, 1.0)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20), st.integers(0, 20))
def test_a_restored_chain_continues_exactly(prices: list[float], cut: int) -> None:
    """A chain restored from JSON has the heads of the original."""
    whole, broken = DigestChain(), DigestChain()
    for at, price in enumerate(prices):
        if at == cut:
            restored = DigestChain()
            restored.restore(json.loads(json.dumps(broken.dump())))
            broken = restored
        for chain in (whole, broken):
            chain.add_forecast(snapshot_at(at, price))
            chain.close(bar(at))
    assert broken.dump() == whole.dump()
    assert broken.closed == whole.closed


def test_a_closed_minute_is_a_window_with_the_head() -> None:
    """A window has the minute and the head at its end, and the start of the minute in JSON."""
    chain = DigestChain()
    assert chain.dump() == {"head": "00" * 32, "closed": None}
    assert chain.closed is None
    window = chain.close(bar(29_459_521))
    assert chain.closed == window
    assert (window.minute, window.head) == (29_459_521, chain.dump()["head"])
    assert window.fields() == {"window": "2026-01-05T00:01:00.000Z", "head": window.head}
    restored = DigestChain()
    restored.restore(json.loads(json.dumps(chain.dump())))
    assert restored.closed == window
