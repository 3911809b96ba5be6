"""The store of the newest snapshots."""

from __future__ import annotations

import pytest

from volsvc.domain import FeatureRow, Quality, Snapshot, UnknownSymbolError
from volsvc.pipeline.latest_store import LatestStore


def test_newest_snapshot_of_a_symbol() -> None:
    """A symbol's entry has its age; the error for an unknown symbol names similar ones."""
    row = FeatureRow("BTC-USD", 1, 1.0, 0.0, 0.0, 0, 0.0)
    quality = Quality(0, 0, 0, 0.0, "warming")
    latest_store = LatestStore()
    latest_store.put(Snapshot(row, 0.5, "baseline", "1", (), quality, {}), 100.0)
    assert latest_store.get("BTC-USD").age_s(103.0) == 3.0
    with pytest.raises(UnknownSymbolError, match="BTC-USD"):
        latest_store.get("BTC-US")
