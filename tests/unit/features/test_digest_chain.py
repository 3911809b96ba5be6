"""DigestChain: the chain of hashes over a symbol's forecasts and minutes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain import NS, FeatureRow, Quality, Snapshot
from volsvc.features import DigestChain, MinuteBar


def snapshot_at(at: int, price: float = 100.0, ticks: int = 1) -> Snapshot:
    row = FeatureRow("BTC-USD", at * NS, price, 0.0, 1e-5, 49, 10.0)
    quality = Quality(0, 0, 0, 1.0, "ok", ticks=ticks)
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


@pytest.mark.parametrize(
    "other",
    [
        snapshot_at(1, 100.00000000000001),
        snapshot_at(1, ticks=2),
        snapshot_at(2),
        replace(snapshot_at(1), version="2"),
        replace(snapshot_at(1), score=0.2),
    ],
    ids=["price", "a tick more", "time", "version", "score"],
)
def test_every_field_is_hashed(other: Snapshot) -> None:
    """A difference of one bit in any field, or of one tick, gives another head."""
    chains = DigestChain(), DigestChain()
    for chain, snapshot in zip(chains, (snapshot_at(1), other), strict=True):
        chain.add_forecast(snapshot)
        chain.close(bar(1))
    assert chains[0].closed != chains[1].closed
