"""Paths of real recordings beside the checkout; tests that need them are skipped without."""

from __future__ import annotations

from pathlib import Path

REAL_TICKS = Path(__file__).parents[2] / "shared" / "data" / "coinbase-ticker"
# Ten-minute recordings of Coinbase beside the checkout; empty where there are none.
TEN_MINUTES = sorted(
    path for pattern in ("*min*.ndjson.gz", "*min*.csv") for path in REAL_TICKS.glob(pattern)
)
# Captured messages of venues; empty where there are none.
REAL_MESSAGES = REAL_TICKS.parent / "coinbase-ws"
