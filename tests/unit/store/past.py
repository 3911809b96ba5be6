"""A store with minutes, for tests of what is read from it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from volsvc.store import MINUTE_ROW, Minutes
from volsvc.store.database import open_database
from volsvc.store.minute_table import MinuteTable, read_minutes

FEED = "a feed"
SYMBOL = "BTC-USD"
# 2026-01-05.
START = 29_459_520
MODELS = (("ml", "3"), ("baseline", "1"))


def made(minutes: Sequence[int], seed: int = 1, symbol: str = SYMBOL) -> Minutes:
    """Return rows of these minutes after START, with numbers of a plausible size."""
    rng, count = np.random.default_rng(seed), len(minutes)
    rows: Any = np.zeros(count, MINUTE_ROW)
    rows["minute"] = START + np.array(minutes)
    prices = np.round(100 * np.exp(np.cumsum(rng.normal(0, 4e-4, (count, 4)), axis=1)), 2)
    rows["open"], rows["close"] = prices[:, 0], prices[:, 3]
    rows["high"], rows["low"] = prices.max(axis=1), prices.min(axis=1)
    for name, mean in (("volume", 3.0), ("variance", 1.6e-7), ("ret_std", 3e-5)):
        rows[name] = rng.exponential(mean, count)
    rows["ticks"], rows["n"] = rng.integers(1, 99, count), 49
    scales = 4e-4 * np.sqrt([1.0, 5.0, 15.0, 60.0])
    factors = rng.lognormal(0, 0.2, (count, 4))
    for place, factor in enumerate((1.0, 0.6, 1.7, 1.3)):
        rows["forecasts"][..., place] = scales * factors * factor
    rows["forecasts"][..., 4] = rng.random((count, 4))
    rows["shadow_sigmas"], rows["shadow"] = scales * 1.1, 1
    return Minutes([symbol] * count, rows, MODELS)


def keep(path: Path, *minutes: Minutes, feed: str = FEED) -> None:
    """Write minutes into the store of a feed, with their half days in blocks."""
    path.parent.mkdir(exist_ok=True)
    with closing(open_database(path)) as connection:
        query = "INSERT INTO feed (name, partitions, used_ns) VALUES (?, 1, 0) RETURNING id"
        (number,) = connection.execute(query, (feed,)).fetchone()
        table = MinuteTable(connection, number)
        for part in minutes:
            table.write(part)
        while table.pack_some():
            pass


def kept(path: Path, symbol: str = SYMBOL, first: int = 0, last: int = 2**31 - 1) -> Minutes:
    """Return the minutes of a symbol of the first feed."""
    with closing(open_database(path)) as connection:
        return read_minutes(connection, 1, symbol, first, last)
