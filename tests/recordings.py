"""The recordings that tests replay: the real ones where they are, a generated one everywhere."""

from __future__ import annotations

from pathlib import Path

REAL_TICKS = Path(__file__).parents[2] / "shared" / "data" / "coinbase-ticker"
TEN_MINUTES = sorted(
    path for pattern in ("*min*.ndjson.gz", "*min*.csv") for path in REAL_TICKS.glob(pattern)
)
"""Ten-minute recordings of Coinbase beside the checkout; empty where there are none."""
REAL_MESSAGES = REAL_TICKS.parent / "coinbase-ws"
"""Messages of venues as they were sent; empty where there are none."""
