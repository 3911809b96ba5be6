"""Recordings that tests read: those of this folder, and real ones beside the checkout, if any.

`python -m tests.recordings` generates those of this folder, but for messages.json, which is written
by hand. The real ones may not be distributed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHIPPED = Path(__file__).parent
_REAL = Path(__file__).parents[3] / "shared" / "data"

TICKERS = SHIPPED / "BTC-ETH_10min.ndjson.gz"
FILLS = SHIPPED / "BTC-USD_10min.csv.gz"
SESSION = SHIPPED / "session.gz"
MESSAGES = SHIPPED / "messages.json"


def _real(folder: str, *patterns: str) -> list[Any]:
    paths = sorted(path for pattern in patterns for path in (_REAL / folder).glob(pattern))
    return [pytest.param(path, marks=pytest.mark.long, id=path.name) for path in paths]


# Test cases: ten minutes of one or two symbols; `make test` takes those of this folder.
TEN_MINUTES = (
    *(pytest.param(path, id=path.name) for path in (TICKERS, FILLS)),
    *_real("coinbase-ticker", "*min*.ndjson.gz", "*min*.csv"),
)
TWO_SYMBOLS = (
    pytest.param(TICKERS, id=TICKERS.name),
    *_real("coinbase-ticker", "*BTC-ETH*min.ndjson.gz"),
)
# Sockets of Coinbase: whole sessions, and single messages, whose file names say their kinds.
REAL_SESSIONS = tuple(sorted((_REAL / "coinbase-ws").glob("captures/COINBASE.ws*.gz")))
REAL_MESSAGES = tuple(
    path
    for feed in ("advanced-trade", "exchange")
    for path in sorted((_REAL / "coinbase-ws").glob(f"*/{feed}/ws_*"))
)
